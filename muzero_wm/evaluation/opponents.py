"""Players that know the rules and have learnt nothing: random, perfect, rollout MCTS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import UserError, did_you_mean, one_line
from muzero_wm.basis.registry import OPPONENTS, opponent_forms
from muzero_wm.basis.seeding import pick, stream_keys
from muzero_wm.envs import BatchedEnv, EnvError, EnvSpec, Step
from muzero_wm.envs.boards.board import BoardEnv, BoardGame, States
from muzero_wm.envs.boards.kernels import PLIES
from muzero_wm.envs.slots.single import SingleEnv
from muzero_wm.envs.slots.slots import SlotEnv
from muzero_wm.evaluation.connect4_solver import connect_four_solver
from muzero_wm.evaluation.minimax import minimax_table
from muzero_wm.evaluation.players import Player, Rows
from muzero_wm.evaluation.uct import uct_visits
from muzero_wm.evaluation.uct_copies import copy_visits


class RandomPlayer:
    """Plays uniformly random legal moves."""

    def __init__(self, seed: int) -> None:
        """Seeds one stream for each game."""
        self._seed = seed
        self._moves = 0

    def actions(self, env: BatchedEnv, step: Step, rows: Rows) -> NDArray[np.int64]:
        """Returns a random legal move for each of the games `rows`."""
        keys = stream_keys(self._seed, "opponent/random", rows, self._moves)
        self._moves += 1
        return pick(step.legal_actions[rows], keys)


class PerfectPlayer:
    """Plays a random one of the best moves, by exact knowledge of the game."""

    def __init__(self, best_moves: Callable[[States], NDArray[np.bool_]], seed: int) -> None:
        """Seats an oracle.

        Args:
            best_moves: from [n, W] rows in play to the best moves [n, A].
            seed: seed of the choice between equally good moves.
        """
        self._best_moves = best_moves
        self._seed = seed

    def actions(self, env: BatchedEnv, step: Step, rows: Rows) -> NDArray[np.int64]:
        """Returns a best move for each of the games `rows`."""
        states = _board(env).states[rows]
        return pick(self._best_moves(states), stream_keys(self._seed, "opponent/perfect", rows, states[:, PLIES]))


class MctsPlayer:
    """Plays the most visited move of a rollout tree search (UCT) over the true rules.

    Built-in boards are searched in Numba, environments with a fast search of their own (OpenSpiel) by that, all others
    over copies of the environment, which is slow but the same kind of search.
    """

    def __init__(self, num_simulations: int, seed: int) -> None:
        """Seats a search of so many playouts per move, one random stream for each game and move."""
        self._num_simulations = num_simulations
        self._seed = seed
        self._moves: Counter[int] = Counter()

    def actions(self, env: BatchedEnv, step: Step, rows: Rows) -> NDArray[np.int64]:
        """Returns the searched move for each of the games `rows`.

        Raises:
            UserError: the environment cannot be copied, or a copy fails.
        """
        if isinstance(env, BoardEnv):
            return self.moves(env.game, env.states[rows], rows)
        if not isinstance(env, SlotEnv):
            raise UserError(f"opponent 'mcts:{self._num_simulations}' needs the true rules, {env.spec.name} gives none")
        return np.array([self._slot_move(env.envs[i], step, i) for i in rows.tolist()], np.int64)

    def moves(self, game: BoardGame, states: States, rows: Rows) -> NDArray[np.int64]:
        """Returns the searched moves [n] of positions [n, W] that stand for the games `rows` [n]."""
        keys = stream_keys(self._seed, "opponent/mcts", rows, states[:, PLIES])
        return uct_visits(game, states, keys, self._num_simulations).argmax(axis=1)

    def _slot_move(self, env: SingleEnv, step: Step, i: int) -> int:
        seed = int(stream_keys(self._seed, "opponent/mcts", i, self._moves[i])[0])
        self._moves[i] += 1
        move = env.mcts_move(self._num_simulations, seed)
        if move is not None:
            return move
        try:
            visits = copy_visits(env, step.legal_actions[i], int(step.to_play[i]), self._num_simulations, seed)
        except EnvError as error:
            raise UserError(f"opponent 'mcts:{self._num_simulations}': {error}; 'random' needs no rules") from error
        except Exception as error:  # an environment of a user may fail in any way
            raise EnvError(f"{env.spec.name}: a copy that was searched raised {one_line(error)}") from error
        return int(visits.argmax())


MakeOpponent: TypeAlias = Callable[[str, EnvSpec, int], Player]
"""Makes an opponent from what stands behind the colon of its name ("" where nothing does), the environment and a seed.
"""


def register_opponent(name: str, make: MakeOpponent) -> MakeOpponent:
    """Makes an opponent of one's own known, wherever opponents are named.

    Args:
        name: lower case letters, digits, - and _; it is met as "name", or as "name:argument".
        make: a function, or the class of the player, called with the argument ("" without one), the environment's
            `EnvSpec` and a seed; it raises `UserError` where it is none for them.

    Returns:
        The same function or class.

    Raises:
        UserError: the name is taken or cannot be one.
    """
    OPPONENTS.register(name, make)
    return make


def opponent_from_name(name: str, spec: EnvSpec, seed: int = 0) -> Player:
    """Makes an opponent.

    Args:
        name: "random", "perfect" (tic-tac-toe, Connect Four), "mcts:N" with N playouts per move (whatever can be
            copied), "gtp:COMMAND" or "uci:COMMAND" (another program), or one that was registered.
        spec: the environment it is to play.
        seed: seed of its choices.

    Returns:
        A player for the environment's games.

    Raises:
        UserError: the name is unknown, the opponent does not exist for this environment, or its package is missing.
    """
    kind, colon, argument = name.partition(":")
    if kind not in OPPONENTS.names or (colon and kind in ("random", "perfect")):
        hint = did_you_mean(kind, OPPONENTS.names)
        raise UserError(f"unknown opponent {name!r} (known: {', '.join(opponent_forms(engines=True))}){hint}")
    player: Player = OPPONENTS.find(kind)(argument, spec, seed)
    return player


def make_random(argument: str, spec: EnvSpec, seed: int) -> Player:
    """Makes a `RandomPlayer`."""
    return RandomPlayer(seed)


def make_perfect(argument: str, spec: EnvSpec, seed: int) -> Player:
    """Makes a `PerfectPlayer`, for the games that are solved."""
    return PerfectPlayer(_oracle(spec), seed)


def make_mcts(argument: str, spec: EnvSpec, seed: int) -> Player:
    """Makes an `MctsPlayer` with so many playouts."""
    name = f"mcts:{argument}" if argument else "mcts"
    if not (argument.isascii() and argument.isdecimal() and 1 <= int(argument) <= 10_000_000):
        raise UserError(f"opponent {name!r}: expected mcts:N with N from 1 to 10000000, for example mcts:1000")
    if spec.num_players != 2:
        raise UserError(f"opponent {name!r} needs an environment of two players, {spec.name} is for one")
    return MctsPlayer(int(argument), seed)


def _oracle(spec: EnvSpec) -> Callable[[States], NDArray[np.bool_]]:
    if spec.name == "tictactoe":
        return minimax_table("tictactoe").best_moves
    if spec.name == "connect4":
        return connect_four_solver().best_moves
    raise UserError(f"opponent 'perfect' exists for tictactoe and connect4, not for {spec.name}")


def _board(env: BatchedEnv) -> BoardEnv:
    if not isinstance(env, BoardEnv):
        raise UserError(f"this opponent needs the true rules of a board game, {env.spec.name} gives none")
    return env
