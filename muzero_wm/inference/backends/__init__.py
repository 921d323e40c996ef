"""Ways of evaluating the network in a search, one file each; this is where they are registered.

Every one of them evaluates the same network, so they differ in speed and rounding only. All but the eager one need a
description of its layers (`muzero_wm.inference.description`), and look there for what they support:

    eager        the plain module in float32: the reference
    torch        batch norm folded, channels last, float32 or bf16
    fused        the same network in as few PyTorch calls as it takes, float32 or bf16
    native       MLPs only: the planner's own evaluator, float32
    onnxruntime  ONNX Runtime (extra `onnx`), float32
    openvino     OpenVINO (extra `openvino`), float32 or bf16
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from muzero_wm.inference.backends.base import Backend, BackendError, Inference, Worker, split_name
from muzero_wm.inference.description import UndescribedError
from muzero_wm.model.world_model import WorldModel

__all__ = ["KINDS", "Backend", "BackendError", "Inference", "Worker", "make_backend", "names_for", "resolve_name"]

FP32, BF16 = "fp32", "bf16"


class _Options(NamedTuple):
    dtype: torch.dtype
    batch_size: int
    frozen: bool


def _eager(model: WorldModel, options: _Options) -> Backend:
    from muzero_wm.inference.backends.module import ModuleBackend

    return ModuleBackend(model, folded=False)


def _torch(model: WorldModel, options: _Options) -> Backend:
    from muzero_wm.inference.backends.module import ModuleBackend

    return ModuleBackend(model, folded=True, dtype=options.dtype)


def _fused(model: WorldModel, options: _Options) -> Backend:
    from muzero_wm.inference.backends.fused import FusedBackend

    return FusedBackend(model, dtype=options.dtype, batch_size=options.batch_size)


def _native(model: WorldModel, options: _Options) -> Backend:
    from muzero_wm.inference.backends.native_backend import NativeBackend

    return NativeBackend(model)


def _onnxruntime(model: WorldModel, options: _Options) -> Backend:
    from muzero_wm.inference.backends.onnxruntime_backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(model, frozen=options.frozen)


def _openvino(model: WorldModel, options: _Options) -> Backend:
    from muzero_wm.inference.backends.openvino_backend import OpenVinoBackend

    return OpenVinoBackend(model, dtype=options.dtype, batch_size=options.batch_size, frozen=options.frozen)


class Kind(NamedTuple):
    """One way of evaluating the network.

    Attributes:
        make: builds it.
        precisions: what it can compute in.
        extra: the optional extra that it needs, if any.
    """

    make: Callable[[WorldModel, _Options], Backend]
    precisions: tuple[str, ...]
    extra: str | None = None


KINDS: dict[str, Kind] = {
    "native": Kind(_native, (FP32,)),
    "fused": Kind(_fused, (BF16, FP32)),
    "openvino": Kind(_openvino, (BF16, FP32), "openvino"),
    "onnxruntime": Kind(_onnxruntime, (FP32,), "onnx"),
    "torch": Kind(_torch, (BF16, FP32)),
    "eager": Kind(_eager, (FP32,)),
}
"""In the order of preference among equally fast ones."""


def names_for(precision: str) -> list[str]:
    """Returns the full names of all backends in a precision, or bf16 before fp32 for "auto"."""
    wanted = (BF16, FP32) if precision == "auto" else (precision,)
    return [f"{kind}-{each}" for each in wanted for kind, entry in KINDS.items() if each in entry.precisions]


def resolve_name(name: str, precision: str) -> str:
    """Returns the full name of a backend.

    Args:
        name: "fused" or "fused-bf16".
        precision: "fp32" or "bf16" where the name does not say it; ignored by backends that know only one.

    Returns:
        For example "fused-bf16".

    Raises:
        BackendError: there is no such backend, or it cannot compute in that precision.
    """
    kind, suffix = split_name(name)
    if kind not in KINDS:
        raise BackendError(f"inference.backend: expected auto or one of {', '.join(KINDS)}, got {name!r}")
    known = KINDS[kind].precisions
    chosen = suffix or (precision if precision in known else known[0])
    if chosen not in known:
        raise BackendError(f"inference.backend: {kind} computes in {' or '.join(known)}, got {name!r}")
    return f"{kind}-{chosen}"


def make_backend(name: str, model: WorldModel, *, batch_size: int = 256, frozen: bool = False) -> Backend:
    """Builds a backend.

    Args:
        name: full name, for example "fused-bf16".
        model: the first snapshot.
        batch_size: rows of a usual call.
        frozen: the weights hardly ever change, so a backend may bake them in.

    Returns:
        The backend.

    Raises:
        BackendError: what it needs is not installed, this processor cannot run it, or it does not fit the model.
    """
    kind, precision = split_name(name)
    entry = KINDS[kind]
    options = _Options(torch.bfloat16 if precision == BF16 else torch.float32, batch_size, frozen)
    try:
        return entry.make(model, options)
    except UndescribedError as error:
        raise BackendError(f"{kind}: {error}; take auto or eager as inference.backend") from None
    except ModuleNotFoundError as error:
        install = f": pip install 'muzero-wm[{entry.extra}]'" if entry.extra else ""
        raise BackendError(f"{kind}: {error.name or error} is not installed{install}") from None
    except ImportError as error:
        raise BackendError(f"{kind}: does not load on this machine ({' '.join(str(error).split())})") from None
