"""What `check_env` finds: one broken environment for each mistake, and nothing wrong with those that are right."""

from __future__ import annotations

import random
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from muzero_wm.envs import EnvError
from muzero_wm.envs.adapters.gymnasium import GymnasiumEnv
from muzero_wm.envs.base import EnvSpec
from muzero_wm.envs.checking.check import check_env, try_out
from muzero_wm.envs.checking.findings import Finding
from muzero_wm.envs.slots.single import Moment, SingleEnv
from tests.envs import toys
from tests.envs.toys import Echo

BOX = spaces.Box(-1.0, 1.0, (3,), np.float32)


class Walk(gymnasium.Env):
    """A right one: a walk that ends after 7 steps, its pace by chance; the broken ones change one thing of it."""

    observation_space: spaces.Space[Any] = BOX
    action_space = spaces.Discrete(2)
    length = 7

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        self.place = self.np_random.uniform(-1, 1, 3)
        self.pace = self.np_random.uniform(0, 0.1, 3)
        return self.look(), self.told()

    def step(self, action: int) -> Any:
        self.t += 1
        self.place = np.clip(self.place + (action - 0.5) * self.pace, -1, 1)
        return self.look(), float(action), self.t >= self.length, False, self.told()

    def look(self) -> Any:
        return self.place.astype(np.float32)

    def told(self) -> dict[str, Any]:
        return {}


class Outside(Walk):
    def look(self) -> Any:
        return super().look() * (3.0 if self.t == 4 else 1.0)


class NanView(Walk):
    def look(self) -> Any:
        return np.full(3, np.nan, np.float32) if self.t == 2 else super().look()


class Shapes(Walk):
    def look(self) -> Any:
        return super().look()[:2] if self.t == 3 else super().look()


class Doubles(Walk):
    def look(self) -> Any:
        return self.place


class BigInUint8(Walk):
    observation_space = spaces.Box(0, 255, (3,), np.uint8)

    def look(self) -> Any:
        return np.array([3, 300, 5], np.int64) if self.t == 5 else np.zeros(3, np.uint8)


class Numbers(Walk):
    observation_space = spaces.Discrete(4)

    def look(self) -> Any:
        return self.t


class NanReward(Walk):
    def step(self, action: int) -> Any:
        observation, reward, *rest = super().step(action)
        return observation, float("nan") if self.t == 3 else reward, *rest


class NoReward(Walk):
    def step(self, action: int) -> Any:
        observation, _, *rest = super().step(action)
        return observation, None, *rest


class OldStep(Walk):
    def step(self, action: int) -> Any:
        observation, reward, done, _, info = super().step(action)
        return observation, reward, done, info


class MaskShape(Walk):
    def told(self) -> dict[str, Any]:
        return {"action_mask": np.ones(3, np.int8)}


class MaskNothing(Walk):
    def told(self) -> dict[str, Any]:
        return {"action_mask": np.full(2, self.t != 4, np.int8)}


class MaskOfActions(Walk):
    """Gives the legal actions themselves."""

    action_space = spaces.Discrete(3)

    def told(self) -> dict[str, Any]:
        return {"action_mask": np.array([0, 1, 2])}


class MaskLies(Walk):
    """Allows what it refuses."""

    def step(self, action: int) -> Any:
        if action == 1 and self.t == 2:
            raise KeyError("no such move")
        return super().step(action)

    def told(self) -> dict[str, Any]:
        return {"action_mask": np.ones(2, np.int8)}


class RandomMask(Walk):
    def told(self) -> dict[str, Any]:
        return {"action_mask": np.array([1, np.random.random() < 0.5], np.int8)}  # noqa: NPY002


class OwnChance(Walk):
    """Draws from a generator of its own, which no seed reaches."""

    def __init__(self) -> None:
        self.chance = np.random.default_rng()

    def look(self) -> Any:
        return super().look() * np.float32(self.chance.random())


class GoesOn(Walk):
    """Does not begin anew: reset forgets the place."""

    place: Any = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        place = self.place
        shown = super().reset(seed=seed)
        if place is None:
            return shown
        self.place = place
        return self.look(), self.told()


class Endless(Walk):
    length = 10**9


class BothEnds(Walk):
    def step(self, action: int) -> Any:
        *rest, ended, _, info = super().step(action)
        return *rest, ended, ended, info


class Reused(Walk):
    def look(self) -> Any:
        if not hasattr(self, "buffer"):
            self.buffer = np.zeros(3, np.float32)
        self.buffer[:] = super().look()
        return self.buffer


class ResetFails(Walk):
    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        if getattr(self, "t", 0) == self.length:
            raise RuntimeError("already over")
        return super().reset(seed=seed)


BROKEN = [
    (Outside, "warning", "observation outside its space", "step 4"),
    (NanView, "error", "observation with NaN or infinity", "step 2"),
    (Shapes, "error", "observation of the wrong shape", "shape (2,), the space (3,) (reset seed"),
    (Doubles, "note", "observation of another dtype than declared", "float64, not float32"),
    (BigInUint8, "error", "observation that uint8 cannot hold", "300"),
    (Numbers, "error", "observation outside its space", "Discrete(4)"),
    (NanReward, "error", "a reward that is no finite number", "nan"),
    (NoReward, "error", "a reward that is no finite number", "None"),
    (OldStep, "error", "step returns something else", "terminated, truncated"),
    (MaskShape, "error", "a mask of the wrong shape or dtype|not usable", "(3,)"),
    (MaskNothing, "error", "a mask that allows nothing", "step 4"),
    (MaskOfActions, "warning", "a mask of other numbers than 0 and 1", "2"),
    (MaskLies, "error", "a legal action is refused", "action 1, which the mask allows: KeyError: 'no such move'"),
    (RandomMask, "warning", "the reset seed is not followed", "another action mask"),
    (OwnChance, "warning", "the reset seed is not followed", "another observation at step 0"),
    (GoesOn, "warning", "reset does not begin anew", "another observation at step 0"),
    (Endless, "warning", "no end in sight", "no time limit"),
    (BothEnds, "note", "terminated and truncated together", "step 7"),
    (Reused, "note", "an array used again", "the same array"),
    (ResetFails, "error", "reset raises", "RuntimeError: already over"),
]
for kind in (Walk, *(kind for kind, *_ in BROKEN)):
    gymnasium.register(f"tests/Check{kind.__name__}-v0", entry_point=kind, disable_env_checker=True)
gymnasium.register("tests/CheckNondeterministic-v0", entry_point=OwnChance, nondeterministic=True)
gymnasium.register("tests/CheckLimited-v0", entry_point=Endless, max_episode_steps=30)


@pytest.mark.parametrize(("kind", "severity", "titles", "seen"), BROKEN)
def test_every_mistake_is_found_and_comes_with_a_remedy(
    kind: type[Walk], severity: str, titles: str, seen: str, seed: int
) -> None:
    report = check_env(f"gym:tests/Check{kind.__name__}-v0", seed=seed)
    (found,) = [finding for finding in report.findings if finding.title in titles.split("|")]
    assert found.severity == severity
    assert seen in found.seen
    assert found.remedy
    others = {finding.title for finding in report.findings if finding.severity != "note"} - {found.title}
    assert not others


CLEAN = [
    "gym:tests/CheckWalk-v0",
    "gym:tests/CheckLimited-v0",
    "gym:CartPole-v1",
    "gym:FrozenLake-v1(is_slippery=False)",
    "gym:Taxi-v4",
    "gym:MountainCar-v0",
    "tictactoe",
    "connect4",
]


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("name", CLEAN)
def test_nothing_is_wrong_with_what_is_right(name: str, quick: bool, seed: int) -> None:
    report = check_env(name, seed=seed, quick=quick)
    assert report.findings == []
    assert report.facts["steps"] == 200 if quick else report.facts["steps"] >= 500


def test_lunar_lander_is_right(seed: int) -> None:
    pytest.importorskip("Box2D")
    assert check_env("gym:LunarLander-v3", seed=seed).findings == []


def test_what_is_declared_nondeterministic_is_only_noted() -> None:
    report = check_env("gym:tests/CheckNondeterministic-v0")
    assert [(finding.severity, finding.title) for finding in report.findings] == [("note", "not repeatable")]


class Gust(Walk):
    """The wind blows it somewhere; `always` the same start; `own`: a generator of its own, or a "hidden" one."""

    def __init__(self, strength: float = 1.0, always: bool = False, own: str = "") -> None:
        self.strength, self.always, self.own = strength, always, own

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        shown = super().reset(seed=seed)
        makers = {"generator": np.random.default_rng, "old": np.random.RandomState, "python": random.Random}
        made = makers.get(self.own, np.random.default_rng)(seed)
        self.wind = [made] if self.own == "hidden" else made
        if self.always:
            self.place = np.zeros(3)
            return self.look(), {}
        return shown

    def step(self, action: int) -> Any:
        _, *rest = super().step(action)
        wind = self.wind[0] if isinstance(self.wind, list) else self.wind if self.own else self.np_random
        blown = np.array([wind.uniform(-1, 1) for _ in range(3)])
        self.place = (1 - self.strength) * self.place + self.strength * blown
        return self.look(), *rest


gymnasium.register("tests/CheckGust-v0", entry_point=Gust, disable_env_checker=True)


@pytest.mark.parametrize(
    ("name", "told", "low", "high"),
    [
        ("gym:CartPole-v1", "in how an episode starts (none later in 40 tries)", 0.0, 0.0),
        ("tictactoe", "none seen, other reset seeds play the same", None, None),
        ("gym:FrozenLake-v1(is_slippery=False)", "none seen, other reset seeds and ", 0.0, 0.0),
        ("gym:FrozenLake-v1", "during an episode, the start is always the same (sure: ", 0.3, 1.0),
        ("gym:Blackjack-v1", "during an episode, and in how it starts (sure: ", 0.1, 1.0),
        ("gym:tests/CheckGust-v0", "during an episode, and in how it starts (sure: ", 0.5, 1.0),
        ("gym:tests/CheckGust-v0(frame_stack=2)", "during an episode, and in how it starts (sure: ", 0.2, 1.0),
        ("gym:tests/CheckGust-v0(strength=0.001)", "during an episode, and in how it starts (sure: ", 1e-4, 0.2),
        ("gym:tests/CheckGust-v0(own=generator)", "during an episode, and in how it starts (sure: ", 0.5, 1.0),
        ("gym:tests/CheckGust-v0(own=old)", "during an episode, and in how it starts (sure: ", 0.5, 1.0),
        ("gym:tests/CheckGust-v0(own=python)", "during an episode, and in how it starts (sure: ", 0.5, 1.0),
        (
            "gym:tests/CheckGust-v0(own=hidden, always=True)",
            "probably during an episode, the start is always",
            0.0,
            0.0,
        ),
    ],
)
def test_chance_is_found_where_it_is(name: str, told: str, low: float | None, high: float | None, seed: int) -> None:
    facts = check_env(name, seed=seed).facts
    assert facts["chance"].startswith(told)
    assert facts["chance_share"] == low if low is None else low <= facts["chance_share"] <= high


@pytest.mark.parametrize("game", ["breakout", "asterix"])
def test_the_chance_of_minatar_is_found(game: str) -> None:
    pytest.importorskip("minatar")
    assert check_env(f"minatar:{game}").facts["chance"].startswith("during an episode")
    still = check_env("minatar:breakout(sticky_action_prob=0)", steps=100).facts["chance"]
    assert "none later" in still or "none seen" in still


@pytest.mark.parametrize("name", ["gym:FrozenLake-v1", "gym:tests/CheckGust-v0", "gym:tests/CheckGust-v0(always=True)"])
def test_chance_that_decides_much_is_a_warning(name: str, seed: int) -> None:
    (finding,) = check_env(name, seed=seed).findings
    assert (finding.severity, finding.title) == ("warning", "chance decides much")
    assert "will not learn this reliably" in finding.remedy
    assert check_env("gym:tests/CheckGust-v0(strength=0.001)", seed=seed).findings == []


def test_chance_that_cannot_be_drawn_anew_is_said_to_be_unknown(seed: int) -> None:
    facts = check_env(lambda: toys.Walk(), seed=seed).facts
    assert facts["chance"] == "in how an episode starts (not known whether later: it cannot be drawn anew)"
    assert facts["chance_share"] is None


class Waits(Walk):
    """Ends after 7 steps, if anybody ever goes to the right; or hardly ever."""

    def __init__(self, rarely: bool = False) -> None:
        self.rarely, self.gone = rarely, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.gone = 0
        return super().reset(seed=seed)

    def step(self, action: int) -> Any:
        observation, reward, _, _, info = super().step(action)
        self.gone += action
        return observation, reward, self.gone >= 7 and not self.rarely, False, info


gymnasium.register("tests/CheckWaits-v0", entry_point=Waits, disable_env_checker=True)
gymnasium.register("tests/CheckWaitsLimited-v0", entry_point=Waits, disable_env_checker=True, max_episode_steps=100)


def test_an_agent_that_stands_still_for_ever_is_foreseen(seed: int) -> None:
    (finding,) = check_env("gym:tests/CheckWaits-v0", seed=seed).findings
    assert (finding.severity, finding.title) == ("warning", "no end in sight")
    assert finding.seen == "action 0 again and again ends no episode in 2,000 steps, and no time limit is declared"
    assert check_env("gym:tests/CheckWaitsLimited-v0", seed=seed).findings == []


def test_a_limit_beyond_all_patience_is_none(seed: int) -> None:
    name = "gym:tests/CheckWaits-v0(rarely=True, max_episode_steps=1000000)"
    (finding,) = check_env(name, seed=seed).findings
    assert finding.title == "no end in sight"
    assert finding.seen.endswith("and the limit is 1,000,000 steps")


def test_a_limit_is_set_as_the_kind_of_name_can_say_it(seed: int) -> None:
    (finding,) = check_env(f"{__name__}:Waits", seed=seed).findings
    assert finding.title == "no end in sight" and "gymnasium.wrappers.TimeLimit" in finding.remedy
    (finding,) = check_env("gym:tests/CheckWaits-v0", seed=seed).findings
    assert "gym:tests/CheckWaits-v0(max_episode_steps=1000)" in finding.remedy


class Wordless(Walk):
    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        if options == {}:  # as Gymnasium's checker tries
            raise AssertionError
        return super().reset(seed=seed)


gymnasium.register("tests/CheckWordless-v0", entry_point=Wordless, disable_env_checker=True)


def test_an_objection_without_words_shows_the_line_that_raised_it() -> None:
    (note,) = check_env("gym:tests/CheckWordless-v0").findings
    assert (note.title, note.seen) == ("Gymnasium's own checker objects", "raise AssertionError (test_check.py)")


class Cube(Walk):
    observation_space = spaces.Box(-1.0, 1.0, (6, 7, 8), np.float32)

    def look(self) -> Any:
        return np.resize(super().look(), (6, 7, 8))


gymnasium.register("tests/CheckCube-v0", entry_point=Cube, disable_env_checker=True)


def test_channels_that_may_be_first_or_last_are_asked_for(seed: int) -> None:
    (finding,) = check_env("gym:tests/CheckCube-v0(frame_stack=2)", seed=seed).of("warning")
    assert (finding.title, "channels=first" in finding.remedy) == ("channels first or last?", True)
    assert "is read as 6 planes of 7 x 8; with channels=last it would be 8 of 6 x 7" in finding.seen
    report = check_env("gym:tests/CheckCube-v0(channels=last)", seed=seed)
    assert report.of("warning") == []
    assert report.facts["observation_shape"] == [8, 6, 7]
    with pytest.warns(UserWarning, match=r"with channels=last it would be 8 of 6 x 7"):
        try_out("gym:tests/CheckCube-v0")


def test_it_is_said_how_every_space_is_read() -> None:
    def read(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> list[str]:
        env = GymnasiumEnv("toy", Echo(observation_space, action_space, observation_space.sample()))
        return check_env(lambda: env, steps=5, quick=True).facts["read_as"]

    assert read(spaces.Box(0, 1, (8, 8, 20), np.uint8), spaces.Discrete(3, start=-1)) == [
        "Box of (8, 8, 20) uint8: 20 planes of 8 x 8, channels last",
        "Discrete(3, start=-1): 3 actions",
    ]
    parts = {"a": spaces.Discrete(5), "action_mask": spaces.MultiBinary(6), "b": spaces.Box(0, 1, (3, 8, 8), np.uint8)}
    assert read(spaces.Dict(parts | {"c": spaces.Box(0, 1, ())}), spaces.MultiDiscrete([3, 2])) == [
        "['a'] Discrete(5): one-hot, 5 numbers",
        "['b'] Box of (3, 8, 8) uint8: 3 planes of 8 x 8, channels first, flattened",
        "['c'] Box of () float32: 1 number",
        "['action_mask'] the mask of legal actions",
        "MultiDiscrete([3 2]): 6 actions, all combinations",
    ]
    assert read(spaces.Box(0, 1, (8, 9)), spaces.MultiBinary(2)) == [
        "Box of (8, 9) float32: 1 plane of 8 x 9",
        "MultiBinary(2): 4 actions, all combinations",
    ]
    assert check_env("tictactoe", steps=5).facts["read_as"] == []


def test_the_facts_are_those_of_the_environment(seed: int) -> None:
    facts = check_env("gym:tests/CheckWalk-v0", steps=70, seed=seed).facts
    assert facts["observation_shape"] == [3]
    assert (facts["actions"], facts["players"], facts["masked"]) == (2, 1, False)
    assert (facts["steps"], facts["episodes"], facts["terminated"]) == (70, 10, 10)
    assert facts["lengths"] == {"mean": 7.0, "min": 7, "max": 7}
    assert 0 <= facts["returns"]["min"] <= facts["returns"]["max"] <= 7


LINES = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]]


class Noughts(SingleEnv):
    """Tic-tac-toe on a flat board; how reward, view and turn are told can be wrong."""

    def __init__(self, reward: str = "mover", view: str = "own", turns: bool = True) -> None:
        self.spec = EnvSpec("noughts", (20,), np.dtype(np.float32), 9, 2, 9, (-1.0, 1.0))
        self._reward, self._view, self._turns = reward, view, turns

    def reset(self, seed: int) -> Moment:
        self._board, self._seat, self._plies = np.full(9, -1), 0, 0
        return self._moment(0.0, False)

    def step(self, action: int) -> Moment:
        mover = self._seat
        self._board[action] = mover
        self._plies += 1
        won = any((self._board[line] == mover).all() for line in LINES)
        sign = {"mover": 1, "opponent": -1, "first": 1 - 2 * mover, "second": 2 * mover - 1}[self._reward]
        self._seat = 1 - mover if self._turns or self._plies % 4 else mover
        return self._moment(float(sign * won), won or self._plies == 9)

    def _moment(self, reward: float, over: bool) -> Moment:
        first = self._seat if self._view == "own" else 0
        says = [self._seat, 1 - self._seat] if self._view == "with turn" else [0, 0]
        view = np.concatenate([self._board == first, self._board == 1 - first, says])
        return Moment(view, self._board < 0, self._seat, reward, over)


def found(*args: Any, seed: int, **options: Any) -> list[Finding]:
    return check_env(lambda: Noughts(*args, **options), seed=seed).findings


@pytest.mark.parametrize("view", ["own", "with turn"])
def test_a_right_game_of_two_players_passes(view: str, seed: int) -> None:
    assert found(view=view, seed=seed) == []


@pytest.mark.parametrize("reward", ["first", "second", "opponent"])
def test_a_reward_of_the_wrong_seat_is_suspected(reward: str, seed: int) -> None:
    (finding,) = found(reward, seed=seed)
    assert (finding.severity, finding.title) == ("warning", "probably a reward of the wrong seat")
    assert "view of the player who has just moved" in finding.remedy
    if reward != "opponent":
        assert finding.seen.endswith(f"as if always seen by the {reward} player")


class NoughtsOfGymnasium(gymnasium.Env):
    """The same as a Gymnasium environment says it, its reward always seen by the first player."""

    observation_space = spaces.Box(0, 1, (20,), np.float32)
    action_space = spaces.Discrete(9)

    def __init__(self) -> None:
        self.game = Noughts("first")

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.told(self.game.reset(0))[::4]

    def step(self, action: int) -> Any:
        return self.told(self.game.step(int(action)))

    def told(self, moment: Moment) -> Any:
        info = {"to_play": moment.to_play, "action_mask": moment.legal_actions.astype(np.int8)}
        return moment.observation.astype(np.float32), moment.reward, moment.terminated, False, info


gymnasium.register("tests/CheckNoughts-v0", entry_point=NoughtsOfGymnasium)


def test_a_reward_of_the_wrong_seat_is_suspected_in_a_gymnasium_environment(seed: int) -> None:
    report = check_env("gym:tests/CheckNoughts-v0", seed=seed)
    assert [(finding.severity, finding.title) for finding in report.findings] == [
        ("warning", "probably a reward of the wrong seat")
    ]
    assert report.facts["results"]["second"] < 5  # the second player's wins are counted for the first


def test_the_same_view_for_both_is_noted(seed: int) -> None:
    (finding,) = found(view="absolute", seed=seed)
    assert (finding.severity, finding.title) == ("note", "probably the same view for both players")


def test_a_turn_that_is_not_passed_is_an_error(seed: int) -> None:
    titles = [finding.title for finding in found(turns=False, seed=seed) if finding.severity == "error"]
    assert titles == ["the turn is not passed"]


class Drawn(Noughts):
    """Forgets the reward of the end."""

    def step(self, action: int) -> Moment:
        moment = super().step(action)
        moment.reward = 0.0
        return moment


def test_games_that_nobody_wins_are_noted(seed: int) -> None:
    (finding,) = check_env(Drawn, seed=seed).findings
    assert (finding.severity, finding.title) == ("note", "no game was decided")


class Bounds(SingleEnv):
    """Says too much of itself, in every way that a spec can be wrong."""

    def __init__(self) -> None:
        self.spec = EnvSpec("bounds", (2,), np.dtype(np.float32), 2, 1, 3, (0.0, 1.0), observation_bounds=(0.0, 1.0))

    def reset(self, seed: int) -> Moment:
        self._t = 0
        return self._moment()

    def step(self, action: int) -> Moment:
        self._t += 1
        return self._moment()

    def _moment(self) -> Moment:
        view: NDArray[Any] = np.array([self._t, 0.0])
        return Moment(view, reward=float(self._t), terminated=self._t == 5)


def test_what_a_spec_promises_is_held_against_what_is_seen() -> None:
    titles = {finding.title for finding in check_env(Bounds).of("warning")}
    assert titles == {"observation outside its space", "a return outside its bounds", "an episode longer than declared"}


def test_an_environment_that_cannot_be_made_is_one_line() -> None:
    for wrong in ("gym:Pendulum-v1", "gym:NoSuchThing-v0", "tictactoo"):
        with pytest.raises(EnvError) as caught:
            check_env(wrong)
        assert "\n" not in str(caught.value)

    def broken() -> SingleEnv:
        raise OSError("no such device")

    with pytest.raises(EnvError, match="cannot be made: OSError: no such device"):
        check_env(broken)


def test_what_a_run_tries_first() -> None:
    try_out("tictactoe")
    try_out("gym:CartPole-v1")
    with pytest.raises(EnvError, match=r"NaN or infinity.*finite numbers.*see muzero-wm check-env gym:tests/CheckNan"):
        try_out("gym:tests/CheckNanView-v0")
    with pytest.warns(UserWarning, match="reset does not begin anew"):
        try_out("gym:tests/CheckGoesOn-v0")
