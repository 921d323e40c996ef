"""In which precision to compute: bf16 where the processor multiplies it natively, float32 everywhere else."""

from __future__ import annotations

import torch

from muzero_wm.model.device import CPU


class PrecisionWarning(UserWarning):
    """A run computes in a precision that this processor is slow in, or in another one than on the machine before."""


def why_not_bf16() -> str | None:
    """Returns why bf16 is slower than float32 on this processor, in a few words; None where it is faster."""
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return "this processor has neither AVX-512 BF16 nor AMX"
    try:
        known = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    except (AttributeError, NotImplementedError, RuntimeError):
        return "this PyTorch was built without oneDNN"
    return None if known else "oneDNN does not use the bf16 instructions of this processor"


def why_not_bf16_on(device: torch.device) -> str | None:
    """Returns why bf16 is slower than float32 on a device, in a few words; None where it is faster."""
    if device.type != "cuda":
        return why_not_bf16()
    native = torch.cuda.get_device_capability(device) >= (8, 0)
    return None if native else f"{torch.cuda.get_device_name(device)} does not multiply in bf16"


def resolve_precision(precision: str, conv: bool, device: torch.device = CPU) -> torch.dtype:
    """Returns the dtype for a precision setting: "auto" is bf16 for convolutions on devices that multiply in it."""
    bf16 = precision == "bf16" or (precision == "auto" and conv and why_not_bf16_on(device) is None)
    return torch.bfloat16 if bf16 else torch.float32


def describe(dtype: torch.dtype, device: torch.device = CPU) -> str:
    """Returns a precision in words, with the reason where it is not the fast one of the two."""
    reason = why_not_bf16_on(device)
    if dtype == torch.bfloat16:
        return "bf16" if reason is None else f"bf16, many times slower than float32 here: {reason}"
    return "float32" if reason is None else f"float32 ({reason})"


def short_name(dtype: torch.dtype) -> str:
    """Returns "bf16" or "fp32", as settings and backends call them."""
    return "bf16" if dtype == torch.bfloat16 else "fp32"
