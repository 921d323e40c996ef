"""Categorical scalars: a value or reward as a distribution over fixed bins.

A transform spaces the bins, narrow near 0 and wide far from it, and does no more: scalars are coded and decoded between
the bins in the environment's own units, so that a prediction stands for its expectation. The mean of squashed scalars
(MuZero, appendix F), squashed back, is another number: one time in ten 200 would be 4.4 and not 20.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from muzero_wm.config import SupportConfig, Transform

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


def symlog(x: Tensor) -> Tensor:
    """Returns sign(x) ln(|x| + 1), same shape and dtype.

    Source: DreamerV3 (arXiv:2301.04104).

    Args:
        x: any shape, floating point, environment units.
    """
    return torch.sign(x) * torch.log1p(x.abs())


def symexp(y: Tensor) -> Tensor:
    """Returns x with symlog(x) = y, same shape and dtype."""
    return torch.sign(y) * torch.expm1(y.abs())


class Support(nn.Module):
    """Bins and the two-hot code over them.

    Args:
        low: the first bin, after the transform, if there is one.
        high: the last bin, > low.
        num_bins: number of bins, >= 2.
        transform: by what bins are spaced evenly: `h` (True), "symlog", or as they are (False).

    Attributes:
        bins: [num_bins] float32, environment units, ascending; they move with the module that reads them.
        plus: [n] int64, the bins that add to a prediction's mean.
        minus: [n] int64, their mirror images, whose shares are subtracted from those of `plus`; empty where the bins
            are not the same on both sides of 0. Bins in neither are 0.
    """

    def __init__(self, low: float, high: float, num_bins: int, transform: Transform) -> None:
        """Makes the bins; see the class for the arguments."""
        super().__init__()
        self.low, self.high, self.num_bins, self.transform = low, high, num_bins, transform
        even = np.linspace(low, high, num_bins)
        symmetric = low == -high
        if symmetric:
            even = (even - even[::-1]) / 2.0  # to the last bit
        # from arrays: numbers, whatever device a model is being laid out on
        self.bins: Tensor
        # they follow from the configuration, so no checkpoint holds them
        self.register_buffer("bins", self._unsquash(torch.from_numpy(even)).float(), persistent=False)
        half = num_bins // 2
        self.plus = torch.from_numpy(np.arange(num_bins - half if symmetric else 0, num_bins))
        self.minus = torch.from_numpy(np.arange(half if symmetric else 0)[::-1].copy())
        first, second, *_, before, last = (float(x) for x in (*self.bins[:2], *self.bins[-2:]))
        self._reach = first - 0.01 * (second - first), last + 0.01 * (last - before)

    @classmethod
    def from_config(cls, config: SupportConfig) -> Support:
        """Builds the support that a config section describes."""
        return cls(config.low, config.high, config.num_bins, config.transform)

    def squash(self, x: Tensor) -> Tensor:
        """Returns scalars [...] as the bins are spaced."""
        if self.transform == "symlog":
            return symlog(x)
        return h(x) if self.transform else x

    def _unsquash(self, y: Tensor) -> Tensor:
        if self.transform == "symlog":
            return symexp(y)
        return h_inv(y) if self.transform else y

    def encode(self, scalar: Tensor) -> Tensor:
        """Returns the two-hot code: the two neighbouring bins share the weight in proportion to nearness.

        Args:
            scalar: [...] floating point, environment units; clipped to the ends of the support.

        Returns:
            [..., num_bins] float32 that sums to 1 and whose mean over the bins is the scalar.
        """
        bins = self.bins
        x = scalar.float().clamp(bins[0], bins[-1])
        index = torch.bucketize(x, bins[1:-1], right=True)
        below = bins[index]
        share = ((x - below) / (bins[index + 1] - below)).unsqueeze(-1)
        index = index.unsqueeze(-1)
        code = torch.zeros(*x.shape, self.num_bins, device=x.device)
        return code.scatter_(-1, index, 1.0 - share).scatter_add_(-1, index + 1, share)

    def decode(self, logits: Tensor) -> Tensor:
        """Returns the scalar that a categorical prediction stands for: its expectation.

        Where the bins are the same on both sides of 0, so is the sum: what is as likely as its opposite counts for
        exactly nothing, however large the outermost bins are.

        Args:
            logits: [..., num_bins] floating point.

        Returns:
            [...] float32, environment units.
        """
        share = torch.softmax(logits.float(), -1)
        more = share[..., self.num_bins - len(self.plus) :]
        if len(self.minus):
            more = more - share[..., : len(self.minus)].flip(-1)
        # no matrix product, which autocast would compute in bf16
        return (more * self.bins[self.num_bins - len(self.plus) :]).sum(-1)

    def outside(self, scalar: NDArray[np.float32]) -> float:
        """Returns the share of scalars [...] that lie beyond the bins and are learnt as the outermost one.

        Beyond: by more than a hundredth of the last step between bins.
        """
        low, high = self._reach
        return float(((scalar < low) | (scalar > high)).mean())

    def bump(self, scalar: float) -> Tensor:
        """Returns logits of a prediction that stands for one scalar and is two bins wide.

        Args:
            scalar: environment units; clipped to the ends of the support.

        Returns:
            [num_bins] float32.
        """
        place = torch.from_numpy(np.arange(float(self.num_bins)))
        low, high = 0.0, self.num_bins - 1.0
        for _ in range(60):  # where its middle has to be for its mean: wide bins pull outwards
            middle = (low + high) / 2.0
            logits = -0.125 * (place - middle).square()
            if float(self.decode(logits)) < scalar:
                low = middle
            else:
                high = middle
        return logits.float()
