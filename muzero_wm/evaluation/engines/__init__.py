"""Other programs as players, and our agents as players for other programs."""

from __future__ import annotations

import os
import shlex
import shutil

from muzero_wm.basis.errors import UserError
from muzero_wm.envs import EnvSpec
from muzero_wm.evaluation.engines.gtp import GtpEngine
from muzero_wm.evaluation.engines.notation import notation_of
from muzero_wm.evaluation.engines.player import Engine, EnginePlayer
from muzero_wm.evaluation.engines.process import EngineFailure
from muzero_wm.evaluation.engines.uci import UciEngine

MOVE_SECONDS = 60.0
"""In which an engine must answer with a move."""
ANSWER_SECONDS = 60.0
"""In which it must answer whatever else it is asked; the first time it may have weights to load."""
MOST_PROCESSES = 8

_PROTOCOLS: dict[str, type[GtpEngine] | type[UciEngine]] = {"gtp": GtpEngine, "uci": UciEngine}
_EXAMPLES = {"gtp": "gtp:gnugo --level 1", "uci": "uci:stockfish"}
# What a program must be told to be an engine, unless it is told: an option that says it already, and the words.
_ADDED = {"gnugo": (("--mode", "--mode gtp"), ("-rules", "--chinese-rules"))}
# Where Linux distributions put games, which is not on everybody's path.
_GAMES = ("/usr/local/games", "/usr/games")


def engine_player(
    word: str,
    spec: EnvSpec,
    env_name: str,
    seed: int,
    *,
    seconds: float = MOVE_SECONDS,
    seconds_to_answer: float = ANSWER_SECONDS,
    processes: int | None = None,
) -> EnginePlayer:
    """Makes a player of an outside program; one process is started and asked whether it plays the game.

    Args:
        word: "gtp:COMMAND" or "uci:COMMAND", the command with its arguments, as a shell takes them apart.
        spec: of the environment.
        env_name: a two-player board whose moves have a notation.
        seed: for the random choices of engines that take one.
        seconds: in which a move must be there, or its game is lost.
        seconds_to_answer: the same for everything else.
        processes: most of them at a time; None: one for each core we may use, at most 8.

    Returns:
        The player.

    Raises:
        UserError: there is no such program, it does not speak the protocol or refuses the game, or the game has no
            notation or not two players.
    """
    kind, _, text = word.partition(":")
    protocol = _PROTOCOLS.get(kind)
    if protocol is None:
        raise UserError(f"engine {word[:60]!r}: expected gtp:COMMAND or uci:COMMAND, for example {_EXAMPLES['gtp']}")
    if spec.num_players != 2:
        raise UserError(f"opponent {word!r} needs an environment of two players, {spec.name} is for one")
    notation = notation_of(env_name)
    command = _command(kind, word, text)

    def start() -> Engine:
        return protocol(command, notation, seconds, seconds_to_answer)

    count = processes or min(MOST_PROCESSES, len(os.sched_getaffinity(0)))
    try:
        return EnginePlayer(start, seed, count)
    except EngineFailure as failure:
        raise UserError(f"opponent {word!r}: {failure}") from None
    except OSError as error:
        raise UserError(f"opponent {word!r}: {command[0]} cannot be started: {error.strerror}") from None


def make_gtp(argument: str, spec: EnvSpec, seed: int) -> EnginePlayer:
    """Makes the opponent that is named "gtp:argument"."""
    return engine_player(f"gtp:{argument}", spec, spec.name, seed)


def make_uci(argument: str, spec: EnvSpec, seed: int) -> EnginePlayer:
    """Makes the opponent that is named "uci:argument"."""
    return engine_player(f"uci:{argument}", spec, spec.name, seed)


def _command(kind: str, word: str, text: str) -> list[str]:
    """Returns program and arguments."""
    try:
        program, *arguments = shlex.split(text)
    except ValueError:
        what = "quotes that are closed" if text.strip() else "a command behind the colon"
        raise UserError(f"opponent {word!r}: expected {what}, for example {_EXAMPLES[kind]!r}") from None
    where = os.pathsep.join((os.environ.get("PATH", os.defpath), *_GAMES))
    found = shutil.which(program, path=where)
    if found is None:
        problem = "is no program that may be run" if os.path.exists(program) else "was not found"
        raise UserError(f"opponent {word!r}: {program!r} {problem}; install it, or give its whole path")
    for sign, words in _ADDED.get(os.path.basename(program), ()):
        if not any(sign in argument for argument in arguments):
            arguments += words.split()
    return [found, *arguments]
