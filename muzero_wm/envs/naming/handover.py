"""What another process needs besides an environment's name: what the program registered, and its main module.

A process of ours imports nothing of the program by itself. What is registered with Gymnasium is sent along; where that,
or the name, leads into the program's main module, this is imported there once more, if it was written for it.
"""

from __future__ import annotations

import ast
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muzero_wm.basis.errors import one_line
from muzero_wm.basis.processes import check_may_start
from muzero_wm.envs.base import EnvError
from muzero_wm.envs.naming.imports import MAIN
from muzero_wm.envs.naming.naming import EnvName, parse_name

_GUARD = "if __name__ == '__main__':"


@dataclass(frozen=True)
class Handover:
    """What goes along with a name.

    Attributes:
        registered: specs of Gymnasium, pickled; empty: none.
        needs_main: the program's main module must be imported first.
    """

    registered: bytes = b""
    needs_main: bool = False

    def take(self, name: str) -> None:
        """Registers here what was registered there, and looks for what the main module should define.

        Args:
            name: of the environment, for a message.

        Raises:
            EnvError: something is not found in this process.
        """
        parsed = parse_name(name)
        if parsed.kind in MAIN and not hasattr(sys.modules["__main__"], parsed.target):
            raise EnvError(f"{name}: another process does not find it; define it in the script above `{_GUARD}`")
        if not self.registered:
            return
        import gymnasium

        try:
            gymnasium.registry.update({spec.id: spec for spec in pickle.loads(self.registered)})
        except Exception as error:
            raise EnvError(
                f"{name}: what is registered cannot be found in another process ({one_line(error)}); define it in a "
                f"module, or in the script above `{_GUARD}`"
            ) from error


def handover(name: str) -> Handover:
    """Returns what goes along with the name of an environment to another process.

    Args:
        name: of an environment that can be made in this one.

    Raises:
        EnvError: the environment can only be made in this process.
        StartError: this is called by a module that is imported only for what it defines.
    """
    check_may_start()
    parsed = parse_name(name)
    try:
        registered = pickle.dumps(_registered(parsed)) if parsed.kind == "gym" else b""
    except Exception as error:  # entry points and options may be anything
        raise EnvError(
            f"{name} is registered with something that no other process can be told ({one_line(error)[:200]}): "
            "register a class or a function at the top of a module"
        ) from error
    needs_main = parsed.kind in MAIN or any(module.encode() in registered for module in MAIN)
    if needs_main and (problem := _problem_of_main()):
        raise EnvError(
            f"{name} is defined in the program itself, and {problem}, so no other process can import it: move the "
            f"environment into a module, or begin the program's work under `{_GUARD}`"
        )
    return Handover(registered, needs_main)


def _registered(name: EnvName) -> list[Any]:
    """Returns what Gymnasium knows by a name, with all versions where it names none; a module registers its own."""
    if ":" in name.target:
        return []
    import gymnasium

    return [spec for key, spec in gymnasium.registry.items() if name.target in (key, key.rpartition("-v")[0])]


def _problem_of_main() -> str:
    """Returns why the program's main module cannot be imported once more, or ""."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    try:
        tree = ast.parse(Path(file or "").read_bytes())
    except (OSError, ValueError, SyntaxError):
        return "it has no file"
    return (
        "" if any(isinstance(node, ast.If) and _is_guard(node.test) for node in tree.body) else "it has no main guard"
    )


def _is_guard(test: ast.expr) -> bool:
    names = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    texts = {node.value for node in ast.walk(test) if isinstance(node, ast.Constant)}
    return "__name__" in names and "__main__" in texts
