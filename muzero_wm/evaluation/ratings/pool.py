"""The pool of an arena: from words to players."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from muzero_wm import envs
from muzero_wm.agent import Agent, load
from muzero_wm.agents import shipped
from muzero_wm.basis.errors import UserError, did_you_mean
from muzero_wm.basis.registry import ENGINES, OPPONENTS, opponent_forms
from muzero_wm.envs import EnvSpec
from muzero_wm.evaluation.opponents import opponent_from_name
from muzero_wm.evaluation.players import AgentPlayer, Player, RawPolicyPlayer, release
from muzero_wm.storage.checkpoint import Which, best_step
from muzero_wm.storage.manifest import steps_in

_CHECKPOINT = re.compile(r"(.+)@(last|best|all|\d{1,18})")
_SIMULATIONS = re.compile(r"(.+):(\d{1,6})")


@dataclass(frozen=True)
class Entrant:
    """A player of a pool.

    Attributes:
        name: its word, with nothing left open: of a run the number of updates and the simulations.
        print: of the weights and settings that a run plays with, "" for others.
        run: the folder of the run, or the name of a shipped agent; None for others.
        updates: that the weights of a run have seen.
        seat: makes the player, from a seed.
    """

    name: str
    print: str
    run: str | None
    updates: int | None
    seat: Callable[[int], Player]

    @property
    def is_program(self) -> bool:
        """Whether another program plays."""
        return self.run is None and self.name.partition(":")[0] in ENGINES


@dataclass(frozen=True)
class Pool:
    """Who plays, and what.

    Attributes:
        spec: of the environment.
        entrants: sorted by name, each once.
        words: the names that each word given stands for.
    """

    spec: EnvSpec
    entrants: tuple[Entrant, ...]
    words: dict[str, tuple[str, ...]]


def gather(words: Sequence[str], env: str | None = None, simulations: int | None = None, device: str = "auto") -> Pool:
    """Finds the players that words stand for.

    Args:
        words: RUN, RUN@UPDATES, RUN@best or RUN@all, each with :SIMULATIONS behind it where it is not to search as it
            was trained (0 is the network alone); a shipped agent, with :SIMULATIONS or without; "random", "perfect",
            "mcts:N", a registered opponent; "gtp:COMMAND" and "uci:COMMAND" for programs. A folder wins over a suffix,
            and RUN/@UPDATES is always a checkpoint; a run whose folder is called like an opponent is written ./random.
        env: the environment, needed where no run names one.
        simulations: of the runs that say no number of their own.
        device: where their networks compute.

    Returns:
        The pool.

    Raises:
        UserError: a word stands for nobody, runs play different environments, or there are fewer than two players.
    """
    agents: dict[str, list[tuple[Agent, Path, int | None, bool]]] = {}
    for word in dict.fromkeys(words):
        if word.partition(":")[0] not in OPPONENTS.names:
            agents[word] = _agents(word, simulations, device)
    plays = {agent.spec.name: word for word, found in agents.items() for agent, *_ in found}
    if len(plays) > 1:
        said = ", ".join(f"{word} plays {name}" for name, word in plays.items())
        raise UserError(f"all players must play the same environment: {said}")
    name = next(iter(plays), env)
    if name is None:
        raise UserError("which environment do they play? Name it by --env, or a run among the players")
    if env is not None and env != name:
        raise UserError(f"env {env!r}: {plays[name]} plays {name}")
    spec = next((agent.spec for found in agents.values() for agent, *_ in found), None) or envs.spec(name)
    if spec.num_players != 2:
        raise UserError(f"an arena needs an environment of two players, {name} is for one")
    found: dict[str, Entrant] = {}
    meant: dict[str, tuple[str, ...]] = {}
    for word in dict.fromkeys(words):
        entrants = [_of_run(*each) for each in agents[word]] if word in agents else [_of_word(word, spec)]
        found |= {each.name: each for each in entrants}
        meant[word] = tuple(each.name for each in entrants)
    if len(found) < 2:
        raise UserError(f"an arena needs at least two players, got {', '.join(found) or 'none'}")
    return Pool(spec, tuple(found[each] for each in sorted(found)), meant)


def agent_of(word: str) -> str | None:
    """Returns the run or shipped agent in a word of `gather`, without checkpoint and simulations; None for others.

    Raises:
        UserError: the word stands for nobody.
    """
    return None if word.partition(":")[0] in OPPONENTS.names else _parts(word)[0]


def _of_word(word: str, spec: EnvSpec) -> Entrant:
    """Returns an opponent or a program, once made to see whether it exists."""
    release(opponent_from_name(word, spec))
    return Entrant(word, "", None, None, lambda seed: opponent_from_name(word, spec, seed))


def _of_run(agent: Agent, folder: Path, simulations: int | None, checkpoints: bool) -> Entrant:
    count = agent.config.search.num_simulations if simulations is None else simulations
    run = str(folder)
    if "/" not in run and run.partition(":")[0] in OPPONENTS.names:
        run = f"./{run}"
    suffix = f"@{agent.updates}:{count}" if checkpoints else f":{count}"
    name = run + suffix
    if Path(_parts(name)[0]) != folder:  # there is a folder of that name too
        name = f"{run}/{suffix}"

    def seat(seed: int) -> Player:
        return AgentPlayer(agent, count, seed) if count else RawPolicyPlayer(agent)

    return Entrant(name, _print(agent), run, agent.updates, seat)


def _print(agent: Agent) -> str:
    """Returns a digest of what an agent plays with."""
    digest = hashlib.blake2b(json.dumps(agent.config.search.model_dump(mode="json"), sort_keys=True).encode())
    for name, tensor in sorted(agent.model.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _agents(word: str, simulations: int | None, device: str) -> list[tuple[Agent, Path, int | None, bool]]:
    """Returns the agents that a word stands for, each with its folder, its simulations and if it is a checkpoint."""
    folder, which, count = _parts(word)
    count = simulations if count is None else count
    if (name := shipped.named(folder)) is not None:
        if which != "last":
            raise UserError(shipped.without_a_run(name, "no checkpoints"))
        return [(load(shipped.PREFIX + name, device=device), Path(shipped.word(name)), count, False)]
    checkpoints = Path(folder) / "checkpoints"
    steps: list[Which] = [which]  # type: ignore[list-item]
    if which == "all":
        steps = [*steps_in(checkpoints)]
        if not steps:
            raise UserError(f"{word}: {folder} has no checkpoints")
    elif which == "best":
        steps = [best_step(checkpoints)]
    elif which != "last":
        steps = [int(which)]
        if steps[0] not in steps_in(checkpoints):
            there = ", ".join(map(str, steps_in(checkpoints))) or "none"
            raise UserError(f"{word}: there is no checkpoint of {steps[0]} updates (there are: {there})")
    return [(load(folder, step, device=device), Path(folder), count, checkpoints.is_dir()) for step in steps]


def _parts(word: str) -> tuple[str, str, int | None]:
    """Returns the folder, which checkpoint, and the simulations that a word names; the longest folder there is."""
    folder, which, count = word, "last", None
    if not _is_run(folder) and (found := _SIMULATIONS.fullmatch(folder)):
        folder, count = found[1], int(found[2])
    if not _is_run(folder) and (found := _CHECKPOINT.fullmatch(folder)):
        folder, which = found[1], found[2]
    if _is_run(folder):
        return folder, which, count
    if Path(folder).is_dir():
        raise UserError(f"{folder}: has no config.yaml and no model.json, so it is neither run nor agent")
    there = [str(path.parent) for path in Path("runs").glob("*/config.yaml")]
    forms = ", ".join(opponent_forms(engines=True))
    hint = did_you_mean(word, OPPONENTS.names) or shipped.hint(folder, there)
    raise UserError(
        f"unknown player {word!r}: expected a run folder (RUN, RUN@UPDATES, RUN@best or RUN@all, each with "
        f":SIMULATIONS or without), a shipped agent, {forms}{hint}"
    )


def _is_run(folder: str) -> bool:
    return shipped.is_run(Path(folder)) or shipped.named(folder) is not None
