"""Finds shipped agents by their names, and tells them from the folders of runs.

An agent is a folder here: model.safetensors and model.json, card.json with how it was made and what it is worth, and
README.md with the same for people. Whatever has these four is shipped (`benchmarks/learning/ship.py` writes them).

A name is taken as a folder where there is a run or an agent of that name, else as a shipped agent: who trains into a
folder called connect4 gets what was trained. `./connect4` is always the folder and `shipped:connect4` never.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from muzero_wm.basis.errors import did_you_mean
from muzero_wm.storage.exported import ABOUT

PREFIX = "shipped:"
CARD, TEXT = "card.json", "README.md"


def names() -> list[str]:
    """Returns the names of the shipped agents, sorted."""
    return sorted(entry.name for entry in _home().iterdir() if (entry / ABOUT).is_file())


def folder(name: str) -> Path:
    """Returns the folder of a shipped agent.

    Args:
        name: one of `names()`.
    """
    return _home() / name


def card(name: str) -> dict[str, Any]:
    """Returns how a shipped agent was made and what it is worth (docs/agents.md says what stands there).

    Args:
        name: one of `names()`.
    """
    content: dict[str, Any] = json.loads((folder(name) / CARD).read_text(encoding="utf-8"))
    return content


def named(text: str) -> str | None:
    """Returns the name of the shipped agent that a word stands for, None where it stands for a folder or nothing."""
    if text.startswith(PREFIX):
        name = text.removeprefix(PREFIX)
        return name if name in names() else None
    taken = is_run(Path(text)) or (Path(text) / "checkpoints").is_dir()
    return text if not taken and text in names() else None


def word(name: str) -> str:
    """Returns the shortest word that stands for a shipped agent here.

    Args:
        name: one of `names()`.
    """
    return name if named(name) else PREFIX + name


def which(text: str) -> str:
    """Returns a line that says what a word was taken for, "" where there is nothing to say."""
    if (name := named(text)) is not None:
        about = card(name)
        return (
            f"{text}: the agent that comes with muzero_wm, {about['trained']['updates']:,} updates of {about['env']}."
        )
    if text in names():
        return f"{text}: the folder of that name; {PREFIX}{text} is the agent that comes with muzero_wm."
    return ""


def is_run(path: Path) -> bool:
    """Returns whether a folder is one of a run, or has the two files of an agent."""
    return any((path / name).is_file() for name in ("config.yaml", ABOUT))


def hint(text: str, others: Iterable[str] = ()) -> str:
    """Returns what to say behind a word that stands for nothing: what may have been meant, and what there is.

    Args:
        text: the word.
        others: what else it could have stood for, runs for example.
    """
    there = names()
    near = did_you_mean(text, [*others, *there, *(PREFIX + name for name in there)])
    if "/" in text or Path(text).exists() or not there:
        return near
    return f"{near} (shipped agents: {', '.join(there)})"


def without_a_run(name: str, missing: str) -> str:
    """Returns the line for somebody who asks for what a run has and a shipped agent has not.

    Args:
        name: of the agent.
        missing: "no checkpoints", for example.
    """
    env = card(name)["env"]
    return f'{name}: is a shipped agent and has {missing}; a run has, `muzero-wm train "{env}"` makes one'


def _home() -> Path:
    return Path(str(importlib.resources.files("muzero_wm.agents")))
