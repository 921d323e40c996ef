"""What the batch runner promises for every board game."""

from __future__ import annotations

import doctest
import subprocess
import sys

import numpy as np
import pytest
from numba import types
from numba.core.errors import TypingError

from muzero_wm import envs
from muzero_wm.envs.boards import kernels
from muzero_wm.envs.boards.board import BoardEnv
from muzero_wm.envs.boards.kernels import IN_PLAY, PLIES, STATUS
from tests.envs.helpers import random_moves

NAMES = ("tictactoe", "connect4")
OPENINGS = {"random_openings": 0.5, "max_random_plies": 14}


def board(name: str, num_envs: int, seed: int, **options: float) -> BoardEnv:
    env = envs.make(name, num_envs, seed, **options)
    assert isinstance(env, BoardEnv)
    return env


@pytest.mark.parametrize("name", NAMES)
def test_slots_do_not_depend_on_the_number_of_slots(name: str, seed: int) -> None:
    few, many = board(name, 3, seed, **OPENINGS), board(name, 50, seed, **OPENINGS)
    a, b = few.reset(), many.reset()
    rng = np.random.default_rng(seed)
    for _ in range(100):
        np.testing.assert_array_equal(few.states, many.states[:3])
        np.testing.assert_array_equal(a.observation, b.observation[:3])
        actions = random_moves(b.legal_actions, rng)
        a, b = few.step(actions[:3]), many.step(actions)


@pytest.mark.parametrize("name", NAMES)
def test_slots_and_seeds_have_streams_of_their_own(name: str, seed: int) -> None:
    options = {"random_openings": 1.0, "max_random_plies": 6}
    first, second = board(name, 200, seed, **options), board(name, 200, seed + 1, **options)
    first.reset()
    second.reset()
    assert len(np.unique(first.states, axis=0)) > 50
    assert (first.states != second.states).any(axis=1).mean() > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_random_openings_are_positions_in_play_of_every_length(name: str, seed: int) -> None:
    env = board(name, 4_000, seed, random_openings=0.5, max_random_plies=5)
    step = env.reset()
    plies = env.states[:, PLIES]
    assert (env.states[:, STATUS] == IN_PLAY).all()
    assert step.legal_actions.any(axis=1).all()
    np.testing.assert_array_equal(step.to_play, plies % 2)
    assert 0.45 < (plies == 0).mean() < 0.55
    assert set(plies.tolist()) == {0, 1, 2, 3, 4, 5}
    stones = step.observation[:, :2].reshape(len(plies), -1).sum(axis=1)
    np.testing.assert_array_equal(stones, plies)


def test_an_opening_longer_than_the_game_still_gives_a_game(seed: int) -> None:
    env = board("tictactoe", 500, seed, random_openings=1.0, max_random_plies=1_000)
    env.reset()
    assert (env.states[:, STATUS] == IN_PLAY).all()


def test_a_finished_game_is_followed_by_the_next_in_the_same_step() -> None:
    env = envs.make("tictactoe", 2)
    env.reset()
    for actions in ([0, 0], [3, 1], [1, 2], [4, 3]):
        step = env.step(actions)
    step = env.step([2, 4])
    assert step.terminated.tolist() == [True, False]
    assert step.reward.tolist() == [1.0, 0.0]
    assert step.to_play.tolist() == [0, 1]
    assert step.observation[0, 2].all()
    assert step.legal_actions[0].all()
    # The loser would move next: the winner's row stands in the opponent's plane.
    assert step.final_observation[0, 1].tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert step.final_observation[0, 0].tolist() == [[0, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_steps_stay_as_they_were() -> None:
    env = envs.make("connect4", 4)
    first = env.reset()
    kept = first.observation.copy(), first.legal_actions.copy()
    for _ in range(6):
        env.step([0, 0, 0, 0])
    np.testing.assert_array_equal(first.observation, kept[0])
    np.testing.assert_array_equal(first.legal_actions, kept[1])


def test_an_illegal_move_is_named_and_nothing_is_played() -> None:
    env = board("connect4", 3, 0)
    env.reset()
    for _ in range(6):
        env.step([1, 2, 3])
    before = env.states.copy()
    with pytest.raises(envs.EnvError, match=r"connect4: action 2 in slot 1 is illegal, legal are \[0, 1, 3, 4, 5, 6\]"):
        env.step([0, 2, 0])
    with pytest.raises(envs.EnvError, match=r"action 7 in slot 2 is outside \[0, 7\)"):
        env.step([0, 0, 7])
    with pytest.raises(envs.EnvError, match=r"outside \[0, 7\)"):
        env.step([0, -1, 0])
    with pytest.raises(envs.EnvError, match=r"integers of shape \(3,\), got int64 of shape \(2,\)"):
        env.step([0, 0])
    with pytest.raises(envs.EnvError, match="got float64"):
        env.step(np.zeros(3))
    np.testing.assert_array_equal(env.states, before)
    assert env.step([0, 0, 0]).legal_actions.shape == (3, 7)


def test_true_rules_refuse_a_move_after_the_end() -> None:
    game = envs.board_game("tictactoe")
    states = game.first_states(1)
    for move in (0, 3, 1, 4, 2):
        states = game.play(states, [move])
    over, result = game.outcome(states)
    assert (over.tolist(), result.tolist()) == ([True], [1.0])
    assert not game.legal_actions(states).any()
    with pytest.raises(envs.EnvError, match="action 8 in slot 0 is illegal"):
        game.play(states, [8])


def test_a_snapshot_continues_bit_for_bit(seed: int) -> None:
    env = board("connect4", 16, seed, **OPENINGS)
    step = env.reset()
    rng = np.random.default_rng(seed)
    for _ in range(20):
        step = env.step(random_moves(step.legal_actions, rng))
    other = board("connect4", 16, seed + 1, **OPENINGS)
    restored, goes_on = other.restore(env.snapshot())
    assert goes_on.all()
    np.testing.assert_array_equal(restored.observation, step.observation)
    for _ in range(60):
        actions = random_moves(step.legal_actions, rng)
        step, restored = env.step(actions), other.step(actions)
        np.testing.assert_array_equal(restored.observation, step.observation)
    with pytest.raises(envs.EnvError, match="snapshot"):
        board("connect4", 3, seed).restore(env.snapshot())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("conect4", 1), "unknown environment 'conect4'.*did you mean 'connect4'"),
        (("../connect4", 1), "unknown environment"),
        (("connect4", 0), "num_envs must be at least 1, got 0"),
        (("connect4", 1, -1), "seed must be at least 0, got -1"),
    ],
)
def test_impossible_arguments_are_named(arguments: tuple[str, int], message: str) -> None:
    with pytest.raises(envs.EnvError, match=message):
        envs.make(*arguments)


def test_impossible_openings_are_named() -> None:
    with pytest.raises(envs.EnvError, match=r"random_openings must be in \[0, 1\], got 1.5"):
        envs.make("connect4", 1, random_openings=1.5, max_random_plies=3)
    with pytest.raises(envs.EnvError, match="max_random_plies must be at least 1"):
        envs.make("connect4", 1, random_openings=0.5)


def test_every_built_in_game_has_a_complete_spec() -> None:
    assert set(NAMES) <= set(envs.names())
    for name in envs.names():
        spec = envs.spec(name)
        assert spec == envs.make(name, 1).spec
        assert (spec.name, spec.num_players, spec.value_bounds) == (name, 2, (-1.0, 1.0))
        assert spec.observation_dtype == np.uint8
        cells = spec.observation_shape[1] * spec.observation_shape[2]
        for symmetry in spec.symmetries:
            assert sorted(symmetry.observation.tolist()) == list(range(cells))
            assert sorted(symmetry.action.tolist()) == list(range(spec.num_actions))


def test_a_mistake_in_a_kernel_is_not_hidden() -> None:
    with pytest.raises(TypingError):
        kernels.compiled(types.int64(types.int64))(lambda x: x + "1")


def test_the_example_of_the_package_runs() -> None:
    assert doctest.testmod(envs).failed == 0


def test_board_games_do_not_load_gymnasium() -> None:
    code = (
        "import sys\nfrom muzero_wm.envs import registry\nregistry.make('connect4', 1).reset()\n"
        "assert 'muzero_wm.envs.adapters.gymnasium' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
