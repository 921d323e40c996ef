"""What is wrong with settings, in one line each: with their types and ranges, with the environment they are for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from muzero_wm.basis.errors import did_you_mean
from muzero_wm.config import Config
from muzero_wm.config.plain_yaml import short

STRENGTH = {1: ("evaluation/return", "episode/return"), 2: ("evaluation/score",)}
"""Metrics that say how good an agent is, by the number of players; larger is better."""


def misfits(config: Config, env: str, players: int) -> list[str]:
    """Returns a line for each setting that is for another number of players."""
    lines = []
    if players == 2 and config.acting.random_moves > 0.0:
        lines.append(
            f"acting.random_moves: for one player, {env} has two; they have acting.random_openings, got "
            f"{config.acting.random_moves:g}"
        )
    if players == 1 and config.run.evaluate_opponent is not None:
        lines.append(f"run.evaluate_opponent: {env} is for one player")
    if players == 2 and not 0.0 <= (config.learning.stop_at_score or 0.0) <= 1.0:
        lines.append(
            "learning.stop_at_score: expected a share of points from 0 to 1, between two players, got "
            f"{config.learning.stop_at_score:g}"
        )
    if (best := config.run.keep_best) not in (None, *STRENGTH[players]):
        lines.append(
            f"run.keep_best: expected {' or '.join(STRENGTH[players])}, which a run of {env} measures, got "
            f"{short(best)}{did_you_mean(str(best), STRENGTH[players])}"
        )
    return lines


def without_rules(config: Config, env: str) -> list[str]:
    """Returns a line where a search by the rules does not know them."""
    from muzero_wm.envs import EnvError, board_game

    if config.search.model != "rules":
        return []
    try:
        board_game(env)
    except EnvError as error:
        return [f"search.model: rules needs them: {error}; use learned"]
    return []


def explain(problem: Mapping[str, Any]) -> str:
    """Returns one line for one of pydantic's errors: dotted path, what was expected, what came."""
    loc = [str(part) for part in problem["loc"] if part != "[key]"]
    path, came = ".".join(loc), short(problem["input"])
    match problem["type"]:
        case "extra_forbidden" | "invalid_key":
            known = _keys_at(loc[:-1])
            return f"{path}: unknown key{did_you_mean(loc[-1], known) or ', expected one of ' + ', '.join(known)}"
        case "model_type" | "model_attributes_type":
            return f"{path}: expected a mapping of settings ({', '.join(_keys_at(loc))}), got {came}"
        case "value_error":
            return f"{path}: {problem['ctx']['error']}" if path else str(problem["ctx"]["error"])
        case "literal_error":
            expected = problem["msg"].removeprefix("Input should be ")
            options = [word for word in expected.replace(" or ", ", ").replace("'", "").split(", ") if word]
            hint = did_you_mean(problem["input"], options) if isinstance(problem["input"], str) else ""
            return f"{path}: expected {expected}, got {came}{hint}"
        case _:
            expected = problem["msg"].removeprefix("Input should be ").partition(", unable to parse")[0]
            return f"{path}: expected {expected[:1].lower() + expected[1:]}, got {came}"


def _keys_at(path: Sequence[str]) -> list[str]:
    """Returns the settings there are in the section at a path."""
    section: type[BaseModel] = Config
    for key in path:
        annotation = section.model_fields[key].annotation
        candidates = [annotation, *get_args(annotation)]
        section = next(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(section.model_fields)
