"""Slots of environments that are objects: each follows from the seed and its number alone, openings included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muzero_wm import envs
from muzero_wm.envs.slots.slots import SlotEnv
from tests.envs.helpers import random_moves
from tests.envs.toys import Walk

WALK = "tests.envs.toys:walk(players=2)"
NIM = "tests.envs.toys:nim(random_pile=True)"


def moves_of(slot: int, t: int, legal: Any) -> int:
    """Returns a legal action that depends on the slot's number and the time only."""
    return int(np.random.default_rng([slot, t]).choice(np.flatnonzero(legal)))


def history(env: SlotEnv, slots: list[int], steps: int) -> dict[int, list[tuple[Any, ...]]]:
    """Plays; returns for each slot all that it showed."""
    shown: dict[int, list[tuple[Any, ...]]] = {slot: [] for slot in slots}
    step = env.reset()
    for t in range(steps):
        moves = [moves_of(slot, t, legal) for slot, legal in zip(slots, step.legal_actions, strict=True)]
        step = env.step(np.array(moves))
        for i, slot in enumerate(slots):
            fields = (step.observation, step.to_play, step.reward, step.terminated, step.final_observation)
            shown[slot].append(tuple(field[i].tolist() for field in fields))
    return shown


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**40), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4), data=st.data())
def test_any_division_into_batches_in_any_order_plays_the_same(
    seed: int, sizes: list[int], data: st.DataObject
) -> None:
    def slot_env(n: int, first: int) -> SlotEnv:
        return SlotEnv(lambda: Walk(players=2), n, seed, first_slot=first, random_openings=0.5, max_random_plies=4)

    whole = history(slot_env(sum(sizes), 0), list(range(sum(sizes))), 40)
    parts = [list(range(sum(sizes[:k]), sum(sizes[: k + 1]))) for k in range(len(sizes))]
    for part in data.draw(st.permutations(parts)):
        for slot, shown in history(slot_env(len(part), part[0]), part, 40).items():
            assert shown == whole[slot]


def openings(share: float, plies: int, seed: int, slots: int, games: int) -> Any:
    """Returns what games of `WALK` show first, less what they show without openings: sum of the actions, and seat."""
    plain = envs.make(WALK, slots, seed)
    opened = envs.make(WALK, slots, seed, random_openings=share, max_random_plies=plies)
    return np.concatenate([opened.reset().observation - plain.reset().observation for _ in range(games)])


def test_the_share_and_the_length_of_openings(seed: int) -> None:
    """A game's opening has 1 to 3 uniform plies: seat 1 begins after 1 or 3 of them."""
    starts = openings(0.6, 3, seed, slots=200, games=10)
    total, seat = starts[:, 0], starts[:, 1]
    n = len(starts)
    # an opening of two actions 0 leaves no trace
    changed = ((total != 0) | (seat != 0)).mean()
    expected = 0.6 * (1 - 1 / 3 / 25)
    assert abs(changed - expected) < 4 * (expected * (1 - expected) / n) ** 0.5
    assert abs(seat.mean() - 0.4) < 4 * (0.24 / n) ** 0.5  # 0.6 * 2 / 3
    single = total[seat == 1]  # of 1 ply: mean 2; of 3 plies: mean 6
    assert abs(single.mean() - 4) < 0.5
    assert set(np.unique(total)) <= set(range(13))


def test_no_openings_and_openings_every_time(seed: int) -> None:
    assert not openings(0.0, 3, seed, slots=50, games=2).any()
    always = openings(1.0, 1, seed, slots=50, games=2)
    assert (always[:, 1] == 1).all()


def test_openings_that_end_the_game_are_taken_back(seed: int) -> None:
    """At most 12 matches and up to 12 plies: many openings would play the whole game."""
    plain = envs.make(NIM, 100, seed).reset()
    step = envs.make(NIM, 100, seed, random_openings=1.0, max_random_plies=12).reset()
    assert (step.observation[:, 0] >= 1).all()
    untouched = (step.observation == plain.observation).all(axis=1)
    assert 20 <= untouched.sum() <= 90
    assert (step.observation[:, 1] == step.to_play).all()
    assert set(step.to_play.tolist()) == {0, 1}


@pytest.mark.parametrize("name", [WALK, NIM, "tests.envs.toys:nim(random_pile=True, again=1)"])
def test_games_with_openings_are_resumed_exactly(name: str, seed: int) -> None:
    options = {"random_openings": 0.7, "max_random_plies": 5}
    rng = np.random.default_rng(seed)
    env, other = envs.make(name, 12, seed, **options), envs.make(name, 12, seed, **options)
    step = env.reset()
    for _ in range(30):
        again, goes_on = other.restore(env.snapshot())
        assert goes_on.all(), other.not_restored
        for field in ("observation", "legal_actions", "to_play"):
            assert np.array_equal(getattr(again, field), getattr(step, field))
        moves = random_moves(step.legal_actions, rng)
        step, twin = env.step(moves), other.step(moves)
        for field in ("observation", "to_play", "reward", "terminated", "final_observation", "final_to_play"):
            assert np.array_equal(getattr(twin, field), getattr(step, field))


def test_a_player_who_moves_twice_in_an_opening_is_found() -> None:
    env = SlotEnv(lambda: Walk(players=2, again=True), 8, 0, random_openings=1.0, max_random_plies=9)

    def reset_often() -> None:
        for _ in range(20):
            env.reset()

    with pytest.raises(envs.EnvError, match=r"walk: player [01] moves twice in a row, .*alternating = False.*slot"):
        reset_often()


def test_who_may_move_twice_may() -> None:
    env = SlotEnv(lambda: Walk(players=2, again=True, alternating=False), 1, 0)
    env.reset()
    assert [int(env.step(np.array([action])).to_play[0]) for action in (4, 4, 1, 4)] == [0, 0, 1, 1]


class Short(Walk):
    """Is cut by a time limit at its second step, in which it also ends by the rules if both actions were 4."""

    def reset(self, seed: int) -> Any:
        super().reset(0)
        self._at, self.steps = 22, 0
        return self._moment(0.0)

    def step(self, action: int) -> Any:
        moment = super().step(action)
        self.steps += 1
        moment.truncated = self.steps == 2
        return moment


@pytest.mark.parametrize(("action", "ends"), [(3, (False, True)), (4, (True, False))])
def test_rules_that_end_a_game_go_before_its_time_limit(action: int, ends: tuple[bool, bool]) -> None:
    env = SlotEnv(Short, 1, 0)
    env.reset()
    step = [env.step(np.array([action])) for _ in range(2)][-1]
    assert (bool(step.terminated[0]), bool(step.truncated[0])) == ends


def test_nim_is_won_by_who_leaves_multiples_of_four(seed: int) -> None:
    """The theory of the game, played through slots: seat, reward and turn are those of the right player."""
    env = envs.make(NIM, 16, seed)
    step = env.reset()
    wins = np.zeros(2, int)
    winner = np.where(step.observation[:, 0] % 4 != 0, 0, 1)
    rng = np.random.default_rng(seed)
    for _ in range(60):
        rest = (step.observation[:, 0] % 4).astype(int)
        moves = np.where(rest > 0, rest - 1, random_moves(step.legal_actions, rng))
        mover = step.to_play.copy()
        step = env.step(moves)
        for i in np.flatnonzero(step.terminated):
            assert step.reward[i] == 1.0
            assert mover[i] == winner[i]
            wins[mover[i]] += 1
            winner[i] = 0 if step.observation[i, 0] % 4 != 0 else 1
    assert wins.min() > 0
