"""Plain YAML from a stranger: read with limits, told in one line where it is wrong."""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Any

import yaml

from muzero_wm.basis.errors import UserError

_MAX_YAML = 1 << 20


class ConfigError(UserError):
    """Lists everything that is wrong with a configuration.

    Attributes:
        lines: one message per mistake.
    """

    def __init__(self, *lines: str) -> None:
        self.lines = lines
        super().__init__("\n".join(lines))


class _Loader(yaml.SafeLoader):
    """Reads plain YAML and refuses a key that is given twice (PyYAML would drop the first)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else str(key_node.tag)
            if key in seen and key != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Returns the settings in a YAML file.

    Args:
        path: the file.

    Returns:
        Nested dictionaries, not yet checked against `Config`.

    Raises:
        ConfigError: the file is missing, unreadable, not plain YAML, or not a mapping.
    """
    try:
        if not path.is_file() and path.exists():
            raise ConfigError(f"{path}: cannot be read: not a regular file")
        with path.open("rb") as stream:
            text = stream.read(_MAX_YAML + 1).decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: cannot be read: not a UTF-8 text file") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: Any, where: str) -> dict[str, Any]:
    """Returns the settings in a text."""
    if not isinstance(text, str):
        raise ConfigError(f"{where}: expected YAML, got {type(text).__name__}")
    if len(text) > _MAX_YAML:
        raise ConfigError(f"{where}: longer than {_MAX_YAML} characters, so it is no configuration")
    loaded = load_yaml(text, where)
    if not isinstance(loaded, dict):
        came = "nothing" if loaded is None else f"{type(loaded).__name__} {short(loaded)}"
        raise ConfigError(f"{where}: expected a mapping of settings, got {came}")
    return loaded


def load_yaml(text: str, where: str) -> Any:
    """Returns what a text of plain YAML says."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}{_yaml_problem(error)}") from None
    except RecursionError:
        raise ConfigError(f"{where}: nested too deeply") from None
    except (ValueError, TypeError, OverflowError) as error:  # numbers and dates that Python cannot hold
        raise ConfigError(f"{where}: not plain YAML: {' '.join(str(error).split())[:200]}") from None


def short(value: object) -> str:
    """Returns value as text of a bounded length (aliases let a few lines of YAML stand for gigabytes)."""
    text = reprlib.repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _yaml_problem(error: yaml.YAMLError) -> str:
    """Returns ":line: problem" for what PyYAML says over several lines."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).splitlines()[0]
    return f"{f':{mark.line + 1}' if mark else ''}: not plain YAML: {' '.join(str(problem).split())}"
