"""What the documentation shows runs as it stands."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import numpy as np
import pytest

import mcts._isa
import mcts.policies
import mcts.search
import mcts.seq_halving

PAGE = Path(__file__).parents[2] / "docs" / "planner.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


def run(block, names):
    exec(compile(block, PAGE.name, "exec"), names)
    return names["result"]


def lines(block):
    return [line for line in block.splitlines() if line.strip()]


@pytest.fixture(autouse=True)
def _backend(backend, monkeypatch):
    monkeypatch.setenv("MCTS_BACKEND", backend)


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_an_own_model_takes_twenty_lines(library, capsys):
    pytest.importorskip(library)
    block = next(block for block in BLOCKS if f"import {library}" in block)
    assert len(lines(block)) <= 30
    result = run(block, {})
    assert (result.visit_counts.sum(axis=1) == 32).all()
    np.testing.assert_allclose(result.action_weights.sum(axis=1), 1, rtol=1e-5)
    assert capsys.readouterr().out


def test_searches_with_the_same_settings(capsys):
    result = run(next(block for block in BLOCKS if "mcts.Search(" in block), {})
    assert result.visit_counts.sum() == 4 * 32
    assert capsys.readouterr().out.startswith("Search(muzero_policy, PuctSettings(num_simulations=32")


def test_the_sections_run_one_after_another(backend, capsys):
    names: dict = {}
    first, *rest = [block for block in BLOCKS if "import torch" not in block and "import jax" not in block]
    run(first, names)
    rest = [block for block in rest if "import mcts" not in block]  # the others stand alone
    large, keeping, looking = rest
    searched = run(large, names)
    assert searched.visit_counts.sum() == 200
    calls, ask = [], names["recurrent_fn"]
    names["recurrent_fn"] = lambda *arguments: calls.append(arguments[2]) or ask(*arguments)
    kept = run(keeping, names)
    assert kept.visit_counts.sum() == 200 + searched.visit_counts[0, searched.action[0]] - own_visits(searched)
    assert calls[0] == names["num_kept"]
    capsys.readouterr()
    run(looking, names)
    assert "digraph" in capsys.readouterr().out


def test_sampled_actions(capsys):
    names: dict = {}
    run(next(block for block in BLOCKS if "num_samples" in block), names)
    state, drawn, chosen = names["states"][0], names["drawn"][0], names["result"].action
    distance = np.abs(state[:, None] + drawn)  # from 0, where the rewards are
    assert (distance[np.arange(len(state)), chosen] < 0.5 * distance.mean(axis=1)).all()
    assert capsys.readouterr().out


def test_other_ways_to_select(capsys):
    names: dict = {}
    block = next(block for block in BLOCKS if "thompson" in block)
    assert len(lines(block[block.index("def thompson") : block.index("def recurrent_fn")])) <= 10
    result = run(block, names)
    assert (result.visit_counts.sum(axis=1) == 100).all()
    assert (result.visit_counts.argmax(axis=1) == 2).all()
    assert (result.visit_counts > 0).all()
    assert capsys.readouterr().out


def test_noise_that_is_stretched_hides_a_reward_two_moves_away(capsys):
    names: dict = {}
    block = next(block for block in BLOCKS if "found[epsilon]" in block)
    run(block, names)
    shown = capsys.readouterr().out.strip()
    assert names["found"][0.1] == 1.0 > names["found"][1e-8]
    assert f"print(found)  # {shown}\n" in block


def own_visits(result):
    """Counts the evaluations that the node of the chosen action had itself."""
    child = next(c for c in result.tree.to_dict()["children"] if c["action"] == result.action[0])
    return child["visits"] - sum(grandchild["visits"] for grandchild in child["children"])


@pytest.mark.parametrize("module", [mcts.search, mcts.seq_halving, mcts.policies, mcts._isa])
def test_docstring_examples(module):
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0
