"""Programs that train, as people write them: with a main guard or none, as a file or not, with classes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from muzero_wm import envs
from muzero_wm.envs.naming.imports import name_of
from tests.acting import helped

ROOT = Path(__file__).parents[1]
ENV = """
import gymnasium, numpy as np
from gymnasium import spaces

class Mine(gymnasium.Env):
    observation_space = spaces.Box(0.0, 1.0, (2,), np.float32)
    action_space = spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}
    def step(self, action):
        self.t += 1
        return np.full(2, self.t / 8, np.float32), float(action), self.t == 8, False, {}
"""
REGISTER = 'gymnasium.register("Mine-v0", entry_point=Mine)\n'
BY_TEXT = REGISTER.replace("=Mine", "='__main__:Mine'")
TRAIN = """
import os, muzero_wm
SMALL = [
    "acting.num_envs=4", "acting.steps_per_round=4", "model.width=16", "model.head_width=16", "run.tensorboard=false",
    "model.projection_width=16", "search.num_simulations=4", "replay.min_steps=16", "learning.batch_size=8",
    "learning.updates_per_round=2", "inference.backend=eager",
]
def train(env):
    agent = muzero_wm.train("cartpole", env=env, overrides=SMALL, max_updates=4)
    print("trained", agent.updates, os.listdir("runs"), flush=True)
"""
STEP = """
def step(name):
    import numpy as np
    from muzero_wm import envs
    env = envs.make(name, 2, workers=1)
    env.reset()
    print("stepped", env.step(np.ones(2, int)).reward.tolist(), flush=True)
    env.close()
"""
GUARD = 'if __name__ == "__main__":\n'


def program(folder: Path, text: str, how: str = "file") -> subprocess.CompletedProcess[str]:
    """Runs a program in a folder of its own: as a file, from standard input or with -c."""
    (folder / "program.py").write_text(text)
    rest = {"file": ["program.py"], "stdin": ["-"], "-c": ["-c", text]}[how]
    return subprocess.run(
        [sys.executable, "-W", "ignore", *rest], input=text if how == "stdin" else "", cwd=folder, text=True,
        capture_output=True, timeout=300, env={**os.environ, "PYTHONPATH": f"{ROOT}", "COLUMNS": "500"},
    )  # fmt: skip


@pytest.mark.parametrize("how", ["file", "stdin", "-c"])
def test_a_program_needs_no_guard_for_what_has_a_name(how: str, tmp_path: Path) -> None:
    ran = program(tmp_path, f"print('begun')\n{STEP}step('gym:CartPole-v1')\n", how)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "begun\nstepped [1.0, 1.0]\n", "")


SCRIPTS = {
    "registered-under-the-guard": f"{ENV}{STEP}{GUARD}    {REGISTER}    step('gym:Mine-v0')",
    "registered-without-version": f"{ENV}{STEP}{GUARD}    {REGISTER}    step('gym:Mine')",
    "registered-by-text": f"{ENV}{STEP}{GUARD}    {BY_TEXT}    step('gym:Mine-v0')",
    "named": f"{ENV}{STEP}{GUARD}    step('__main__:Mine')",
    "of-another-module": f"import gymnasium, other\n{REGISTER.replace('=M', '=other.M')}{STEP}step('gym:Mine-v0')",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_a_script_defines_is_known_in_its_processes(script: str, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(ENV)
    ran = program(tmp_path, SCRIPTS[script])
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "stepped [1.0, 1.0]\n", "")


NOT_TWICE = "put what it does, but not what it defines, under `if __name__ == '__main__':`"
IMPOSSIBLE = {
    "no-guard": (
        "file",
        f"{ENV}{STEP}step('__main__:Mine')",
        "itself, and it has no main guard, so no other process can",
    ),
    "no-file": (
        "stdin",
        f"{ENV}{STEP}{REGISTER}step('gym:Mine-v0')",
        "itself, and it has no file, so no other process can",
    ),
    "half-guarded": ("file", f"{ENV}{STEP}{GUARD}    pass\nstep('__main__:Mine')", NOT_TWICE),
    "by-its-name": ("file", f"{ENV}{STEP}step('program:Mine')", NOT_TWICE),
    "under-the-guard": (
        "file",
        f"{STEP}{GUARD}    exec({ENV!r})\n    step('__main__:Mine')",
        "above `if __name__ == '__ma",
    ),
    "registered-class-under-the-guard": (
        "file",
        f"{STEP}{GUARD}    exec({ENV!r})\n    {REGISTER}    step('gym:Mine-v0')",
        "in the script above `if __name__ == '__main__':`",
    ),
    "lambda": (
        "file",
        f"{ENV}{STEP}{GUARD}    gymnasium.register('Mine-v0', entry_point=lambda: Mine())\n    step('gym:Mine-v0')",
        "is registered with something that no other process can be told",
    ),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_no_other_process_can_make_is_told_in_one_line(case: str, tmp_path: Path) -> None:
    how, text, expected = IMPOSSIBLE[case]
    ran = program(tmp_path, text, how)
    assert ran.returncode == 1 and ran.stdout == ""
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("muzero_wm.envs.base.EnvError: ") and expected in last, ran.stderr


def trained(ran: subprocess.CompletedProcess[str]) -> None:
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("trained 4 ['") == 1 and ran.stdout.splitlines()[-1].count("-1']") == 1, ran.stdout
    assert "Traceback" not in ran.stderr


def test_a_class_of_a_script_with_a_guard_is_acted_in_by_a_process(tmp_path: Path) -> None:
    trained(ran := program(tmp_path, f"{ENV}{TRAIN}{GUARD}    train(Mine)\n"))
    assert "warning: acting" not in ran.stdout


def test_a_class_of_a_notebook_is_acted_in_by_the_learner(tmp_path: Path) -> None:
    trained(ran := program(tmp_path, f"{ENV}{TRAIN}train(Mine)\n", "stdin"))
    assert (
        "warning: acting shares the process of the learner: __main__:Mine is defined in the program itself"
        in ran.stdout
    )


def test_a_script_that_would_train_twice_is_told(tmp_path: Path) -> None:
    ran = program(tmp_path, f"{ENV}{TRAIN}{GUARD}    pass\ntrain(Mine)\n")
    assert ran.returncode == 1 and "trained" not in ran.stdout
    assert NOT_TWICE in ran.stderr.splitlines()[-1]
    assert len(list(tmp_path.glob("runs/*"))) == 1


def test_a_factory_has_a_name_where_it_can_be_found_again() -> None:
    assert name_of(helped.Steady) == "tests.acting.helped:Steady"
    for factory in (lambda: helped.Steady(), helped.Steady(), helped.Steady().reset):
        with pytest.raises(envs.EnvError, match="class or function defined at the top of a module"):
            name_of(factory)
