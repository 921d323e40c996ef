"""The program of docs/device-search.md runs."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_runs(capsys):
    programs = re.findall(r"```python\n(.*?)```", (DOCS / "device-search.md").read_text(encoding="utf-8"), re.S)
    names: dict = {}
    for program in programs:
        exec(program, names)
    assert names["tree"].node_visits[:, 0].tolist() == [9] * 4
    assert "tensor" in capsys.readouterr().out
