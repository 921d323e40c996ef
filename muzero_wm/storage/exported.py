"""An agent in two files that others can read: weights as safetensors, everything else as JSON.

A checkpoint holds what a run needs to go on, in a format of ours: tensors in their memory order, which the optimiser
walks, packs of episodes that checkpoints share, all of it compressed. Who only wants the trained network needs none of
that. So beside the checkpoints a run folder has the weights that play as `model.safetensors`, and `model.json` says
what they are; the two alone, wherever they lie, are an agent.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muzero_wm import __version__
from muzero_wm.basis.errors import CheckpointError
from muzero_wm.storage.checkpoint import SaveError
from muzero_wm.storage.files import open_regular, write_atomic

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, ABOUT = "model.safetensors", "model.json"
FORMAT = 1
_MOST_TEXT, _MOST_WEIGHTS = 64 << 20, 16 << 30


def write_agent(folder: Path, weights: Mapping[str, Tensor], about: Mapping[str, Any], *, half: bool = False) -> None:
    """Writes both files; a crash in between leaves the old pair, or one that is told to be none.

    Args:
        folder: where to, it exists.
        weights: by name, on any device.
        about: plain JSON: "config", "environment" and "updates".
        half: store weights of float32 as float16, in half the bytes.

    Raises:
        OSError: they cannot be written.
        SaveError: half precision cannot hold a weight.
    """
    import torch
    from safetensors.torch import save

    # copies: the format has no two names for the same numbers, and a network may use its weights twice
    apart = {
        name: torch.clone(each.detach().cpu(), memory_format=torch.contiguous_format) for name, each in weights.items()
    }
    if half:
        apart = {name: _halved(name, each) for name, each in apart.items()}
    data = save(apart)
    content = {"format": FORMAT, "muzero_wm": __version__, **about}
    content["weights"] = {"file": WEIGHTS, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    write_atomic(folder / WEIGHTS, data)
    write_atomic(folder / ABOUT, (json.dumps(content, indent=1) + "\n").encode())


def read_agent(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads both files; neither can name code.

    Args:
        folder: where they are.

    Returns:
        The weights by name, on the CPU, those of float16 as float32; and what `write_agent` was told of them.

    Raises:
        CheckpointError: a file is missing, damaged, too large or does not belong to the other; one line.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    text = _read(folder / ABOUT, _MOST_TEXT)
    try:
        about = json.loads(text)
        written, size, digest = int(about["format"]), about["weights"]["bytes"], about["weights"]["sha256"]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise CheckpointError(f"{folder / ABOUT}: is damaged or does not describe an agent") from None
    if written > FORMAT:
        newer = f"format {written}, this one reads {FORMAT}"
        raise CheckpointError(f"{folder / ABOUT}: was written by a newer muzero-wm ({newer})")
    data = _read(folder / WEIGHTS, _MOST_WEIGHTS)
    if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
        raise CheckpointError(f"{folder / WEIGHTS}: is not the file that {ABOUT} describes, or it is damaged")
    try:
        weights = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder / WEIGHTS}: cannot be read: {str(error)[:200]}") from None
    return {name: each.float() if each.dtype == torch.float16 else each for name, each in weights.items()}, about


def _halved(name: str, weight: Tensor) -> Tensor:
    """Returns a weight of float32 as float16, any other as it is."""
    import torch

    if weight.dtype != torch.float32:
        return weight
    small = weight.half()
    if bool((small.isfinite() != weight.isfinite()).any()):
        raise SaveError(f"{name}: half precision holds numbers up to 65504, got {float(weight.abs().max()):g}")
    return small


def _read(path: Path, most: int) -> bytes:
    try:
        with open_regular(path) as stream:
            # what is asked for is set aside before it is read, so no more than there is
            data = stream.read(min(os.fstat(stream.fileno()).st_size, most) + 1)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: is missing") from None
    except OSError as error:
        raise CheckpointError(f"{path}: is not readable ({error.strerror or 'not a regular file'})") from None
    if len(data) > most:
        raise CheckpointError(f"{path}: is larger than {most >> 20} MiB")
    return data
