"""What another process needs besides names: what the program registered, and its main module.

A process of ours imports nothing of the program by itself. What is registered with Gymnasium, and a torso of the
program's own, is sent along; where that, or the environment's name, leads into the program's main module, this is
imported there once more, if it was written for it.
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
from muzero_wm.basis.registry import TORSOS
from muzero_wm.envs.base import EnvError
from muzero_wm.envs.naming.imports import MAIN
from muzero_wm.envs.naming.naming import EnvName, parse_name

_GUARD = "if __name__ == '__main__':"


@dataclass(frozen=True)
class Handover:
    """What goes along with a name.

    Attributes:
        registered: specs of Gymnasium, pickled; empty: none.
        torsos: what `register_torso` was called with, pickled; empty: nothing that is needed.
        needs_main: the program's main module must be imported first.
    """

    registered: bytes = b""
    torsos: bytes = b""
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
        try:
            what = "model.torso"
            if self.torsos:
                for torso, maker in pickle.loads(self.torsos).items():
                    TORSOS.register(torso, maker)
            what = name
            if self.registered:
                import gymnasium

                gymnasium.registry.update({spec.id: spec for spec in pickle.loads(self.registered)})
        except Exception as error:
            raise EnvError(
                f"{what}: what is registered cannot be found in another process ({one_line(error)}); define it "
                f"in a module, or in the script above `{_GUARD}`"
            ) from error


def handover(name: str, torso: str = "") -> Handover:
    """Returns what goes along with the name of an environment to another process.

    Args:
        name: of an environment that can be made in this one.
        torso: of the network that is made there too.

    Raises:
        EnvError: the environment, or the torso, can only be made in this process.
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
    own = {key: maker for key, maker in TORSOS.own.items() if key == torso}
    try:
        torsos = pickle.dumps(own) if own else b""
    except Exception as error:
        raise EnvError(
            f"model.torso: no other process can be told of {torso} ({one_line(error)[:200]}): register a class at the "
            "top of a module"
        ) from error
    env_in_main = parsed.kind in MAIN or any(module.encode() in registered for module in MAIN)
    needs_main = env_in_main or any(module.encode() in torsos for module in MAIN)
    if needs_main and (problem := _problem_of_main()):
        raise EnvError(
            f"{name if env_in_main else f'the torso {torso}'} is defined in the program itself, and {problem}, so no "
            f"other process can import it: move the {'environment' if env_in_main else 'torso'} into a module, or "
            f"begin the program's work under `{_GUARD}`"
        )
    return Handover(registered, torsos, needs_main)


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
