"""Residual blocks of convolutions as two fused oneDNN calls each: convolution, addition and ReLU in one pass.

PyTorch's compiler uses the same operators; called directly nothing is traced and new weights cost a repacking only.
They are private, so `fuse` checks that they are there and agree with the plain block, and leaves the block alone if
not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from muzero_wm.model.networks import Residual

_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}


class FusedResidual(nn.Module):
    """A folded `Residual` over [B, C, H, W], for inference on the CPU.

    Args:
        block: without batch norm, weights in the inference dtype.
        shape: [C, H, W] of its input.
    """

    def __init__(self, block: Residual, shape: tuple[int, ...]) -> None:
        """Repacks the weights; see the class for the arguments."""
        super().__init__()
        self._layers = []
        for layer in (block.first, block.second):
            assert layer.bias is not None
            weight = layer.weight.detach().contiguous(memory_format=torch.channels_last)
            packed = torch.ops.mkldnn._reorder_convolution_weight(weight, (1, 1), (1, 1), (1, 1), 1, (1, *shape))
            self._layers.append((packed, layer.bias.detach()))

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Returns what the block it was made from would."""
        return self._convolve(1, self._convolve(0, x, bias), x)

    def _convolve(self, index: int, x: Tensor, added: Tensor | None) -> Tensor:
        weight, bias = self._layers[index]
        ones = (1, 1)
        if added is None:
            return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, ones, ones, ones, 1, "relu", [], None)
        return torch.ops.mkldnn._convolution_pointwise.binary(
            x, added, weight, bias, ones, ones, ones, 1, "add", 1.0, "relu", [], None
        )


@torch.inference_mode()
def fuse(model: nn.Module, latent_shape: tuple[int, ...]) -> bool:
    """Replaces the convolutional residual blocks of a frozen model, in place, where the fused operators work.

    Args:
        model: in evaluation mode, batch norm folded, on the CPU.
        latent_shape: [C, H, W] that the blocks see.

    Returns:
        Whether the blocks were replaced.
    """
    blocks = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, Residual)
    ]
    if len(latent_shape) != 3 or not blocks:
        return False
    dtype = blocks[0][2].first.weight.dtype
    probe = torch.linspace(-1, 1, 2 * latent_shape[0] * latent_shape[1] * latent_shape[2]).view(2, *latent_shape)
    x = probe.to(dtype).contiguous(memory_format=torch.channels_last)
    try:
        fused = [FusedResidual(child, latent_shape) for _, _, child in blocks]
        agrees = all(
            torch.allclose(block(x, x).float(), child(x, x).float(), rtol=_TOLERANCE[dtype], atol=_TOLERANCE[dtype])
            for block, (_, _, child) in zip(fused, blocks, strict=True)
        )
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    if agrees:
        for block, (parent, name, _) in zip(fused, blocks, strict=True):
            setattr(parent, name, block)
    return agrees
