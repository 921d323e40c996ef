"""Tree search over copies of an environment, and mcts:N against whatever can be copied."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from muzero_wm import envs
from muzero_wm.agent import Agent
from muzero_wm.basis.errors import UserError
from muzero_wm.config.presets import load_config
from muzero_wm.envs import BatchedEnv, EnvError, EnvSpec, Step
from muzero_wm.envs.boards.board import BoardEnv, BoardGame, States
from muzero_wm.envs.slots.single import Moment, SingleEnv
from muzero_wm.envs.slots.slots import SlotEnv
from muzero_wm.evaluation import evaluate, opponent_from_name, play_match
from muzero_wm.evaluation.opponents import MctsPlayer
from muzero_wm.evaluation.uct_copies import copy_visits
from muzero_wm.model.world_model import WorldModel


class BoardCopy(SingleEnv):
    """One built-in board game, as an object."""

    def __init__(self, game: BoardGame, state: States | None = None, factor: float = 1.0) -> None:
        self.game, self.state, self.factor = game, game.first_states(1) if state is None else state, factor
        self.spec = game.spec()

    def reset(self, seed: int) -> Moment:
        self.state = self.game.first_states(1)
        return self._moment(0.0, False)

    def step(self, action: int) -> Moment:
        self.state = self.game.play(self.state, [action])
        over, result = self.game.outcome(self.state)
        return self._moment(float(result[0]) * self.factor, bool(over[0]))

    def clone(self) -> SingleEnv:
        return copy.copy(self)

    def _moment(self, reward: float, over: bool) -> Moment:
        observation, legal, to_play = self.game.look(self.state)
        return Moment(observation[0], legal[0], int(to_play[0]), reward, over)


class Chain(SingleEnv):
    """Take stones from a row one at a time and keep the turn as long as you like; the reward is what a stone is worth.

    Action 0 takes the next stone, action 1 passes the turn (not twice in a row).
    """

    def __init__(self, worths: tuple[float, ...], starts: int = 0) -> None:
        self.spec = EnvSpec("chain", (1,), np.dtype(np.float32), 2, 2, alternating=False)
        self.worths, self.starts = worths, starts
        self.taken, self.seat, self.may_pass = 0, starts, True

    def reset(self, seed: int) -> Moment:
        self.taken, self.seat, self.may_pass = 0, self.starts, True
        return self._moment(0.0)

    def step(self, action: int) -> Moment:
        if action == 1:
            self.seat, self.may_pass = 1 - self.seat, False
            return self._moment(0.0)
        self.taken, self.may_pass = self.taken + 1, True
        return self._moment(self.worths[self.taken - 1])

    def clone(self) -> SingleEnv:
        return copy.copy(self)

    def _moment(self, reward: float) -> Moment:
        over = self.taken == len(self.worths)
        return Moment([float(self.taken)], np.array([True, self.may_pass]), self.seat, reward, over)


def at(name: str, moves: list[int], factor: float = 1.0) -> tuple[SingleEnv, Moment]:
    """Returns a board after some moves, and what it shows."""
    env: SingleEnv = BoardCopy(envs.board_game(name), factor=factor)
    moment = env.reset(0)
    for move in moves:
        moment = env.step(move)
    return env, moment


@pytest.mark.parametrize("factor", [1.0, 100.0, 0.01])
@pytest.mark.parametrize(
    ("name", "moves", "best"),
    [
        ("tictactoe", [0, 3, 1, 4], 2),  # wins
        ("tictactoe", [0, 4, 3], 6),  # blocks
        ("connect4", [3, 0, 3, 0, 3, 1], 3),
        ("connect4", [1, 1, 2, 2, 4], 3),
    ],
)
def test_wins_are_taken_and_losses_blocked(name: str, moves: list[int], best: int, factor: float, seed: int) -> None:
    env, moment = at(name, moves, factor)
    if factor != 1.0:
        env.spec = copy.copy(env.spec)
        object.__setattr__(env.spec, "value_bounds", None)  # how much is at stake must be found out
    visits = copy_visits(env, np.asarray(moment.legal_actions), moment.to_play, 600, seed)
    assert visits.argmax() == best
    assert visits.sum() == 600
    assert (visits[~np.asarray(moment.legal_actions)] == 0).all()
    assert str(env.state) == str(at(name, moves)[0].state)  # type: ignore[attr-defined]


@pytest.mark.parametrize("starts", [0, 1])
@pytest.mark.parametrize(
    ("worths", "best"),
    [((-1.0, 2.0, 2.0, -1.0), 0), ((2.0, -3.0, -1.0, -1.0), 0), ((1.0, 2.0, 2.0, 2.0), 0), ((-3.0, 1.0), 1)],
)
def test_a_turn_that_does_not_pass_belongs_to_who_has_it(
    worths: tuple[float, ...], best: int, starts: int, seed: int
) -> None:
    # In the first three, who takes every move for a change of turns does the wrong thing.
    values = [_chain_value(worths, 0, action, passes=False) for action in (0, 1)]
    assert np.argmax(values) == best
    if best == 0:
        assert np.argmax([_chain_value(worths, 0, action, passes=True) for action in (0, 1)]) != best
    env = Chain(worths, starts)
    moment = env.reset(0)
    visits = copy_visits(env, np.asarray(moment.legal_actions), moment.to_play, 1000, seed)
    assert visits.argmax() == best


def _chain_value(worths: tuple[float, ...], taken: int, action: int, passes: bool) -> float:
    """Returns what an action in `Chain` is worth to its player, by plain recursion; `passes`: taking ends the turn."""
    if action == 1:
        return -_chain_value(worths, taken, 0, passes)
    if taken + 1 == len(worths):
        return worths[taken]
    rest = max(_chain_value(worths, taken + 1, again, passes) for again in (0, 1))
    return worths[taken] + (-rest if passes else rest)


class OverCopies:
    """Plays built-in boards by the search over copies."""

    def __init__(self, num_simulations: int, seed: int) -> None:
        self._num_simulations, self._seed, self._calls = num_simulations, seed, 0

    def actions(self, env: BatchedEnv, step: Step, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        assert isinstance(env, BoardEnv)
        chosen = []
        for row in rows.tolist():
            self._calls += 1
            single = BoardCopy(env.game, env.states[row : row + 1].copy())
            arguments = step.legal_actions[row], int(step.to_play[row])
            seed = self._seed * 10**6 + self._calls
            chosen.append(int(copy_visits(single, *arguments, self._num_simulations, seed).argmax()))
        return np.array(chosen)


def test_it_is_as_strong_as_the_compiled_search(seed: int) -> None:
    spec = envs.spec("tictactoe")
    result = play_match("tictactoe", OverCopies(40, seed), MctsPlayer(40, seed), 40, seed)
    assert 0.3 < result.total.score < 0.7
    none = opponent_from_name("random", spec, seed)
    assert play_match("tictactoe", OverCopies(40, seed), none, 40, seed).total.score > 0.8


class NoBot(SingleEnv):
    """An OpenSpiel game whose own search nobody knows of."""

    def __init__(self, inner: SingleEnv) -> None:
        self.inner, self.spec = inner, inner.spec

    def reset(self, seed: int) -> Moment:
        return self.inner.reset(seed)

    def step(self, action: int) -> Moment:
        return self.inner.step(action)

    def clone(self) -> SingleEnv:
        return NoBot(self.inner.clone())


def openspiel(name: str) -> str:
    pytest.importorskip("pyspiel", reason="open_spiel is an optional package (extra: openspiel)")
    return f"openspiel:{name}"


def test_a_chain_of_boxes_is_taken(seed: int) -> None:
    from muzero_wm.envs.adapters.openspiel import make_openspiel

    # A corridor of three boxes is open at one end: all three are taken, one after the other, by the same player.
    env = NoBot(make_openspiel(envs.registry.parse_name(openspiel("dots_and_boxes(num_rows=1,num_cols=3)"))))
    env.reset(0)
    for move in (0, 3, 1, 4, 2, 5):  # all the flat lines; the first upright one is given away
        moment = env.step(move)
    moment = env.step(6)
    taken = []
    while not moment.terminated:
        assert moment.to_play == 1
        visits = copy_visits(env, np.asarray(moment.legal_actions), 1, 200, seed)
        taken.append(int(visits.argmax()))
        moment = env.step(taken[-1])
    assert taken == [7, 8, 9]
    assert moment.reward == 1


@pytest.mark.parametrize("game", ["dots_and_boxes", "mancala"])
def test_a_search_beats_chance_where_a_player_moves_twice(game: str, seed: int) -> None:
    name = openspiel(game)
    spec = envs.spec(name)

    def match(first: str, second: str) -> Any:
        players = (opponent_from_name(player, spec, seed + i) for i, player in enumerate((first, second)))
        return play_match(name, *players, 40, seed)

    won = match("mcts:400", "random")
    assert won.total.score > 0.75
    assert match("random", "mcts:400").total.score < 0.25
    assert match("mcts:400", "random") == won


class Recording:
    """Plays at random and writes down every game's moves."""

    def __init__(self, seed: int, games: dict[int, list[int]]) -> None:
        self._rng, self._games = np.random.default_rng(seed), games

    def actions(self, env: BatchedEnv, step: Step, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        moves = [int(self._rng.choice(np.flatnonzero(step.legal_actions[row]))) for row in rows]
        for row, move in zip(rows.tolist(), moves, strict=True):
            self._games.setdefault(row, []).append(move)
        return np.array(moves)


@pytest.mark.parametrize(
    "game", ["dots_and_boxes", "dots_and_boxes(utility_margin=True)", "mancala", "hex(board_size=3)"]
)
def test_a_match_counts_as_openspiel_does(game: str, seed: int) -> None:
    import pyspiel

    games: dict[int, list[int]] = {}
    result = play_match(openspiel(game), Recording(seed, games), Recording(seed + 1, games), 41, seed)
    counts = {0: [0, 0, 0], 1: [0, 0, 0]}
    for row, moves in games.items():
        state = pyspiel.load_game(game.replace("True", "true")).new_initial_state()
        for move in moves:
            state.apply_action(move)
        assert state.is_terminal()
        seat = int(row >= 21)
        counts[seat][int(1 - np.sign(state.returns()[seat]))] += 1
    for seat, tally in enumerate((result.first, result.second)):
        assert [tally.wins, tally.draws, tally.losses] == counts[seat]


def test_openspiels_search_is_as_strong_as_ours_over_copies(seed: int) -> None:
    name = openspiel("tic_tac_toe")
    spec = envs.spec(name)
    with_bot = envs.make(name, 1)
    assert isinstance(with_bot, SlotEnv)

    class WithoutBot(MctsPlayer):
        def actions(self, env: BatchedEnv, step: Step, rows: NDArray[np.int64]) -> NDArray[np.int64]:
            assert isinstance(env, SlotEnv)
            seats = [(NoBot(env.envs[i]), step.legal_actions[i], int(step.to_play[i])) for i in rows.tolist()]
            seeds = stream(len(seats))
            return np.array([int(copy_visits(*seat, 60, next(seeds)).argmax()) for seat in seats])

    draws = np.random.default_rng(seed)

    def stream(count: int) -> Any:
        return iter(draws.integers(0, 2**31, count).tolist())

    result = play_match(name, WithoutBot(60, seed), opponent_from_name("mcts:60", spec, seed), 60, seed)
    assert 0.3 < result.total.score < 0.7


def test_each_game_of_a_match_has_a_stream_of_its_own(seed: int) -> None:
    name = openspiel("hex(board_size=5)")
    env = envs.make(name, 12)
    step = env.reset()

    def choose(rows: np.ndarray) -> np.ndarray:
        return opponent_from_name("mcts:20", env.spec, seed).actions(env, step, rows)

    everyone = choose(np.arange(12))
    np.testing.assert_array_equal(choose(np.arange(12)), everyone)
    np.testing.assert_array_equal(choose(np.arange(5, 9)), everyone[5:9])
    assert len(set(everyone.tolist())) > 2


class Uncopied(Chain):
    """Cannot be copied."""

    def clone(self) -> SingleEnv:
        return SingleEnv.clone(self)


class Breaking(Chain):
    """Fails when it is played."""

    def step(self, action: int) -> Moment:
        raise RuntimeError("no such luck")


def test_what_cannot_be_searched_is_said_in_one_line() -> None:
    env = SlotEnv(lambda: Uncopied((1.0, 2.0)), 1)
    with pytest.raises(UserError, match=r"opponent 'mcts:5': chain cannot be copied.*'random' needs no rules"):
        MctsPlayer(5, 0).actions(env, env.reset(), np.arange(1))
    env = SlotEnv(lambda: Breaking((1.0, 2.0)), 1)
    with pytest.raises(EnvError, match="chain: a copy that was searched raised RuntimeError: no such luck"):
        MctsPlayer(5, 0).actions(env, env.reset(), np.arange(1))


@pytest.mark.parametrize("game", ["hex(board_size=3)", "dots_and_boxes", "mancala", "cliff_walking"])
def test_an_untrained_agent_is_evaluated_from_end_to_end(game: str, seed: int) -> None:
    name = openspiel(game)
    config = load_config("debug", env=name)
    spec = envs.spec(name)
    agent = Agent(config, spec, WorldModel(config.model, spec), 0)
    report = evaluate(agent, games=4, simulations=2, seed=seed, opponent=None if spec.num_players == 1 else "mcts:20")
    assert report["env"] == name
    for part in (report, report["raw_policy"]):
        assert part["games"] == 4 if spec.num_players == 2 else len(part["returns"]) == 4
