"""What the documentation shows runs as it stands."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import numpy as np
import pytest

import mcts.search
import mcts.seq_halving

PAGE = Path(__file__).parents[2] / "docs" / "planner.md"


def test_the_example_of_the_page(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len([line for line in block.splitlines() if line.strip()]) <= 24
    names: dict = {}
    exec(compile(block, PAGE.name, "exec"), names)
    result = names["result"]
    assert (result.visit_counts.sum(axis=1) == 32).all()
    np.testing.assert_allclose(result.action_weights.sum(axis=1), 1, rtol=1e-5)
    assert capsys.readouterr().out


@pytest.mark.parametrize("module", [mcts.search, mcts.seq_halving])
def test_docstring_examples(module):
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0
