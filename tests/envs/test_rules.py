"""Our rules against OpenSpiel's, and our observations against a board drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from muzero_wm import envs
from muzero_wm.envs.boards.board import BoardEnv
from tests.envs.helpers import assert_agrees_with_openspiel, random_games, random_moves

OPENSPIEL = {"tictactoe": "tic_tac_toe", "connect4": "connect_four"}


@pytest.mark.parametrize("name", OPENSPIEL)
def test_ten_thousand_random_games_agree_with_openspiel(name: str, seed: int) -> None:
    assert_agrees_with_openspiel(name, OPENSPIEL[name], 10_000, seed)


@pytest.mark.parametrize("name", OPENSPIEL)
def test_random_games_reach_wins_of_both_seats_and_draws(name: str, seed: int) -> None:
    games = random_games(name, 5_000, seed)
    won = games.result == 1
    assert (won & (games.length % 2 == 1)).any()
    assert (won & (games.length % 2 == 0)).any()
    assert (games.result == 0).any()
    assert not (games.result < 0).any()


def draw_by_hand(name: str, moves: list[int]) -> np.ndarray:
    """Returns planes [3, H, W] for the player to move after `moves`."""
    height, width = envs.spec(name).observation_shape[1:]
    board = np.full((height, width), -1)
    for ply, move in enumerate(moves):
        if name == "connect4":
            board[np.flatnonzero(board[:, move] < 0).max(), move] = ply % 2
        else:
            board[divmod(move, width)] = ply % 2
    mover = len(moves) % 2
    return np.stack([board == mover, board == 1 - mover, board < 0]).astype(np.uint8)


@pytest.mark.parametrize("name", OPENSPIEL)
def test_observations_are_seen_by_the_player_to_move(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    env = envs.make(name, 8, seed)
    step = env.reset()
    moves: list[list[int]] = [[] for _ in range(8)]
    for _ in range(60):
        for slot in range(8):
            np.testing.assert_array_equal(step.observation[slot], draw_by_hand(name, moves[slot]))
        actions = random_moves(step.legal_actions, rng)
        step = env.step(actions)
        for slot, action in enumerate(actions.tolist()):
            moves[slot].append(action)
            if step.terminated[slot]:
                np.testing.assert_array_equal(step.final_observation[slot], draw_by_hand(name, moves[slot]))
                moves[slot] = []
            else:
                assert not step.final_observation[slot].any()


@pytest.mark.parametrize(("name", "count"), [("tictactoe", 8), ("connect4", 2)])
def test_symmetries_commute_with_stepping(name: str, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    spec = envs.spec(name)
    assert len(set(spec.symmetries)) == count
    identity = spec.symmetries[0]
    assert (identity.observation == np.arange(identity.observation.size)).all()
    assert (identity.action == np.arange(spec.num_actions)).all()
    for symmetry in spec.symmetries:
        renamed = np.argsort(symmetry.action)  # symmetry.action[renamed[a]] == a
        plain, turned = envs.make(name, 32, seed), envs.make(name, 32, seed)
        a, b = plain.reset(), turned.reset()
        for _ in range(60):
            flat = a.observation.reshape(32, 3, -1)[:, :, symmetry.observation]
            np.testing.assert_array_equal(flat, b.observation.reshape(32, 3, -1))
            np.testing.assert_array_equal(a.legal_actions[:, symmetry.action], b.legal_actions)
            actions = random_moves(a.legal_actions, rng)
            a, b = plain.step(actions), turned.step(renamed[actions])
            np.testing.assert_array_equal(a.terminated, b.terminated)
            np.testing.assert_array_equal(a.reward, b.reward)


def test_connect4_knows_lines_in_every_direction_and_no_line_around_the_edge() -> None:
    def result(columns: str) -> float:
        env = envs.make("connect4", 1)
        env.reset()
        for column in columns:
            step = env.step([int(column)])
        return float(step.reward[0])

    assert result("0101010") == 1  # up
    assert result("0011223") == 1  # along the bottom
    assert result("01122323363") == 1  # rising
    assert result("65544343303") == 1  # falling
    # The top three cells of column 0 and the bottom of column 1 follow each other in memory, not on the board.
    assert result("100002020") == 0


def test_states_can_be_copied_and_played_on() -> None:
    env = envs.make("connect4", 2)
    assert isinstance(env, BoardEnv)
    env.reset()
    env.step([3, 4])
    kept = env.states.copy()
    after = env.game.play(kept, [3, 3])
    step = env.step([3, 3])
    np.testing.assert_array_equal(after, env.states)
    np.testing.assert_array_equal(env.game.look(after)[0], step.observation)
    assert (kept[:, 0] == 1).all()
