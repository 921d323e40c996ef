"""What a Gymnasium environment returns, held against the spaces it declares."""

from __future__ import annotations

import math
import re
import traceback
import warnings
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import env_checker

from muzero_wm.basis.errors import one_line
from muzero_wm.envs.checking.findings import Severity

SHAPE = "observation of the wrong shape"
NOT_FINITE = "observation with NaN or infinity"
REWARD = "a reward that is no finite number"
OUTSIDE = "observation outside its space"
NOT_UINT8 = "observation that uint8 cannot hold"
WHOLE = "return whole numbers from 0 to 255, or declare a space of float32"
DTYPE = "observation of another dtype than declared"


class Misfit(NamedTuple):
    """How a value does not fit its space; the fields are those of a `Finding`."""

    severity: Severity
    title: str
    seen: str
    remedy: str


class Tap:
    """Keeps what an environment returned last, as its author made it, before an adapter translates it.

    Attributes:
        reused: whether the last observation is the very array that was returned before.
        both_ends: whether the last step was terminated and truncated.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Listens to an environment from now on.

        Args:
            env: the environment; its `reset` and `step` are replaced by ones that do the same and tell us.
        """
        self.reused = self.both_ends = False
        self._space = env.observation_space
        self._last: tuple[Any, ...] | None = ()  # nothing yet; None: no tuple of the right length
        self._call = ""
        reset, step = env.reset, env.step

        def listening_reset(*args: Any, **kwargs: Any) -> Any:
            self._last = ()
            return self._take("reset", 2, reset(*args, **kwargs))

        def listening_step(action: Any) -> Any:
            last, self._last = self._last, ()
            return self._take("step", 5, step(action), last)

        vars(env).update(reset=listening_reset, step=listening_step)

    def misfit(self) -> Misfit | None:
        """Returns what is wrong with what was returned last, None where nothing is."""
        if self._last == ():
            return None
        if self._last is None:
            wanted = "(observation, info)" if self._call == "reset" else "(obs, reward, terminated, truncated, info)"
            remedy = f"let {self._call} return {wanted}, as Gymnasium does since 0.26"
            return Misfit(
                "error", f"{self._call} returns something else", f"{self._call} does not return {wanted}", remedy
            )
        if self._call == "step" and not is_number(reward := self._last[1]):
            return Misfit("error", REWARD, f"the reward is {_short(reward)}", "return a finite float")
        observation = self._last[0]
        try:
            return None if self._space.contains(observation) else _misfit(self._space, observation)
        except Exception as error:  # whatever was returned, comparing it may fail in any way
            return Misfit("error", OUTSIDE, one_line(error), "return what observation_space declares")

    def _take(self, call: str, length: int, returned: Any, last: tuple[Any, ...] | None = ()) -> Any:
        self._call = call
        self._last = returned if isinstance(returned, tuple) and len(returned) == length else None
        if self._last is not None:
            self.reused = (
                bool(last) and isinstance(returned[0], np.ndarray) and last is not None and returned[0] is last[0]
            )
            self.both_ends = call == "step" and bool(returned[2]) and bool(returned[3])
        return returned


def gymnasium_complaints(env: gymnasium.Env[Any, Any]) -> list[str]:
    """Returns what Gymnasium's own checker (`gymnasium.utils.env_checker`) has to say, one line each.

    Args:
        env: an environment of its own for this check; wrappers are left out, as that checker wants it.

    Returns:
        The assertion at which it stopped, if any; what it merely recommends is left out.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            env_checker.check_env(env.unwrapped, skip_render_check=True, skip_close_check=True)
        except (AssertionError, gymnasium.error.Error) as error:
            return [re.sub(r"\x1b\[[0-9;]*m", "", " ".join(str(error).split())) or _asserted(error)]
        except Exception:  # it plays actions that a mask forbids, and environments may refuse them in any way
            return []
    return []


def _asserted(error: Exception) -> str:
    """Returns the line that raised an error without words, and its file."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.line or type(error).__name__} ({frame.filename.rpartition('/')[2]})"


def _misfit(space: Any, value: Any, where: str = "observation") -> Misfit:
    """Says how a value that its space does not contain differs from it."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return _misfit_of_parts(space, value, where)
    if isinstance(space, spaces.Box):
        return _misfit_of_box(space, value, where)
    declared = f"observation_space declares {space}"
    return Misfit("error", OUTSIDE, f"{where} {_short(value)}, but {declared}", "return only what the space declares")


def _misfit_of_parts(space: spaces.Dict | spaces.Tuple, value: Any, where: str) -> Misfit:
    if isinstance(space, spaces.Dict):
        wanted: dict[Any, Any] = dict(space.spaces)
        parts = value if isinstance(value, dict) else {}
    else:
        wanted = dict(enumerate(space.spaces))
        parts = dict(enumerate(value)) if isinstance(value, tuple | list) else {}
    if wanted.keys() != parts.keys():
        kind = "keys" if isinstance(space, spaces.Dict) else "parts"
        seen = f"{where} has the {kind} {sorted(map(str, parts))}, the space {sorted(map(str, wanted))}"
        return Misfit("error", SHAPE, seen, "return exactly the parts that observation_space declares")
    for key, part in wanted.items():
        if not part.contains(parts[key]):
            return _misfit(part, parts[key], f"{where}[{key!r}]")
    kind = type(value).__name__
    return Misfit("note", DTYPE, f"{where} is a {kind}, the space is {type(space).__name__}", "return the same kind")


def _misfit_of_box(space: spaces.Box, value: Any, where: str) -> Misfit:
    array = np.asarray(value)
    if array.shape != space.shape:
        seen = f"{where} has shape {array.shape}, the space {space.shape}"
        return Misfit("error", SHAPE, seen, "return the shape that observation_space declares, or declare this one")
    if array.dtype.kind not in "biuf":
        seen = f"{where} holds {array.dtype}, the space {space.dtype}"
        return Misfit("error", SHAPE, seen, "return an array of numbers")
    if not np.isfinite(array).all():
        at = tuple(map(int, np.argwhere(~np.isfinite(array))[0]))
        seen = f"{where}{list(at) if at else ''} is {array[at]}"
        return Misfit("error", NOT_FINITE, seen, "return finite numbers; look for a division by zero or an overflow")
    if space.dtype == np.uint8 and (lost := array != array.astype(np.uint8)).any():
        return Misfit("error", NOT_UINT8, f"{array[lost][0]:g} becomes {array[lost].astype(np.uint8)[0]}", WHOLE)
    beyond = (array < space.low) | (array > space.high)
    if beyond.any():
        at = tuple(map(int, np.argwhere(beyond)[0]))
        bounds = f"{space.low[at]:.6g} to {space.high[at]:.6g}"
        seen = f"{where}{list(at) if at else ''} is {array[at]:.6g}, declared is {bounds}"
        return Misfit("warning", OUTSIDE, seen, "widen the bounds of the Box, or clip what is returned")
    seen = f"{where} is {array.dtype if isinstance(value, np.ndarray) else type(value).__name__}, not {space.dtype}"
    return Misfit("note", DTYPE, f"{seen}; it is converted", f"return an array of {space.dtype}, or declare the other")


def is_number(value: Any) -> bool:
    """Returns whether a value is a finite real number."""
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
