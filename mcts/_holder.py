"""What all containers of arrays have in common: how they are shown and compared."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


class ArrayHolder:
    """Shows a dataclass by the types and shapes of its arrays, for `@dataclass(eq=False, repr=False)`.

    Its numbers may be megabytes. Two of them are equal only if they are the same object: what of their arrays must
    agree, and how closely, is for NumPy to ask.
    """

    def __repr__(self) -> str:
        assert is_dataclass(self)
        shown = (f"{field.name}={_describe(getattr(self, field.name))}" for field in fields(self) if field.repr)
        return f"{type(self).__name__}({', '.join(shown)})"


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        name = "record" if value.dtype.names else value.dtype.name
        return f"{name}{list(value.shape)}"
    return repr(value)
