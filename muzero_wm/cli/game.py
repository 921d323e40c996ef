"""A person against the agent, in the terminal, with the search's opinion beside the board."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from muzero_wm import envs
from muzero_wm.agent import Agent
from muzero_wm.basis.errors import UserError
from muzero_wm.envs import BatchedEnv, EnvSpec, Step

_STONES = (("X", "bold yellow"), ("O", "bold cyan"))
_MOST_ROWS = 12


class PlayError(UserError):
    """Says why this agent cannot be played against."""


def play(
    agent: Agent,
    *,
    seat: str = "first",
    simulations: int | None = None,
    console: Console | None = None,
    ask: Callable[[str], str] = input,
) -> str:
    """Plays one game.

    Args:
        agent: of a built-in board game.
        seat: "first" or "second", the person's.
        simulations: of the agent, per move; as it was trained when None.
        console: where to draw; standard output when None.
        ask: shows a prompt and returns what the person typed.

    Returns:
        "win", "draw" or "loss", for the person, or "quit".

    Raises:
        PlayError: the environment is not a built-in board game.
    """
    spec = agent.spec
    if not envs.is_built_in(spec.name):  # others may show their boards in any way
        raise PlayError(f"play: {spec.name} is not a built-in board game; try `muzero-wm evaluate`")
    console = console or Console(highlight=False)
    person = ("first", "second").index(seat)
    game = envs.make(spec.name, 1)
    step = game.reset()
    console.print(f"You are {_STONES[person][0]}, the agent is {_STONES[1 - person][0]}. q quits, h asks the agent.")
    while True:
        mover = int(step.to_play[0])
        console.print(_board(spec, step.observation[0], mover, step.legal_actions[0]))
        if mover == person:
            action = _ask_move(agent, game, step, simulations, console, ask)
            if action is None:
                return "quit"
        else:
            action, opinion = _opinion(agent, game, step, simulations, "The agent")
            console.print(opinion)
            console.print(f"The agent plays {action + 1}.")
        step = game.step(np.array([action]))
        if step.terminated[0] or step.truncated[0]:
            last = int(step.final_to_play[0])
            console.print(_board(spec, step.final_observation[0], last, np.zeros(spec.num_actions, np.bool_)))
            result = np.sign(step.reward[0]) * (1 if mover == person else -1)
            console.print({1: "You win.", 0: "A draw.", -1: "The agent wins."}[int(result)])
            return {1: "win", 0: "draw", -1: "loss"}[int(result)]


def _ask_move(
    agent: Agent, game: BatchedEnv, step: Step, simulations: int | None, console: Console, ask: Callable[[str], str]
) -> int | None:
    """Returns a legal action, or None when the person quits."""
    legal = np.flatnonzero(step.legal_actions[0]) + 1
    while True:
        try:
            text = ask("Your move: ").strip().lower()
        except EOFError:
            return None
        if text == "q":
            return None
        if text == "h":
            console.print(_opinion(agent, game, step, simulations, "In your place the agent")[1])
        elif not text.isdecimal():
            console.print(f"Expected the number of a move, h or q, got {text!r}.", markup=False)
        elif int(text) not in legal:
            console.print(f"{text} is not a legal move; legal are {', '.join(map(str, legal))}.")
        else:
            return int(text) - 1


def _opinion(agent: Agent, game: BatchedEnv, step: Step, simulations: int | None, who: str) -> tuple[int, Group]:
    """Returns the searched move, and what the search thinks of every move."""
    result = agent.search(step.observation, step.legal_actions, simulations, states=game.states)
    policy, raw_value = agent.policy(step.observation, step.legal_actions)
    visits, weights, qvalues = result.visit_counts[0], result.action_weights[0], result.qvalues[0]
    table = Table("move", "visits", "q", "network", "search", box=box.SIMPLE_HEAD)
    headline = (
        f"{who} expects {float(qvalues[result.action[0]]):+.2f} after {int(visits.sum())} simulations "
        f"(the network alone {float(raw_value[0]):+.2f}; -1 loses, +1 wins)"
    )
    moves = np.flatnonzero(step.legal_actions[0])
    for action in sorted(moves, key=lambda move: (-visits[move], -weights[move]))[:_MOST_ROWS]:
        q = f"{qvalues[action]:+.2f}" if visits[action] else ""
        style = "bold" if action == result.action[0] else None
        row = (str(action + 1), str(visits[action]), q, f"{policy[0, action]:.0%}", f"{weights[action]:.0%}")
        table.add_row(*row, style=style)
    why = "The first is played: of the moves that were looked at most, the one that the search prefers."
    return int(result.action[0]), Group(headline, table, why)


def _board(spec: EnvSpec, observation: NDArray[Any], to_play: int, legal: NDArray[np.bool_]) -> Text:
    """Returns the board as text: X began; moves are numbered from 1, columns below the board, cells inside it."""
    _, height, width = spec.observation_shape
    by_column = spec.num_actions == width
    cell = max(2, len(str(spec.num_actions))) + 1
    text = Text()
    for row in range(height):
        for column in range(width):
            action = row * width + column
            if observation[0, row, column] or observation[1, row, column]:
                stone, style = _STONES[to_play if observation[0, row, column] else 1 - to_play]
                text.append(stone.rjust(cell), style)
            elif not by_column and action < spec.num_actions and legal[action]:
                text.append(str(action + 1).rjust(cell), "dim")
            else:
                text.append("·".rjust(cell), "dim")
        text.append("\n")
    if by_column:
        text.append("".join(str(column + 1).rjust(cell) for column in range(width)) + "\n", "dim")
    return text
