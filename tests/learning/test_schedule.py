"""What changes over a run goes with the budget, and never back."""

from __future__ import annotations

from pathlib import Path

import pytest

from muzero_wm.config import LearningConfig
from muzero_wm.config.presets import load_config
from muzero_wm.learning.learner import Learner
from muzero_wm.learning.schedule import Schedule, Spent
from muzero_wm.run.progress import Progress
from muzero_wm.training import train


def spent(updates: int = 0, elapsed: float = 0.0, steps: int = 0) -> Spent:
    return Spent(updates, elapsed, steps)


def schedule(**budget: float | None) -> Schedule:
    return Schedule(LearningConfig(**budget))  # type: ignore[arg-type]


def resumed(before: Schedule, updates: int, elapsed: float, **budget: float | None) -> Schedule:
    after = schedule(**budget)
    after.load_state_dict(before.state_dict(), spent(updates, elapsed))
    return after


def test_it_is_the_share_of_the_budget_by_the_nearer_limit() -> None:
    both = schedule(max_updates=300, max_minutes=1.0)
    assert [both.share(spent(*at)) for at in ((0, 0.0), (7, 0.0), (7, 30.0), (200, 30.0), (999, 0.0))] == [
        0.0, 7 / 300, 0.5, 200 / 300, 1.0,
    ]  # fmt: skip


def test_steps_are_a_limit_like_the_others() -> None:
    three = schedule(max_updates=300, max_steps=1000)
    assert three.share(spent(30, 9.0, 500)) == 0.5 and three.used(spent(300, 9.0, 10)) == 1.0


def test_a_state_from_before_steps_were_counted_goes_on() -> None:
    state = schedule(max_updates=200).state_dict()
    old = state | {"limits": state["limits"][:2], "since": state["since"][:2]}
    after = schedule(max_updates=200)
    after.load_state_dict(old, spent(100, 9.0, 700))
    assert after.share(spent(150, 9.0, 900)) == 0.75


def test_with_the_same_budget_nothing_changes_to_the_last_bit() -> None:
    before = schedule(max_updates=300)
    after = resumed(before, 100, 5.0, max_updates=300)
    at = [spent(n, 9.0) for n in range(100, 301)]
    assert [after.share(each) for each in at] == [before.share(each) for each in at]


@pytest.mark.parametrize("more", [{"max_updates": 1000}, {"max_updates": 150}, {"max_minutes": 2.0}])
def test_with_another_budget_it_goes_on_to_the_new_end(more: dict[str, float]) -> None:
    after = resumed(schedule(max_updates=200), 100, 60.0, **more)
    assert after.share(spent(100, 60.0)) == 0.5
    end = (int(more.get("max_updates", 10**6)), 120.0)
    half = ((100 + end[0]) // 2, 90.0)
    assert after.share(spent(*half)) == pytest.approx(0.75) and after.share(spent(*end)) == 1.0
    again = resumed(after, *half, max_updates=10**7)
    assert again.share(spent(*half)) == after.share(spent(*half))


def test_what_is_used_of_the_budget_counts_from_the_beginning_of_the_run() -> None:
    after = resumed(schedule(max_updates=200), 200, 60.0, max_updates=400)
    assert after.used(spent(200, 60.0)) == 0.5 and after.used(spent(399, 60.0)) < 1.0 == after.used(spent(400, 60.0))
    assert after.share(spent(200, 60.0)) == 1.0


def test_what_had_come_to_its_end_stays_there() -> None:
    after = resumed(schedule(max_updates=200), 200, 9.0, max_updates=2000)
    assert [after.share(spent(n, 9.0)) for n in (200, 1000, 2000)] == [1.0] * 3


def test_a_state_that_is_none_is_refused() -> None:
    for wrong in ({"from": 2.0}, {"since": [-1.0, 0.0]}, {"limits": [1]}, {"from": float("nan")}):
        with pytest.raises(ValueError, match="schedule: expected"):
            schedule(max_updates=3).load_state_dict(schedule(max_updates=3).state_dict() | wrong, spent(1))


def test_a_run_that_is_resumed_with_a_larger_budget_does_not_jump(tmp_path: Path) -> None:
    """Neither does its learning rate rise, nor does the search become soft again."""
    rates: list[tuple[int, float, float]] = []

    def note(learner: Learner, progress: Progress) -> None:
        rate = learner.optimizer.param_groups[0]["lr"]
        rates.append((learner.updates, rate, progress.share))

    sharp = ["search.rescale_share=1.0", "search.final_rescale_share=0.1", "learning.warmup_updates=1"]
    train(load_config("debug", max_updates=20, overrides=sharp), tmp_path, on_round=note)
    before = rates[-1]
    train(load_config("debug", max_updates=60, overrides=sharp), tmp_path, resume=True, on_round=note)
    assert rates[-1][0] == 60
    later = [each for each in rates if each[0] > 20]
    assert all(share == 1.0 for _, _, share in later)
    assert all(rate <= before[1] for _, rate, _ in later)
