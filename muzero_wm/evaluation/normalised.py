"""Scores of Atari games on a scale on which random play is 0 and a person 1.

The reference scores are those of the 26 games of the 100k benchmark (Kaiser et al., arXiv:1903.00374); what stands
beside them in the table are scores that others published for 100k steps.
"""

from __future__ import annotations

import csv
import functools
import importlib.resources
import re
from typing import NamedTuple

from muzero_wm.envs.naming.naming import parse_name

TABLE = "atari100k.csv"


class Reference(NamedTuple):
    """What a game is measured by.

    Attributes:
        game: its name, "MsPacman" for example.
        random: score of random play.
        human: score of a person.
        published: scores after 100k steps by agent, in points.
    """

    game: str
    random: float
    human: float
    published: dict[str, float]

    def normalised(self, score: float) -> float:
        """Returns a score on the scale on which random play is 0 and a person 1."""
        return (score - self.random) / (self.human - self.random)


@functools.cache
def references() -> dict[str, Reference]:
    """Returns the reference scores of the 26 games by name, in the order of the table."""
    text = importlib.resources.files(__package__).joinpath(TABLE).read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    found = {}
    for row in rows:
        game, scores = row.pop("game"), {name: float(score) for name, score in row.items()}
        found[game] = Reference(game, scores.pop("random"), scores.pop("human"), scores)
    return found


def reference(env_name: str) -> Reference | None:
    """Returns what the game of an environment is measured by.

    Args:
        env_name: "ale:MsPacman", "ale:ms_pacman(size=48)", "gym:ALE/MsPacman-v5", "gym:MsPacmanNoFrameskip-v4", ...

    Returns:
        None where it is no Atari game, or none of those of the benchmark.
    """
    name = parse_name(env_name)
    if name.kind == "ale":
        game = name.target
    elif name.kind == "gym" and (id_ := re.fullmatch(r"(?:.*:)?(?:ALE/)?(\w+?)(?:NoFrameskip)?-v\d+", name.target)):
        game = id_[1]
    else:
        return None
    return next((found for known, found in references().items() if _letters(known) == _letters(game)), None)


def _letters(game: str) -> str:
    return game.replace("_", "").lower()
