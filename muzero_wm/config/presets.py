"""From a preset, a file and the command line to one checked `Config`, and back to YAML.

Layers, each over the one before: the defaults, what a file `extends`, the file, `--env`, `--seed`, the budget, `--set`.
A layer that says `search.model: rules` first puts away what those below say of learned dynamics.
Every mistake of the result is reported at once, one line each, with its dotted path.
"""

from __future__ import annotations

import importlib.resources
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from muzero_wm.agents import shipped
from muzero_wm.basis.errors import did_you_mean
from muzero_wm.config import Config, atari
from muzero_wm.config.mistakes import explain, misfits, without_rules
from muzero_wm.config.plain_yaml import ConfigError, load_yaml, parse_yaml, read_yaml, short
from muzero_wm.config.schema import WITHOUT_DYNAMICS
from muzero_wm.storage.checkpoint import CheckpointWarning, load_checkpoint
from muzero_wm.storage.files import open_regular
from muzero_wm.storage.folder import RunDirError, new_run_dir, prepare_run_dir

_BUDGET = ("max_updates", "max_minutes", "max_steps")
_MAX_LINES = 20


class ConfigWarning(UserWarning):
    """Tells of a configuration that is not followed."""


def preset_names() -> list[str]:
    """Returns the names of the shipped presets, sorted."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _configs().iterdir() if entry.name.endswith(".yaml"))


def load_config(
    source: str | Path | None = None,
    *,
    env: str | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    max_minutes: float | None = None,
    max_updates: int | None = None,
    max_steps: int | None = None,
    tell: Callable[[str], None] | None = None,
) -> Config:
    """Returns the configuration of a run.

    A budget (`max_minutes`, `max_updates`, `max_steps`) replaces the budget of the layers below as a whole: who asks
    for 100 updates gets 100 updates, however long they take.

    Args:
        source: name of a preset, or a YAML file; with None the settings are those of the preset named like `env`, or
            they follow from the environment, see `derived.py`.
        env: environment name that replaces the preset's.
        seed: seed that replaces the preset's, >= 0.
        overrides: settings "a.b=value", the value in YAML.
        max_minutes: stop after this much time.
        max_updates: stop after this many updates.
        max_steps: stop after this many steps of all environments together.
        tell: called with lines that say what followed from the environment, and why.

    Returns:
        The checked configuration.

    Raises:
        ConfigError: anything in it is wrong; all mistakes at once.
    """
    if source is None and env is None:
        raise ConfigError(
            f"nothing to train: name a preset ({', '.join(preset_names())}), a YAML file or an environment"
        )
    if source is None and env not in preset_names() and (chosen := atari.preset_for(str(env), overrides)) is not None:
        source, why = chosen
        if tell is not None:
            tell(f"The preset {source}: {why}.")
    if source is None and env not in preset_names():
        layers = [_derived(str(env), tell)]
    else:
        layers = _source_layers(source if source is not None else str(env), seen=())
    where = str(source) if source is not None else f"env {env}"
    return _settle(layers, where, env, seed, overrides, max_minutes, max_updates, max_steps)


def _settle(
    layers: list[dict[str, Any]],
    where: str,
    env: str | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    max_minutes: float | None = None,
    max_updates: int | None = None,
    max_steps: int | None = None,
) -> Config:
    """Returns the checked configuration of some layers with the settings of a call on top."""
    if env is not None:
        usual = next((str(layer["env"]) for layer in reversed(layers) if "env" in layer), "")
        layers.append({"env": atari.with_usual_options(env, usual)})
    if seed is not None:
        layers.append({"seed": seed})
    budget = {"max_minutes": max_minutes, "max_updates": max_updates, "max_steps": max_steps}
    layers.append({"learning": {key: value for key, value in budget.items() if value is not None}})
    said: dict[str, Any] = {}
    for text in overrides:
        said = _merge(said, _parse_override(text))

    merged = Config().model_dump()
    for layer in (*layers, said):
        if _searches_by_rules(layer):  # what the layers below say of dynamics is void; what this one says counts
            merged = _merge(merged, WITHOUT_DYNAMICS)
        merged = _merge(merged, layer)
    return _validate(merged, where)


def _searches_by_rules(layer: Mapping[Any, Any]) -> bool:
    search = layer.get("search")
    return isinstance(search, Mapping) and search.get("model") == "rules"


def plan_run(
    source: str | Path | None = None,
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    env: str | None = None,
    tell: Callable[[str], None] | None = None,
    **settings: Any,
) -> tuple[Config, Path]:
    """Returns the configuration and the folder of a run that is about to start or to go on.

    Args:
        source: as for `load_config`, or the name of an environment; when resuming, None means the configuration in the
            newest checkpoint.
        run_dir: the run folder, where `~` is the home; ``runs/<name>-<n>`` when None.
        resume: go on from the newest checkpoint in the run folder.
        env: as for `load_config`; what only Gymnasium knows may be without its "gym:".
        tell: as for `load_config`.
        **settings: the other arguments of `load_config`.

    Returns:
        The configuration and the run folder, which exists: empty, or with a checkpoint when resuming.

    Raises:
        ConfigError: the configuration is wrong.
        EnvError: the environment of a new run fails a quick check.
        RunDirError: the run folder cannot be used.
    """
    if resume:
        _refuse_shipped(source if run_dir is None else run_dir)
    source, env = _meant(source, env, tell)
    if resume and run_dir is None:
        raise RunDirError("resume: name the run to go on with by its run folder (--run-dir)")
    place = None if run_dir is None else Path(os.path.expanduser(run_dir))
    if resume and source is None:
        folder = prepare_run_dir(Path(str(place)), resume)
        return _settle([_saved_settings(folder)], f"{folder}", env, **settings), folder
    if source is None and env is not None:  # settings that follow from it want an environment that works
        _try_out(env, tell)
    config = load_config(source, env=env, tell=tell, **settings)
    if source is not None and not resume:
        _try_out(config.env, tell)
    if place is not None:
        return config, prepare_run_dir(place, resume)
    return config, new_run_dir(Path("runs"), Path(source).stem if source is not None else str(env))


def _meant(
    source: str | Path | None, env: str | None, tell: Callable[[str], None] | None
) -> tuple[str | Path | None, str | None]:
    """Returns preset and environment as they were probably meant, and tells where that is not what was said."""
    from muzero_wm.envs.registry import full_name, is_built_in

    if env is not None or source is None:
        return source, full_name(env, tell) if env is not None else None
    text = str(source)
    if isinstance(source, Path) or text in preset_names() or text.endswith((".yaml", ".yml")) or Path(text).exists():
        return source, None
    named = re.match(r"[A-Za-z_][\w.]+:", text) or is_built_in(text)
    if not named and full_name(text) == text:
        return source, None
    if tell is not None:
        tell(f"{text} is an environment, no preset: taken as --env {full_name(text)}.")
    return None, full_name(text)


def _refuse_shipped(run: str | Path | None) -> None:
    """Refuses to go on with a shipped agent, which has nothing to go on from."""
    if run is not None and not Path(run).exists() and (name := shipped.named(str(run))) is not None:
        raise RunDirError(f"resume: {shipped.without_a_run(name, 'no checkpoint to go on from')}")


def _try_out(env: str, tell: Callable[[str], None] | None) -> None:
    """Makes the quick check of an environment that is not built in."""
    from muzero_wm import envs
    from muzero_wm.envs.naming.guess import unlike_the_protocol

    if not envs.is_built_in(env):
        if tell is not None:
            if difference := unlike_the_protocol(env):
                tell(difference)
            tell(f"Trying out {env} with random play ...")
        from muzero_wm.envs.checking.check import try_out

        try_out(env)


def parse_config(text: Any, where: str) -> Config:
    """Returns the configuration that a checkpoint holds; its environment is neither looked for nor imported.

    Args:
        text: YAML from `dump_config`.
        where: what messages begin with.

    Raises:
        ConfigError: it is no configuration.
    """
    return _validate(parse_yaml(text, where), where, check_env=False)


def _saved_settings(folder: Path) -> dict[str, Any]:
    """Returns the settings in the newest checkpoint; a config.yaml that says something else is told, not followed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)  # they are told when the run itself loads it
        text = load_checkpoint(folder / "checkpoints").get("config")
    settings = parse_yaml(text, f"{folder}: configuration in the checkpoint")
    try:
        with open_regular(folder / "config.yaml") as stream:
            same = stream.read(len(str(text).encode()) + 1) == str(text).encode()
    except OSError:
        same = False
    if not same:
        problem = "config.yaml is not the one of the newest checkpoint, whose settings are used; change them by --set"
        warnings.warn(f"{folder}: {problem}", ConfigWarning, stacklevel=2)
    return settings


def dump_config(config: Config) -> str:
    """Returns a configuration as YAML with every setting in it, which `load_config` reads back unchanged."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _configs() -> Any:
    """Returns the folder of the presets: inside the package in a wheel, beside it in a checkout."""
    package = importlib.resources.files("muzero_wm")
    shipped = package / "configs"
    return shipped if shipped.is_dir() else Path(str(package)).parent / "configs"


def _derived(env: str, tell: Callable[[str], None] | None) -> dict[str, Any]:
    """Returns the settings that follow from an environment."""
    from muzero_wm.config.derived import derive
    from muzero_wm.envs import EnvError

    try:
        derived = derive(env)
    except EnvError as error:
        raise ConfigError(f"env: {error}") from None
    for line in derived.lines if tell is not None else ():
        tell(line)  # type: ignore[misc]
    return derived.settings


def _source_layers(source: str | Path, seen: tuple[str, ...]) -> list[dict[str, Any]]:
    """Returns the layers of a preset or file, what it extends first."""
    path = _resolve(source)
    if str(path) in seen:
        raise ConfigError(f"extends: a circle of presets ({' -> '.join([*map(_stem, seen), _stem(str(path))])})")
    layer = read_yaml(path)
    base = layer.pop("extends", None)
    if base is None:
        return [layer]
    if not isinstance(base, str):
        raise ConfigError(f"{path}: extends: expected the name of a preset or a file, got {short(base)}")
    beside = path.parent / base
    return [*_source_layers(beside if beside.is_file() else base, (*seen, str(path))), layer]


def _resolve(source: str | Path) -> Path:
    """Returns the file behind the name of a preset or a path."""
    text = str(source)
    if isinstance(source, Path) or "/" in text or text.endswith((".yaml", ".yml")):
        return Path(source)
    if text not in preset_names():
        hint = (
            did_you_mean(text, preset_names())
            or f", expected one of {', '.join(preset_names())}, a YAML file or an environment"
        )
        raise ConfigError(f"unknown preset {text!r}{hint}")
    return Path(str(_configs() / f"{text}.yaml"))


def _stem(path: str) -> str:
    return Path(path).stem


def _parse_override(text: str) -> dict[str, Any]:
    """Returns "a.b=value" as a nested mapping."""
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {text}: expected path=value, for example search.num_simulations=50")
    tree = load_yaml(value, f"--set {text[:200]}")
    for key in reversed(keys):
        tree = {key: tree}
    return tree


def _merge(base: dict[str, Any], layer: Mapping[Any, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns base with layer laid over it, mapping by mapping."""
    merged = dict(base)
    if path == ("learning",) and any(layer.get(key) is not None for key in _BUDGET):
        merged.update(dict.fromkeys(_BUDGET))
    for key, value in layer.items():
        below = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(below, dict)
        merged[key] = _merge(below, value, (*path, key)) if both else value  # type: ignore[arg-type]
    return merged


def _validate(merged: dict[Any, Any], where: str, check_env: bool = True) -> Config:
    """Returns the checked configuration, or raises every mistake at once."""
    lines = []
    config = None
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        lines = [explain(dict(problem)) for problem in error.errors(include_url=False)]
    if check_env and isinstance(name := merged.get("env"), str) and name:
        from muzero_wm import envs
        from muzero_wm.envs.registry import check_workers

        try:
            players = envs.spec(name).num_players
            if config is not None:
                lines += misfits(config, name, players)
                check_workers(name, config.acting.env_workers, config.acting.env_timeout_seconds)
                lines += without_rules(config, name)
        except envs.EnvError as error:
            lines.append(f"env: {error}")
    if len(lines) > _MAX_LINES:
        lines = [*lines[:_MAX_LINES], f"and {len(lines) - _MAX_LINES} more mistakes"]
    if lines or config is None:
        raise ConfigError(*(f"{where}: {line}" for line in lines))
    return config
