"""PettingZoo's games against our own rules, and what a game of somebody's own may do wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from muzero_wm import envs
from muzero_wm.envs.adapters.pettingzoo import adapt_aec
from muzero_wm.envs.registry import maker
from muzero_wm.envs.slots.slots import SlotEnv
from tests.envs.helpers import random_moves

pettingzoo = pytest.importorskip("pettingzoo", reason="the games of PettingZoo (extra: pettingzoo)")

SAME = {"classic/connect_four_v3": "connect4", "classic/tictactoe_v3": "tictactoe"}


@pytest.mark.parametrize(("theirs", "ours"), SAME.items())
def test_games_are_the_same_as_ours(theirs: str, ours: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = envs.make(f"pettingzoo:{theirs}", 8, seed), envs.make(ours, 8, seed)
    x, y = a.reset(), b.reset()
    won = [0, 0]
    drawn = 0
    for _ in range(1000 if ours == "connect4" else 300):
        np.testing.assert_array_equal(x.observation, y.observation[:, :2])
        for name in ("legal_actions", "to_play", "reward", "terminated", "truncated", "final_to_play"):
            np.testing.assert_array_equal(getattr(x, name), getattr(y, name), err_msg=name)
        ended = x.terminated
        np.testing.assert_array_equal(x.final_observation[ended], y.final_observation[ended][:, :2])
        actions = random_moves(y.legal_actions, rng)
        mover = y.to_play
        x, y = a.step(actions), b.step(actions)
        for seat in (0, 1):
            won[seat] += int((y.reward[mover == seat] == 1).sum())
        drawn += int((y.terminated & (y.reward == 0)).sum())
    assert min(won) > 20
    assert drawn > 0 or ours == "connect4"  # one random game in 400
    mine, their = b.spec, a.spec
    assert (their.num_players, their.alternating, their.num_actions) == (2, True, mine.num_actions)
    assert (their.max_episode_steps, their.value_bounds) == (mine.max_episode_steps, mine.value_bounds)
    assert (their.observation_dtype, their.observation_bounds) == (np.uint8, (0.0, 1.0))


@pytest.mark.parametrize("spelling", ["classic/connect_four-v3", "classic/connect_four"])
def test_other_spellings_name_the_same_game(spelling: str) -> None:
    assert envs.spec(f"pettingzoo:{spelling}").observation_shape == (2, 6, 7)


def test_options_reach_the_game() -> None:
    spec = envs.spec("pettingzoo:classic/go_v5(board_size=5)")
    assert (spec.observation_shape, spec.num_actions) == ((17, 5, 5), 26)


@pytest.mark.parametrize("game", ["connect_four_v3", "go_v5(board_size=5)"])
def test_a_copy_goes_its_own_way_from_where_it_was_taken(game: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    env = envs.make(f"pettingzoo:classic/{game}", 1, seed)
    assert isinstance(env, SlotEnv)
    step = env.reset()
    for _ in range(9):
        step = env.step(random_moves(step.legal_actions, rng))
    legal = step.legal_actions[0]
    copies = [env.envs[0].clone() for _ in range(3)]
    action = int(np.flatnonzero(legal)[0])
    moved = [copy.step(action) for copy in copies[:2]]
    np.testing.assert_array_equal(moved[0].observation, moved[1].observation)
    assert (moved[0].observation != step.observation[0]).any()
    copies[0].step(int(np.flatnonzero(moved[0].legal_actions)[-1]))
    # Neither the copies that moved nor the one that did not have touched the game itself.
    late, real = copies[2].step(action), env.step(np.array([action]))
    np.testing.assert_array_equal(late.observation, real.observation[0])
    np.testing.assert_array_equal(moved[1].observation, real.observation[0])


def test_games_go_on_after_a_restore(seed: int) -> None:
    rng = np.random.default_rng(seed)
    env = envs.make("pettingzoo:classic/connect_four_v3", 4, seed)
    step = env.reset()
    for _ in range(25):
        step = env.step(random_moves(step.legal_actions, rng))
    other = envs.make("pettingzoo:classic/connect_four_v3", 4, seed)
    again, goes_on = other.restore(env.snapshot())
    assert goes_on.all()
    np.testing.assert_array_equal(again.observation, step.observation)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("classic/connect_for_v3", "did you mean 'classic/connect_four-v3'"),
        ("classic/connect_four_v2", "v2.*Available version: v3"),
        ("classic/hanabi_v5", "cards of hanabi are hidden"),
        ("classic/texas_holdem_v4", "cards of texas_holdem are hidden"),
        ("classic/rps_v2", "same time"),
        ("atari/pong_v3", "same time"),
        ("classic/connect_four_v3(colour=1)", "unexpected keyword argument 'colour'"),
    ],
)
def test_what_is_not_supported_is_said_in_one_line(name: str, message: str) -> None:
    with pytest.raises(envs.EnvError, match=message) as caught:
        envs.spec(f"pettingzoo:{name}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_chess_says_which_package_it_needs() -> None:
    try:
        import chess  # noqa: F401
    except ImportError:
        with pytest.raises(envs.EnvError, match="pip install chess"):
            envs.spec("pettingzoo:classic/chess_v6")
    else:
        assert envs.spec("pettingzoo:classic/chess_v6").observation_shape == (111, 8, 8)


class Race(pettingzoo.AECEnv):  # type: ignore[misc]
    """Count to six: move 0 adds one, move 1 adds two and lets the same agent move again; who reaches six wins."""

    def __init__(self, *, agents: int = 2, loser_gets: float = -1.0, limit: int = 99, leaves: bool = False) -> None:
        self.possible_agents = [f"agent{i}" for i in range(agents)]
        self.loser_gets, self.limit, self.leaves = loser_gets, limit, leaves
        self.metadata = {"name": "race_v0"}
        self.closed = False

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Box(-9, 9, (2,), np.float64)

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Discrete(2)

    def observe(self, agent: str) -> Any:
        return np.array([self.total, self.possible_agents.index(agent)], np.float64)

    def reset(self, seed: int | None = None, options: Any = None) -> None:
        self.agents = list(self.possible_agents)
        self.total = self.moves = 0
        self.agent_selection = self.agents[0]
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = {agent: {"action_mask": np.array([1, self.total < 5])} for agent in self.agents}

    def step(self, action: int) -> None:
        mover = self.agent_selection
        other = self.possible_agents[1 - self.possible_agents.index(mover)]
        self.total += 1 + action
        self.moves += 1
        if action == 0:
            self.agent_selection = other
        if self.total == 6:
            self.rewards = {mover: 1.0, other: self.loser_gets}
            self.terminations = dict.fromkeys(self.agents, True)
            if self.leaves:
                self.terminations[other] = False
        elif self.moves == self.limit:
            self.truncations = dict.fromkeys(self.agents, True)
        for agent in self.agents:
            self.infos[agent]["action_mask"] = np.array([1, self.total < 5])

    def close(self) -> None:
        self.closed = True


def play(env: Race, *actions: int, name: str = "race") -> Any:
    batch = SlotEnv(lambda: adapt_aec(name, env), 1)
    step = batch.reset()
    for action in actions:
        step = batch.step(np.array([action]))
    return batch, step


def test_a_player_may_move_twice_in_a_row() -> None:
    batch, step = play(Race(), 1, 1)
    assert not batch.spec.alternating
    assert batch.spec.observation_dtype == np.float32
    assert batch.spec.observation_bounds == (-9.0, 9.0)
    assert (step.observation.tolist(), step.to_play.tolist()) == ([[4.0, 0.0]], [0])
    step = batch.step(np.array([0]))
    assert (step.observation.tolist(), step.to_play.tolist()) == ([[5.0, 1.0]], [1])
    assert step.legal_actions.tolist() == [[True, False]]
    step = batch.step(np.array([0]))
    assert (step.reward.tolist(), step.terminated.tolist()) == ([1.0], [True])
    assert (step.final_observation.tolist(), step.final_to_play.tolist()) == ([[6.0, 0.0]], [0])


def test_a_factory_may_make_one() -> None:
    name = "tests.envs.test_pettingzoo:Race(limit=4)"
    spec = envs.spec(name)
    assert (spec.name, spec.num_players, spec.alternating) == (name, 2, False)
    step = envs.make(name, 2).reset()
    assert step.legal_actions.all()


def test_a_cut_game_is_truncated() -> None:
    _, step = play(Race(limit=3), 0, 0, 0, name="short race")
    assert (step.terminated.tolist(), step.truncated.tolist()) == ([False], [True])
    assert (step.final_observation.tolist(), step.final_to_play.tolist()) == ([[3.0, 1.0]], [1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"agents": 3}, "only games of two players are supported, this one has 3"),
        ({"loser_gets": 0.0}, r"must sum to 0, got \[.*1.0.*\]"),
        ({"leaves": True}, "an agent leaves while the other plays on"),
    ],
)
def test_what_a_game_does_wrong_is_named(options: dict[str, Any], message: str) -> None:
    race = Race(**options)
    with pytest.raises(envs.EnvError, match=message):
        play(race, name=f"race {options}")
    assert race.closed


class Planes(Race):
    """Shows three dimensions."""

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Box(0, 9, (3, 6, 7), np.int8)

    def observe(self, agent: str) -> Any:
        return np.full((3, 6, 7), self.total, np.int8)


def test_channels_are_last_unless_the_name_says_first() -> None:
    """PettingZoo's own boards have them last, so that is taken; a doubt is told where the shape says otherwise."""
    name = "tests.envs.test_pettingzoo:Planes"
    assert envs.spec(name).observation_shape == (7, 3, 6)
    (doubt,) = maker(name)().doubts
    assert "is read as 7 planes of 3 x 6; with channels=first it would be 3 of 6 x 7" in doubt
    assert envs.spec(f"{name}(channels=first)").observation_shape == (3, 6, 7)
    assert maker(f"{name}(channels=first)")().doubts == ()
    assert maker("pettingzoo:classic/go_v5(board_size=17)")().doubts == ()
