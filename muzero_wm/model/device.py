"""Which device a network is on: the one place that reads the setting and knows what kinds of devices there are.

Everything else takes a `torch.device`, or computes where its tensors are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from muzero_wm.basis.errors import UserError

CPU = torch.device("cpu")


class DeviceError(UserError):
    """A device was asked for that is not here or that this package does not use, or it is too small."""


class DeviceWarning(UserWarning):
    """A run goes on on another kind of device than before."""


def resolve_device(name: str, conv: bool) -> torch.device:
    """Returns the device that a setting names.

    Args:
        name: "auto", "cpu", "cuda" or "cuda:N". auto is a CUDA device where there is one and the torso is
            convolutional: small MLPs are faster on the CPU, launching their kernels takes longer than computing them.
        conv: the torso is convolutional.

    Returns:
        The device, with its number.

    Raises:
        DeviceError: there is no such device here.
    """
    if name == "auto":
        return _cuda(torch.cuda.current_device()) if conv and torch.cuda.is_available() else CPU
    if name == "cpu":
        return CPU
    if not re.fullmatch(r"cuda(:[0-9]{1,4})?", name):
        raise DeviceError(f"run.device: expected auto, cpu, cuda or cuda:N, got {name[:40]!r}")
    if not torch.cuda.is_available():
        why = "finds no device" if torch.backends.cuda.is_built() else "is built without CUDA"
        raise DeviceError(f"run.device: {name} was asked for, but PyTorch {torch.__version__} {why}; use cpu or auto")
    index, count = int(name.partition(":")[2] or torch.cuda.current_device()), torch.cuda.device_count()
    if index >= count:
        raise DeviceError(f"run.device: {name} was asked for, there are {count} (cuda:0 to cuda:{count - 1})")
    return _cuda(index)


def _cuda(index: int) -> torch.device:
    torch.backends.cudnn.allow_tf32 = False  # or convolutions in float32 would not be in float32
    return torch.device("cuda", index)


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Returns the context in which networks compute in `dtype`, bfloat16 or float32."""
    if dtype != torch.bfloat16:
        return full_precision(device)
    return torch.autocast(device.type, dtype=dtype)


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Returns the context in which everything is computed in the precision of its tensors."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def make_generator(device: torch.device, seed: int) -> torch.Generator:
    """Returns a source of random numbers that lives on a device."""
    return torch.Generator(device).manual_seed(seed)


@contextmanager
def enough_memory(what: str, remedy: str) -> Iterator[None]:
    """Says what did not fit where the memory of a device is not enough.

    Args:
        what: is computed in the block.
        remedy: what to do about it.

    Raises:
        DeviceError: the memory was not enough; one line.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        asked = re.search(r"allocate ([\d.]+ \w+)", str(error))
        room = re.search(r"total capacity of ([\d.]+ \w+)(?: of which ([\d.]+ \w+) is free)?", str(error))
        sizes = f" ({asked[1]} more were asked for" if asked else " ("
        sizes += f", {room[2] or 'nothing'} of {room[1]} is free)" if room else ")"
        raise DeviceError(f"run.device: not enough memory for {what}{sizes if asked else ''}; {remedy}") from None


def describe_device(device: torch.device) -> str:
    """Returns a device in words."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
