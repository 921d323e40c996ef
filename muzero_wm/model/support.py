"""Categorical scalars: a value or reward as a distribution over fixed bins (MuZero, appendix F)."""

from __future__ import annotations

import torch
from torch import Tensor

from muzero_wm.config import SupportConfig

EPSILON = 1e-3


def h(x: Tensor) -> Tensor:
    """Squashes a scalar, keeping its sign.

    Source: MuZero (arXiv:1911.08265) appendix F; Pohlen et al. (arXiv:1805.11593).

    Args:
        x: any shape, floating point, environment units.

    Returns:
        sign(x)(sqrt(|x| + 1) - 1) + 0.001 x, same shape and dtype.
    """
    return torch.sign(x) * (torch.sqrt(x.abs() + 1.0) - 1.0) + EPSILON * x


def h_inv(y: Tensor) -> Tensor:
    """Returns x with h(x) = y.

    Written without the difference of two nearly equal roots, so that float32 keeps its digits near zero.

    Source: MuZero (arXiv:1911.08265) appendix F.

    Args:
        y: any shape, floating point.

    Returns:
        Same shape and dtype, environment units.
    """
    magnitude = y.abs()
    root = torch.sqrt(1.0 + 4.0 * EPSILON * (magnitude + 1.0 + EPSILON))
    # (root - 1) / 2e == 2(m + 1 + e) / (root + 1); minus one, over a common denominator
    above = (2.0 * (magnitude + EPSILON) - (root - 1.0)) / (root + 1.0)
    return torch.sign(y) * above * (above + 2.0)


class Support:
    """Evenly spaced bins and the two-hot code over them.

    Args:
        low: value of the first bin (after the transform, when there is one).
        high: value of the last bin, > low.
        num_bins: number of bins, >= 2.
        transform: squash scalars with `h` before coding them.
    """

    def __init__(self, low: float, high: float, num_bins: int, transform: bool) -> None:
        """Stores the bins; see the class for the arguments."""
        self.low, self.high, self.num_bins, self.transform = low, high, num_bins, transform
        self.bins = torch.linspace(low, high, num_bins)

    @classmethod
    def from_config(cls, config: SupportConfig) -> Support:
        """Builds the support that a config section describes."""
        return cls(config.low, config.high, config.num_bins, config.transform)

    def encode(self, scalar: Tensor) -> Tensor:
        """Returns the two-hot code: the two neighbouring bins share the weight in proportion to nearness.

        Args:
            scalar: [...] floating point, environment units; clipped to the ends of the support.

        Returns:
            [..., num_bins] float32 that sums to 1 and whose mean over the bins is the (squashed) scalar.
        """
        x = scalar.float()
        x = (h(x) if self.transform else x).clamp(self.low, self.high)
        position = (x - self.low) * ((self.num_bins - 1) / (self.high - self.low))
        below = position.floor().clamp(0, self.num_bins - 2)
        share = (position - below).unsqueeze(-1)
        index = below.long().unsqueeze(-1)
        code = torch.zeros(*x.shape, self.num_bins, device=x.device)
        return code.scatter_(-1, index, 1.0 - share).scatter_add_(-1, index + 1, share)

    def decode(self, logits: Tensor) -> Tensor:
        """Returns the scalar that a categorical prediction stands for.

        Args:
            logits: [..., num_bins] floating point.

        Returns:
            [...] float32, environment units.
        """
        mean = torch.softmax(logits.float(), -1) @ self.bins.to(logits.device)
        return h_inv(mean) if self.transform else mean

    def bump(self, scalar: float) -> Tensor:
        """Returns logits of a prediction that stands for one scalar and is two bins wide.

        Args:
            scalar: environment units; clipped to the ends of the support.

        Returns:
            [num_bins] float32.
        """
        x = torch.tensor(float(scalar))
        x = (h(x) if self.transform else x).clamp(self.low, self.high)
        away = (self.bins - x) * ((self.num_bins - 1) / (self.high - self.low))
        return -0.125 * away.square()
