"""The fuzzer in short, and that it would notice: what it is worth is what it finds."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
import warnings

import numpy as np
import pytest

from tests.native import cases, fuzz
from tests.native.checked import with_checks
from tests.native.invariants import ViolationError
from tests.native.mistakes import MISTAKES


def test_a_few_thousand_searches(seed):
    """The same searches that the sanitizers watch, on the build that is installed."""
    counts = {"searched": 0, "refused": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for index in range(3000):
            counts[fuzz.attempt(seed, index)] += 1
    assert counts["searched"] > 2000
    assert counts["refused"] > 300


def test_a_few_hundred_searches_of_the_reference(seed, monkeypatch):
    """They have to hold for both; and NumPy tells where a number overflows on the way."""
    monkeypatch.setenv("MCTS_BACKEND", "python")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for index in range(300):
            fuzz.attempt(seed, index)


def test_every_kind_of_search_and_of_mistake_is_drawn():
    drawn = [cases.draw(7, index) for index in range(3000)]
    assert {case.wrong for case in drawn} == {mistake.__name__ for mistake in MISTAKES} | {""}
    assert {case.style for case in drawn} == set(cases.STYLES)
    assert {case.policy for case in drawn} == {"puct", "gumbel"}
    shapes = {case.prior_logits.shape for case in drawn}
    assert {1, 64} < {num_actions for _, _, num_actions in shapes}
    assert {1, 2} < {num_roots for _, num_roots, _ in shapes}


def test_a_number_names_the_same_search_for_ever():
    for index in (0, 5, 77):
        first, again = cases.draw(3, index), cases.draw(3, index)
        assert (first.policy, first.style, first.wrong) == (again.policy, again.style, again.wrong)
        np.testing.assert_array_equal(first.prior_logits, again.prior_logits)
    assert len({cases.draw(seed, 1).value.tobytes() for seed in range(20)}) > 15


def _tamper_visits(result):
    visits = result.visit_counts.copy()
    visits[0, 0] += 1
    return dataclasses.replace(result, visit_counts=visits)


def _tamper_weights(result):
    return dataclasses.replace(result, action_weights=np.full_like(result.action_weights, np.nan))


def _tamper_action(result):
    return dataclasses.replace(result, action=result.action + 1000)


def _tamper_parent(result):
    result.tree.parents[0, -1] = result.tree.num_nodes - 1
    return result


def _tamper_qvalue(result):
    result.tree.qvalues_from_parent[0, 1] += 1.0
    return result


def _tamper_logits(result):
    result.tree.prior_logits[0, 1, 0] += 1.0
    return result


@pytest.mark.parametrize(
    "tamper", [_tamper_visits, _tamper_weights, _tamper_action, _tamper_parent, _tamper_qvalue, _tamper_logits]
)
def test_a_wrong_result_is_noticed(tamper, monkeypatch):
    index = next(i for i in range(100) if _is_plain(cases.draw(0, i)))
    fuzz.attempt(0, index)
    policy = cases.draw(0, index).policy
    right = cases.POLICIES[policy]
    monkeypatch.setitem(cases.POLICIES, policy, lambda *args, **kwargs: tamper(right(*args, **kwargs)))
    with pytest.raises(ViolationError, match=rf"; {policy} \("):
        fuzz.attempt(0, index)


def _is_plain(case):
    scales = max(np.abs(case.reward).max(), np.abs(case.value).max())
    logits = np.abs(case.prior_logits).max()
    return not case.wrong and case.num_simulations > 2 and scales < 10 and logits < 10 and len(case.arguments) == 1


def test_a_mistake_that_passes_and_a_sound_search_that_fails_are_noticed(monkeypatch):
    wrong = next(i for i in range(1000) if cases.draw(0, i).wrong == "bad_logit")
    sound = next(i for i in range(1000) if not cases.draw(0, i).wrong)
    policies = dict(cases.POLICIES)

    def careless(root, fn, simulations, **kwargs):
        plain = cases.draw(0, sound)
        return policies[plain.policy](plain.root, plain.answer, plain.num_simulations, **plain.arguments)

    def strict(*args, **kwargs):
        raise ValueError("root: not today")

    for policy, index, message in ((careless, wrong, "bad_logit was not refused"), (strict, sound, "was refused")):
        for name in policies:
            monkeypatch.setitem(cases.POLICIES, name, policy)
        with pytest.raises(ViolationError, match=message):
            fuzz.attempt(0, index)


def test_a_campaign_can_be_cut_into_pieces(tmp_path):
    whole, none, following = fuzz.campaign(5, 0, 60, jobs=2)
    assert (none, following) == ([], 60)
    file = tmp_path / "part.json"
    assert fuzz.main(["--seed", "5", "--searches", "25", "--json", str(file)]) == 0
    part = json.loads(file.read_text())
    rest, _, _ = fuzz.campaign(5, part["next"], 35)
    assert whole == {name: part[name] + rest[name] for name in ("searched", "refused")}
    assert whole["refused"] > 0


def _crash(seed, numbers, seconds, current, results):
    current.value = 17
    os.abort()


def _hang(seed, numbers, seconds, current, results):
    current.value = 23
    time.sleep(600)


@pytest.mark.parametrize(("worker", "number", "message"), [(_crash, 17, "died"), (_hang, 23, "no end after")])
def test_crashes_and_hangs_are_told_with_their_number(worker, number, message):
    _, findings, _ = fuzz.campaign(0, 0, 100, patience=3.0, worker=worker)
    ((found, text),) = findings
    assert found == number
    assert message in text


def test_checks_are_switched_on_wherever_they_are_off():
    source = (
        "# cython: boundscheck=False, nonecheck = False\n@cython.initializedcheck(False)\nwith x.boundscheck( False ):"
    )
    changed = with_checks(source)
    assert "False" not in re.sub("wraparound=False", "", changed)
    assert changed.count("True") >= 4
