"""The examples of docs/custom-environment.md: they are what the page shows, and they do what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import muzero_wm
from muzero_wm import envs
from tests.envs.helpers import random_moves

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PAGE = (ROOT / "docs" / "custom-environment.md").read_text(encoding="utf-8")
NAMES = [f"{path.stem}:make" for path in EXAMPLES if "\ndef make(" in path.read_text(encoding="utf-8")]
PATHS = os.pathsep.join([str(ROOT / "examples"), str(ROOT)])

SMALL = ["acting.num_envs=8", "acting.steps_per_round=16", "search.num_simulations=4", "replay.min_steps=200"]
SMALL += ["acting.process=false", "inference.backend=eager", "learning.batch_size=16"]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    monkeypatch.setenv("PYTHONPATH", PATHS)  # of the processes that play and learn


def test_the_page_shows_the_files_and_nothing_else() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert sorted(blocks) == sorted(path.read_text(encoding="utf-8") for path in EXAMPLES)


@pytest.mark.parametrize("name", NAMES)
def test_random_games_come_to_an_end(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    env = envs.make(name, 4, seed)
    step, ended, shown = env.reset(), 0, []
    for _ in range(200):
        step = env.step(random_moves(step.legal_actions, rng))
        ended += int((step.terminated | step.truncated).sum())
        shown.append(step.observation)
    assert ended > 8
    assert len(np.unique(np.concatenate(shown), axis=0)) > 50
    assert env.spec.name == name


def test_both_forms_of_connect3_are_the_same_game(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = envs.make("connect3_gym:make", 16, seed), envs.make("connect3_numba:make", 16, seed)
    x, y = a.reset(), b.reset()
    results = []
    for _ in range(400):
        for what in ("observation", "legal_actions", "to_play", "reward", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(x, what), getattr(y, what), err_msg=what)
        np.testing.assert_array_equal(x.final_observation, y.final_observation)
        np.testing.assert_array_equal(x.final_to_play, y.final_to_play)
        results += y.reward[y.terminated].tolist()
        actions = random_moves(y.legal_actions, rng)
        x, y = a.step(actions), b.step(actions)
    assert set(results) == {0.0, 1.0}
    assert (a.spec.num_players, a.spec.alternating, a.spec.value_bounds) == (2, True, (-1.0, 1.0))
    assert a.spec.observation_shape == b.spec.observation_shape


@pytest.mark.parametrize(
    ("columns", "over"),
    [("01010", True), ("0011", False), ("00112", True), ("0212132", True), ("2110300", True)],
)
def test_connect3_knows_a_line(columns: str, over: bool) -> None:
    """Up; none; along the bottom; rising; falling."""
    for form in ("gym", "numba"):
        env = envs.make(f"connect3_{form}:make", 1)
        step = env.reset()
        for column in columns:
            assert not step.terminated[0]
            step = env.step(np.array([int(column)]))
        assert (bool(step.terminated[0]), float(step.reward[0])) == (over, float(over))


@pytest.mark.parametrize("columns", ["02233", "1030020"])
def test_no_line_of_connect3_runs_around_the_edge(columns: str) -> None:
    """Three cells that follow each other in memory, row by row in the first game, column by column in the second."""
    for form in ("gym", "numba"):
        env = envs.make(f"connect3_{form}:make", 1)
        env.reset()
        assert not any(env.step(np.array([int(column)])).terminated[0] for column in columns)


def way_to_the_goal(planes: np.ndarray) -> list[int]:
    """Returns the moves of a shortest way around the holes, found breadth first."""
    size = planes.shape[1]
    ways: dict[tuple[int, int], list[int]] = {(0, 0): []}
    edge = [(0, 0)]
    while (size - 1, size - 1) not in ways:
        y, x = edge.pop(0)
        for move, cell in enumerate([(y - 1, x), (y, x + 1), (y + 1, x), (y, x - 1)]):
            if min(cell) >= 0 and max(cell) < size and not planes[2][cell] and cell not in ways:
                ways[cell] = [*ways[y, x], move]
                edge.append(cell)
    return ways[size - 1, size - 1]


@pytest.mark.parametrize("size", [4, 7])
def test_the_goal_of_the_grid_can_be_reached(size: int, seed: int) -> None:
    env = envs.make(f"gridworld:make(size={size})", 1, seed)
    step = env.reset()
    for _ in range(20):
        nearer, rewards = {0: -0.1, 1: 0.1, 2: 0.1, 3: -0.1}, []
        for move in way_to_the_goal(step.observation[0]):
            step = env.step(np.array([move]))
            rewards.append(float(step.reward[0]) - nearer[move])
        assert step.terminated[0]
        assert rewards == pytest.approx([0.0] * (len(rewards) - 1) + [1.0], abs=1e-6)


def test_a_grid_has_holes_and_a_time_limit(seed: int) -> None:
    env = envs.make("gridworld:make", 1, seed)
    step = env.reset()
    hole = int(step.observation[0, 2, 1].argmax())
    for move in [1] * hole + [2]:
        step = env.step(np.array([move]))
    assert (step.reward[0], step.terminated[0]) == (pytest.approx(0.1), True)
    for length in range(1, 51):
        step = env.step(np.array([0]))
        assert (bool(step.terminated[0]), bool(step.truncated[0])) == (False, length == 50)


def test_the_command_of_the_page_trains(tmp_path: Path) -> None:
    command = "train --env gridworld:make"
    assert f"muzero-wm {command}" in PAGE
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "muzero_wm",
            *command.split(),
            "--max-updates",
            "3",
            "--run-dir",
            "run",
            "--set",
            *SMALL,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": PATHS},
    )
    assert done.returncode == 0, done.stderr
    assert "muzero-wm evaluate" in done.stdout


@pytest.mark.parametrize("name", ["connect3_gym:make", "connect3_numba:make"])
def test_the_games_of_two_players_train(name: str, tmp_path: Path) -> None:
    agent = muzero_wm.train(env=name, run_dir=tmp_path / "run", max_updates=3, overrides=SMALL)
    step = envs.make(name, 1).reset()
    assert agent.act(step.observation[0], step.legal_actions[0]) in range(4)


def test_the_agent_plays_in_an_ordinary_loop(tmp_path: Path) -> None:
    """FrozenLake shows a number where the network sees 16; the file is run as it is."""
    muzero_wm.train(
        env="gym:FrozenLake-v1(is_slippery=False)", run_dir=tmp_path / "run", max_updates=1, overrides=SMALL
    )
    command = [sys.executable, str(ROOT / "examples" / "gymnasium_loop.py"), str(tmp_path / "run"), "FrozenLake-v1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"return [01]\.0\n", done.stdout)
