"""Environments in processes of their own: the same to the bit, and nothing is left of them in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muzero_wm import envs
from muzero_wm.basis.seeding import episode_seeds
from muzero_wm.config.presets import ConfigError, load_config
from muzero_wm.envs.base import BatchedEnv, Step
from tests.processes import alive, gone

ROOT = Path(__file__).parents[2]
WALK = "gym:tests.acting.faulty:Walk-v0"


def faulty(fault: str, slot: int, episode: int = 0) -> tuple[str, int]:
    """Returns a walk that goes wrong in one episode of one slot of seed 0, and the seed of that episode."""
    chosen = int(episode_seeds(0, slot, episode)[0])
    return f"gym:tests.acting.faulty:Walk-v0(fault={fault!r}, once=False, in_seed={chosen})", chosen


def drive(env: BatchedEnv, steps: int, seed: int) -> Iterator[Step]:
    """Yields the steps of a game of random moves."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        yield env.step(rng.integers(env.spec.num_actions, size=(64,))[: env.num_envs])


def assert_same(first: Any, second: Any) -> None:
    for name, array in vars(first).items() if isinstance(first, Step) else first.items():
        other = getattr(second, name) if isinstance(second, Step) else second[name]
        assert array.dtype == other.dtype and array.shape == other.shape, name
        assert array.tobytes() == other.tobytes(), name


@pytest.mark.parametrize(("name", "workers"), [(WALK, 1), (WALK, 3), ("gym:FrozenLake-v1", 2)])
def test_workers_change_nothing(name: str, workers: int, seed: int) -> None:
    here, there = envs.make(name, 5, seed), envs.make(name, 5, seed, workers=workers)
    try:
        first = here.reset()
        kept = there.reset()
        assert_same(first, kept)
        ended = 0
        for mine, theirs in zip(drive(here, 40, seed), drive(there, 40, seed), strict=True):
            assert_same(mine, theirs)
            ended += int((theirs.terminated | theirs.truncated).sum())
        assert ended > 5  # seeds of later episodes are compared too
        assert_same(first, kept)  # what a step returned stays what it was
        assert_same(here.snapshot(), there.snapshot())
    finally:
        there.close()


def test_random_openings_are_the_same_in_workers(seed: int) -> None:
    pytest.importorskip("pyspiel")
    name, options = "openspiel:dots_and_boxes", {"random_openings": 0.5, "max_random_plies": 4}
    here = envs.make(name, 5, seed, **options)
    there = envs.make(name, 5, seed, workers=2, **options)
    try:
        mine, theirs = here.reset(), there.reset()
        for _ in range(25):  # more than two games
            assert_same(mine, theirs)
            moves = mine.legal_actions.argmax(axis=1)
            mine, theirs = here.step(moves), there.step(moves)
    finally:
        here.close()
        there.close()


def test_a_snapshot_goes_on_with_any_number_of_workers(seed: int) -> None:
    first = envs.make(WALK, 5, seed, workers=2)
    first.reset()
    shown = list(drive(first, 17, seed))[-1]
    snapshot = first.snapshot()
    expected = list(drive(first, 20, seed + 1))
    first.close()
    for workers in (0, 1, 3):
        again = envs.make(WALK, 5, seed, workers=workers)
        step, goes_on = again.restore(snapshot)
        assert goes_on.tolist() == [True] * 5 and again.not_restored == ""
        assert step.observation.tobytes() == shown.observation.tobytes() and not step.reward.any()
        for one, other in zip(expected, drive(again, 20, seed + 1), strict=True):
            assert_same(one, other)
        with pytest.raises(envs.EnvError, match=r"snapshot\['length'\] must have shape \(5,\), got \(4,\)"):
            again.restore(snapshot | {"length": snapshot["length"][:4]})
        again.close()


def test_what_cannot_be_restored_is_told_by_the_first_slot(seed: int) -> None:
    drift = "gym:tests.acting.faulty:Drift-v0"
    env = envs.make(drift, 3, seed, workers=2)
    env.reset()
    snapshot = env.snapshot()
    _, goes_on = env.restore(snapshot)
    assert not goes_on.any() and "shows something else" in env.not_restored and "slot 0," in env.not_restored
    assert env.snapshot()["episode"].tolist() == [1, 1, 1]
    env.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_part_of_the_slots_plays_what_it_would_play_in_the_whole(workers: int, seed: int) -> None:
    whole, part = envs.make(WALK, 5, seed), envs.make(WALK, 2, seed, workers=workers, first_slot=3)
    try:
        assert whole.reset().observation[3:].tobytes() == part.reset().observation.tobytes()
        for _ in range(30):
            one, other = whole.step(np.ones(5, int)), part.step(np.ones(2, int))
            assert one.observation[3:].tobytes() == other.observation.tobytes()
    finally:
        part.close()


def test_actions_are_checked_before_anything_is_played() -> None:
    env = envs.make(WALK, 3, workers=2)
    env.reset()
    before = env.snapshot()
    for actions, message in (([0, 1, 2], "action 2 in slot 2 is outside"), ([0, 1], r"shape \(3,\)")):
        with pytest.raises(envs.EnvError, match=message):
            env.step(np.array(actions))
    assert_same(before, env.snapshot())
    env.close()
    with pytest.raises(envs.EnvError, match="closed, by close or after an error"):
        env.reset()


@pytest.mark.parametrize(
    ("fault", "text"), [("raise", "step raised RuntimeError: the simulator fell over"), ("leave", "SystemExit: 5")]
)
def test_an_error_arrives_with_its_place_and_its_traceback(fault: str, text: str) -> None:
    name, seed = faulty(fault, slot=4, episode=1)
    messages = []
    for workers in (0, 2):
        env = envs.make(name, 5, workers=workers)
        env.reset()
        with pytest.raises(envs.EnvError) as caught:
            list(drive(env, 60, 1))
        env.close()
        messages.append(str(caught.value))
        assert text in messages[0] and f"(slot 4, episode 1, reset seed {seed}, step 3)" in messages[0]
    assert messages[0] == messages[1]
    if fault == "raise":
        assert "faulty.py" in str(caught.value.__cause__) and "in _strike" in str(caught.value.__cause__)


def test_of_several_errors_the_first_slot_is_told() -> None:
    env = envs.make("gym:tests.acting.faulty:Raise-v0", 4, workers=4)
    env.reset()
    with pytest.raises(envs.EnvError, match=r"\(slot 0, episode 0"):
        list(drive(env, 3, 0))
    env.close()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("exit", "exit code 3"), ("kill", "killed by SIGKILL"), ("hang", "takes longer than acting.env_timeout_seconds")],
)
def test_a_process_that_dies_or_hangs_is_named(fault: str, reason: str) -> None:
    name, seed = faulty(fault, slot=3)
    env = envs.make(name, 5, workers=2, timeout=1.0 if fault == "hang" else None)
    env.reset()
    pids = processes_of(env)
    begin = time.monotonic()
    with pytest.raises(envs.EnvError) as caught:
        list(drive(env, 3, 0))
    message = str(caught.value)
    assert reason in message and message.startswith(name)
    assert f"(slot 3, episode 0, reset seed {seed}, step 3)" in message
    if fault == "hang":
        assert ": step takes longer" in message and 1.0 <= time.monotonic() - begin < 10.0
    else:
        assert f"the process of slots 2 to 4 ended in step: {reason} (" in message
    assert not any(alive(pid) for pid in pids)
    env.close()


def test_a_time_out_needs_no_mention_of_workers_and_spares_who_is_quick(seed: int) -> None:
    env = envs.make(WALK, 3, seed, timeout=20.0)
    assert len(processes_of(env)) == 1
    assert_same(env.reset(), envs.make(WALK, 3, seed).reset())
    env.close()


def test_what_cannot_be_made_in_a_worker_is_told(seed: int) -> None:
    with pytest.raises(envs.EnvError, match="cannot make 'gym:CartPol-v1'"):
        envs.make("gym:CartPol-v1", 2, seed, workers=1)


@pytest.mark.parametrize(
    "options", [{"workers": 2}, {"timeout": 1.0}, {"workers": -1}, {"timeout": 0.0}, {"first_slot": 3}]
)
def test_boards_and_impossible_numbers_are_refused(options: dict[str, Any]) -> None:
    expected = "takes no workers|at least 0|positive number|begins at slot 0"
    with pytest.raises(envs.EnvError, match=expected):
        envs.make("connect4", 4, **options)


@pytest.mark.parametrize("setting", ["acting.env_workers=2", "acting.env_timeout_seconds=3"])
def test_a_configuration_with_workers_for_a_board_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match="connect4 is built in and steps thousands of games at once"):
        load_config("connect4", overrides=[setting])
    assert load_config("cartpole", overrides=[setting]).acting.num_envs > 0


SCRIPT = """
import sys, time, signal
import numpy as np
from muzero_wm import envs
from tests.envs.test_workers import processes_of

def main():
    signal.signal(signal.SIGINT, lambda *_: None)
    env = envs.make({name!r}, 4, workers=2)
    env.reset()
    print(*processes_of(env), flush=True)
    sys.stdin.readline()
    {then}

if __name__ == "__main__":
    main()
"""


def begun(tmp_path: Path, then: str = "pass", name: str = WALK) -> tuple[subprocess.Popen[str], list[int]]:
    """Returns a program that has made workers, and their processes; it goes on when it gets a line."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(name=name, then=then))
    program = subprocess.Popen(
        [sys.executable, str(script)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert program.stdout is not None
    pids = [int(word) for word in program.stdout.readline().split()]
    assert len(pids) == 2 and all(alive(pid) for pid in pids)
    return program, pids


def processes_of(env: BatchedEnv) -> list[int]:
    return [child.pid for child in env._children]


LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


@LINUX
@pytest.mark.parametrize("how", ["closed", "forgotten", "raises", "killed"])
def test_nothing_is_left_however_the_program_ends(how: str, tmp_path: Path) -> None:
    then = {"closed": "env.close()", "raises": "raise SystemExit(7)", "forgotten": "pass", "killed": "pass"}[how]
    before = set(os.listdir("/dev/shm"))
    program, pids = begun(tmp_path, then)
    assert set(os.listdir("/dev/shm")) <= before  # the memory has no name
    if how == "killed":
        program.kill()
    _, errors = program.communicate("\n", timeout=30)
    assert program.returncode == {"raises": 7, "killed": -signal.SIGKILL}.get(how, 0)
    assert errors == ""
    assert gone(pids)
    assert set(os.listdir("/dev/shm")) <= before


@LINUX
def test_ctrl_c_is_for_the_parent_alone(tmp_path: Path) -> None:
    program, pids = begun(tmp_path, "env.step(np.zeros(4, int)); env.close(); print('went on')")
    os.killpg(program.pid, signal.SIGINT)
    output, errors = program.communicate("\n", timeout=30)
    assert (program.returncode, output, errors) == (0, "went on\n", "")
    assert gone(pids)
