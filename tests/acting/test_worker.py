"""Acting processes that crash, hang, leak or raise: replaced within bounds, and the result is the same."""

from __future__ import annotations

import os
import signal
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from muzero_wm import envs
from muzero_wm.acting.episodes import ActingResult
from muzero_wm.acting.pool import ActorPool
from muzero_wm.acting.worker import ActingError
from muzero_wm.config import ActingConfig, Config, ModelConfig, SearchConfig
from muzero_wm.model.world_model import WorldModel
from muzero_wm.training import train
from tests.acting import faulty
from tests.acting.pools import Kind, inline, pid, spawned
from tests.processes import children, gone
from tests.test_exact_resume import SMALL, load_checkpoint, load_config


def config_for(env: str, **acting: Any) -> Config:
    boards = not env.startswith("gym:")
    return Config(
        env=env,
        model=ModelConfig(torso="mlp", width=16, head_width=16, projection_width=8),
        search=SearchConfig(num_simulations=4, discount=1.0 if boards else 0.9),
        acting=ActingConfig(num_envs=4, steps_per_round=5, **acting),
    )


def play(
    actor: ActorPool, config: Config, rounds: int = 4, results: list[ActingResult] | None = None
) -> list[ActingResult]:
    torch.manual_seed(3)
    weights = WorldModel(config.model, envs.spec(config.env)).state_dict()
    results = [] if results is None else results
    try:
        for _ in range(rounds):
            actor.begin({name: tensor.clone() for name, tensor in weights.items()})
            results.append(actor.collect())
    finally:
        actor.close()
    return results


def assert_same_games(first: list[ActingResult], second: list[ActingResult]) -> None:
    for one, other in zip(first, second, strict=True):
        assert (one.trajectories is None) == (other.trajectories is None)
        if one.trajectories is not None and other.trajectories is not None:
            for name, array in vars(one.trajectories).items():
                assert np.array_equal(array, getattr(other.trajectories, name)), name


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "struck"
    monkeypatch.setenv(faulty.MARKER, str(path))
    return path


def test_a_process_that_was_waited_for_plays_the_same() -> None:
    config = config_for("tictactoe")
    waited = spawned(config)
    waited.prepare()
    ready = waited.actors[0]._child.pipe.poll  # nothing is left to be said before the first round
    assert not ready(0.0)
    assert_same_games(play(waited, config), play(inline(config), config))


def test_a_process_that_dies_while_it_starts_is_replaced_by_the_round(marker: Path) -> None:
    config = config_for("tictactoe")
    actor = spawned(config)
    os.kill(pid(actor), signal.SIGKILL)
    actor.prepare()
    (note,) = (note for result in play(actor, config) for note in result.notes)
    assert "(killed by SIGKILL); restart 1 of at most 5" in note


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("ExitOnce", "exit code 3"),
        ("KillOnce", "killed by SIGKILL"),
        ("AlarmOnce", "killed by signal 40"),
        ("HangOnce", "gave no answer for 2 s"),
    ],
)
def test_a_process_that_dies_or_hangs_is_replaced_and_plays_the_same(fault: str, reason: str, marker: Path) -> None:
    config = config_for(f"gym:tests.acting.faulty:{fault}-v0", timeout_seconds=2.0)
    struck = play(spawned(config), config)
    assert marker.exists()
    notes = [note for result in struck for note in result.notes]
    assert len(notes) == 1 and reason in notes[0] and "restart 1 of at most 5" in notes[0]
    assert struck[-1].stats["acting/restarts"] == 1
    assert_same_games(struck, play(inline(config), config))  # the marker is there: no fault any more


@pytest.mark.parametrize("kind", [inline, spawned])
def test_environments_in_processes_of_their_own_change_nothing(kind: Kind) -> None:
    config, plain = (config_for("gym:tests.acting.faulty:Walk-v0", env_workers=n) for n in (2, 0))
    first = kind(config)
    results = play(first, config, rounds=3)
    results += play(kind(config, first.state_dict()), config, rounds=3)
    assert_same_games(results, play(inline(plain), plain, rounds=6))


@pytest.mark.parametrize("kind", [inline, spawned])
@pytest.mark.parametrize(("fault", "reason"), [("HangOnce", "step takes longer than"), ("KillOnce", "SIGKILL")])
def test_an_environment_that_ends_its_worker_ends_acting_at_once(
    kind: Kind, fault: str, reason: str, marker: Path
) -> None:
    """It would do it again: the same seed and the same actions."""
    limit = {"env_timeout_seconds": 1.0} if fault == "HangOnce" else {"env_workers": 2}
    config = config_for(f"gym:tests.acting.faulty:{fault}-v0", timeout_seconds=30.0, **limit)
    pattern = rf"^acting failed: gym:tests.acting.faulty:{fault}-v0: .*{reason}.*slot \d, .*reset seed \d+, step 3\)"
    with pytest.raises(ActingError, match=pattern):
        play(kind(config), config)
    assert marker.exists()


def test_workers_end_with_the_acting_process() -> None:
    config = config_for("gym:tests.acting.faulty:Walk-v0", env_workers=2)
    actor = spawned(config)
    weights = WorldModel(config.model, envs.spec(config.env)).state_dict()
    actor.begin(weights)
    first = actor.collect()
    grandchildren = children(pid(actor))
    assert len(grandchildren) == 2
    os.kill(pid(actor), signal.SIGKILL)
    actor.begin(weights)
    second = actor.collect()  # a new process, with workers of its own
    assert "killed by SIGKILL" in second.notes[0] and gone(grandchildren)
    grandchildren = children(pid(actor))
    actor.close()
    assert len(grandchildren) == 2 and gone(grandchildren)
    plain = config_for("gym:tests.acting.faulty:Walk-v0")
    undisturbed = inline(plain)
    expected = []
    for _ in range(2):
        undisturbed.begin({name: tensor.clone() for name, tensor in weights.items()})
        expected.append(undisturbed.collect())
    assert_same_games([first, second], expected)


def test_a_process_that_keeps_dying_is_given_up(tmp_path: Path) -> None:
    overrides = [*SMALL, "acting.process=true", "acting.max_restarts=1"]
    config = load_config("cartpole", env="gym:tests.acting.faulty:ExitAlways-v0", overrides=overrides)
    with pytest.raises(ActingError, match=r"exit code 3.*restarted 1 times.*env_workers=1 names.*saved up to update 0"):
        train(config, tmp_path / "run")
    assert load_checkpoint(tmp_path / "run" / "checkpoints")["learner"]["updates"] == 0


def test_a_process_that_grows_too_large_is_replaced_between_rounds() -> None:
    config = config_for("tictactoe", max_memory_mib=1.0, max_restarts=1)
    actor = spawned(config)
    results: list[ActingResult] = []
    with pytest.raises(ActingError, match=r"more than acting.max_memory_mib; it was restarted 1 times"):
        play(actor, config, results=results)
    assert len(results) == 2 and "MiB" in results[1].notes[0]
    assert_same_games(results, play(inline(config), config, rounds=2))


@pytest.mark.parametrize("process", [False, True])
def test_an_environment_that_raises_is_named_and_nothing_is_lost(process: bool, tmp_path: Path) -> None:
    overrides = [*SMALL, f"acting.process={str(process).lower()}"]
    config = load_config("cartpole", env="gym:tests.acting.faulty:Raise-v0", overrides=overrides)
    expected = (
        r"^acting failed: gym:tests.acting.faulty:Raise-v0: step raised RuntimeError: the simulator fell over "
        r"\(slot 0, episode 0, reset seed \d+, step 3\); the run is saved up to update 0$"
    )
    for resume in (False, True):
        with pytest.raises(ActingError, match=expected) as caught:
            train(config, tmp_path / "run", resume=resume)
        assert "in _strike" in "".join(traceback.format_exception(caught.value))
        assert load_checkpoint(tmp_path / "run" / "checkpoints")["progress"]["rounds"] == 0


def test_observations_that_are_not_finite_are_named() -> None:
    config = config_for("gym:tests.acting.faulty:Nan-v0")
    with pytest.raises(ActingError, match=r"observation must be finite, got \[nan.*\(slot 0, episode 0, .*3"):
        play(inline(config), config)


@pytest.mark.parametrize("kind", [inline, spawned])
def test_weights_that_are_not_finite_are_noticed_while_acting(kind: Kind) -> None:
    config = config_for("tictactoe")
    weights = WorldModel(config.model, envs.spec("tictactoe")).state_dict()
    weights["heads.output.weight"].fill_(float("nan"))
    actor = kind(config)
    try:
        actor.begin(weights)
        with pytest.raises(ActingError, match=r"tictactoe: the search of move 0 stopped: root.* finite") as caught:
            actor.collect()
    finally:
        actor.close()
    assert caught.value.arrays["observation"].shape == (4, 3, 3, 3)


@pytest.mark.parametrize(("name", "why"), [("Drift", "shows something else"), ("Dice", "nondeterministic")])
def test_what_cannot_be_restored_begins_its_next_episode(name: str, why: str) -> None:
    config = config_for(f"gym:tests.acting.faulty:{name}-v0")
    faulty.SEEDS.clear()
    first = inline(config)
    play(first, config, rounds=2)
    begun = set(faulty.SEEDS)
    faulty.SEEDS.clear()
    state = first.state_dict()
    again = inline(config, state)
    fresh = faulty.SEEDS[-4:] if name == "Dice" else faulty.SEEDS[1::2]  # a replay resets first, then the next begins
    assert len(set(fresh)) == 4 and not begun & set(fresh)
    results = play(again, config, rounds=3)
    note = results[0].notes[0]
    assert note.startswith("4 of 4 unfinished episodes were dropped") and why in note
    for result in results:
        if result.trajectories is not None:
            starts = np.cumsum(result.trajectories.lengths + 1) - result.trajectories.lengths - 1
            assert (result.trajectories.observation[starts, 1] == 0).all()


def test_no_two_episodes_share_a_seed(seed: int) -> None:
    from muzero_wm.basis.seeding import episode_seeds

    slots, episodes = np.meshgrid(np.arange(64), np.arange(3000))
    seeds = episode_seeds(seed, slots.ravel(), episodes.ravel())
    assert len(np.unique(seeds)) == seeds.size and seeds.min() >= 0 and seeds.max() < 2**31
    assert np.mean(seeds == episode_seeds(seed + 1, slots.ravel(), episodes.ravel())) < 1e-3
    counts = np.bincount(seeds >> 27, minlength=16)  # no bits are left out
    assert counts.min() > 0.9 * seeds.size / 16
