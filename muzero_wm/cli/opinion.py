"""What the search thinks of a position, as one reads it beside the board."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from muzero_wm.agent import Agent
from muzero_wm.cli.board import Signs

_MOST_ROWS = 12
_BAR = 24
_REMEMBERED = 30


@dataclass(frozen=True)
class Opinion:
    """What a search found.

    Attributes:
        action: the move it would play.
        order: the legal moves, the best first.
        simulations: made.
        raw_value: of the network alone, for the player to move.
        visits: [A].
        qvalues: [A], for the player to move.
        policy: [A], of the network alone.
        weights: [A], of the search.
    """

    action: int
    order: tuple[int, ...]
    simulations: int
    raw_value: float
    visits: NDArray[np.int32]
    qvalues: NDArray[np.float32]
    policy: NDArray[np.float32]
    weights: NDArray[np.float32]

    @property
    def value(self) -> float:
        """What the move is worth for the player to move, -1 to 1."""
        return float(np.clip(self.qvalues[self.action], -1.0, 1.0))


def ask_search(
    agent: Agent,
    observation: NDArray[np.uint8],
    legal: NDArray[np.bool_],
    simulations: int | None,
    *,
    states: NDArray[np.int64] | None = None,
) -> Opinion:
    """Returns what the agent thinks of one position.

    Args:
        agent: who is asked.
        observation: [1, *shape].
        legal: [1, A].
        simulations: per move; as it was trained when None.
        states: [1, W], the true position, for who searches by the rules.
    """
    result = agent.search(observation, legal, simulations, states=states)
    policy, raw_value = agent.policy(observation, legal)
    visits, weights, action = result.visit_counts[0], result.action_weights[0], int(result.action[0])
    order = sorted(np.flatnonzero(legal[0]).tolist(), key=lambda move: (move != action, -visits[move], -weights[move]))
    return Opinion(
        action, tuple(order), int(visits.sum()), float(raw_value[0]), visits, result.qvalues[0], policy[0], weights
    )


def shown(opinion: Opinion, who: str, word: Callable[[int], str], rows: int = _MOST_ROWS) -> RenderableType:
    """Returns an opinion as a sentence and a table.

    Args:
        opinion: to show.
        who: "The agent", the beginning of the sentence.
        word: what a move is called.
        rows: of the table, at most.
    """
    headline = Text.assemble(
        (f"{who} plays {word(opinion.action)} and expects {opinion.value:+.2f}", "bold"),
        f" (-1 loses, +1 wins) after {opinion.simulations} simulations; the network alone {opinion.raw_value:+.2f}.",
    )
    table = Table("move", "visits", "q", "network", "search", box=box.SIMPLE_HEAD)
    for action in opinion.order[:rows]:
        q = f"{opinion.qvalues[action]:+.2f}" if opinion.visits[action] else ""
        figures = (str(opinion.visits[action]), q, f"{opinion.policy[action]:.0%}", f"{opinion.weights[action]:.0%}")
        table.add_row(word(action), *figures, style="bold" if action == opinion.action else None)
    why = "The first is played: of the moves that were looked at most, the one that the search prefers."
    return Group(headline, table, Text(why, "dim"))


def standing(values: Sequence[float], signs: Signs) -> Text:
    """Returns what the game was worth for the person, as a bar for now and a small curve of the moves so far.

    Args:
        values: for the person, -1 to 1, the newest last, at least one.
        signs: to draw with.
    """
    full = round(_BAR * (values[-1] + 1.0) / 2.0)
    levels = [round((value + 1.0) / 2.0 * (len(signs.steps) - 1)) for value in values[-_REMEMBERED:]]
    return Text.assemble(
        "\nyou ",
        (signs.bar[0] * full, "bold green"),
        (signs.bar[1] * (_BAR - full), "dim"),
        f" agent {values[-1]:+.2f}\n",
        ("so far ", "dim"),
        "".join(signs.steps[level] for level in levels),
    )
