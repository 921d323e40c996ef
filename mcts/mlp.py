"""A residual MLP as a world model that the search runs natively: no Python and no other library between two steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from mcts._isa import default_instruction_set
from mcts.checks import as_float32
from mcts.native import NativeRecurrentFn

Layer: TypeAlias = tuple[npt.ArrayLike, npt.ArrayLike]
"""A linear layer: weight [outputs, inputs], bias [outputs]."""

Block: TypeAlias = tuple[Layer, Layer]
"""A residual block, relu(x + second(relu(first(x))))."""

LATENT_NORMS = ("rms", "minmax")
PARTS = ("stem", "representation", "dynamics", "prediction", "hidden", "output")

_EMBEDDED = "dynamics[0].first"  # whose bias has one row for each action
_PANEL, _TILE = 16, 64  # as in mcts/_mlp.h
_MAX_ROWS = 2**31 - 1  # latents are numbered in int32


@dataclass(frozen=True)
class CategoricalSupport:
    """Holds the numbers that a categorical head's logits stand for; a prediction is their expectation.

    Attributes:
        low: the first, as they are spaced.
        high: the last, > low.
        num_bins: how many, >= 2.
        transform: how they are spaced evenly, the ends included: as they are (False); True: as
            h(x) = sign(x)(sqrt(|x| + 1) - 1) + 0.001 x (MuZero, arXiv:1911.08265, appendix F); "symlog": as
            sign(x) ln(|x| + 1) (DreamerV3, arXiv:2301.04104).
    """

    low: float
    high: float
    num_bins: int
    transform: Literal[False, True, "symlog"] = False

    def __post_init__(self) -> None:
        """Checks the numbers."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"low, high: expected finite numbers, low < high, got {self.low} and {self.high}")
        if self.num_bins < 2:
            raise ValueError(f"num_bins: expected at least 2, got {self.num_bins}")
        if self.transform not in (False, True, "symlog"):
            raise ValueError(f"transform: expected False, True or 'symlog', got {self.transform!r}")

    @property
    def numbers(self) -> npt.NDArray[np.float64]:
        """The numbers themselves, ascending; the same on both sides of 0 to the last bit where the ends are."""
        even = np.linspace(self.low, self.high, self.num_bins)
        if self.low == -self.high:
            even = (even - even[::-1]) / 2.0
        size = np.abs(even)
        if self.transform == "symlog":
            return np.sign(even) * np.expm1(size)
        if not self.transform:
            return even
        epsilon = 1e-3
        root = np.sqrt(1.0 + 4.0 * epsilon * (size + 1.0 + epsilon))
        above = (2.0 * (size + epsilon) - (root - 1.0)) / (root + 1.0)
        return np.sign(even) * above * (above + 2.0)


class MLPWeights(NamedTuple):
    """Holds the weights of a `ResidualMLP`, all as arrays of floats.

    Attributes:
        stem: [D, features] and [D]: observation to latent, with a ReLU behind it.
        representation: blocks behind the stem.
        embedding: [A, H], added before the first ReLU of the first dynamics block, whose inner width is H.
        dynamics: blocks from a latent to the next, at least one.
        prediction: blocks in front of the heads.
        hidden: [hidden, D] and [hidden]: what all heads share, with a ReLU behind it.
        output: [A + value bins + reward bins, hidden] and the same without hidden: the logits, in this order.
    """

    stem: Layer
    representation: Sequence[Block]
    embedding: npt.ArrayLike
    dynamics: Sequence[Block]
    prediction: Sequence[Block]
    hidden: Layer
    output: Layer


class PackedLayer:
    """Holds a linear layer as the native code reads it; see `mcts/_mlp.h`.

    Args:
        name: what to call it in errors.
        inputs: numbers in.
        outputs: numbers out.
        rows: of the bias; the action embedding is a bias with one row for each action.
    """

    def __init__(self, name: str, inputs: int, outputs: int, rows: int = 1) -> None:
        from mcts._mlp import aligned_zeros

        self.name, self.inputs, self.shape = name, inputs, (outputs, inputs)
        self.outputs = -(-outputs // _PANEL) * _PANEL
        self.weight = aligned_zeros(self.outputs * inputs)
        self.bias = aligned_zeros(rows * self.outputs).reshape(rows, self.outputs)

    def check(self, layer: Layer) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Returns weight and bias as float32 arrays of this layer's shape, or raises what is wrong with them."""
        weight, bias = _pair(self.name, layer)
        return as_float32(f"{self.name}.weight", weight, self.shape), as_float32(
            f"{self.name}.bias", bias, self.shape[:1]
        )

    def load(self, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]) -> None:
        """Takes the numbers of a weight [outputs, inputs] and a bias [outputs] or [rows, outputs]."""
        outputs, inputs = self.shape
        self.bias[:, :outputs] = bias
        for begin in range(0, self.outputs, _TILE):
            width = min(_TILE, self.outputs - begin)
            tile = self.weight[begin * inputs : (begin + width) * inputs].reshape(inputs, width)
            part = weight[begin : begin + width]
            tile[:, : len(part)] = part.T


class ResidualMLP:
    """Evaluates a residual MLP world model natively, alone or inside a search.

    The model: a representation (stem and residual blocks) maps an observation to a latent, dynamics blocks map a latent
    and an action to the next latent, and one hidden layer on top of prediction blocks reads policy logits, value and
    reward off a latent. Numbers are float32. Those of one row are the same bit for bit in any batch, in any part of it
    and with any number of threads; between CPUs with other instruction sets the last bits may differ.

    Args:
        weights: the weights to start from; their shapes are the model's.
        value_support: of the value logits.
        reward_support: of the reward logits.
        latent_norm: how every latent is scaled, "rms" (root mean square 1) or "minmax" (to [0, 1]).
        change_sides: exchange the halves of the latent before the dynamics, as a move between two players may.
        instruction_set: one of `ResidualMLP.instruction_sets()`; None is the one that searches use, see
            `mcts.instruction_sets`.

    Raises:
        ValueError: a shape or an option is not one of those expected.
        TypeError: a weight is not an array of floats.
        ImportError: the native evaluator is not built.
    """

    def __init__(
        self,
        weights: MLPWeights,
        *,
        value_support: CategoricalSupport,
        reward_support: CategoricalSupport,
        latent_norm: str = "rms",
        change_sides: bool = False,
        instruction_set: str | None = None,
    ) -> None:
        """Packs the weights; see the class for the arguments."""
        native = _native_module()
        if latent_norm not in LATENT_NORMS:
            raise ValueError(f"latent_norm: expected one of {', '.join(LATENT_NORMS)}, got {latent_norm!r}")
        if len(weights.dynamics) == 0:
            raise ValueError("dynamics: expected at least one block, got none")
        self.width, self.observation_size = _weight_shape("stem", weights.stem)
        self.num_actions = len(np.atleast_1d(weights.embedding))
        num_logits = self.num_actions + value_support.num_bins + reward_support.num_bins
        numbers = value_support.numbers, reward_support.numbers
        orders = [np.arange(self.num_actions)]
        for bins in numbers:
            orders.append(sum(map(len, orders)) + _mirrored(bins))
        self._order = np.concatenate(orders)
        self._layers: dict[str, list[PackedLayer]] = {}
        inputs = self.observation_size
        for part, name, layer in _chain(weights):
            outputs = _weight_shape(name, layer)[0]
            if name.endswith("second"):
                outputs = self.width
            elif part == "output":
                outputs = num_logits
            rows = self.num_actions if name == _EMBEDDED else 1
            self._layers.setdefault(part, []).append(PackedLayer(name, inputs, outputs, rows))
            inputs = outputs
        self.load(weights)
        self._network = native.Network(
            self._layers,
            self.width,
            self.num_actions,
            change_sides=change_sides,
            minmax=latent_norm == "minmax",
            value=_bins(numbers[0], self.num_actions),
            reward=_bins(numbers[1], self.num_actions + value_support.num_bins),
            instruction_set=default_instruction_set() if instruction_set is None else instruction_set,
        )

    @staticmethod
    def instruction_sets() -> tuple[str, ...]:
        """Returns the names of the instruction sets that this machine can run, the fastest first."""
        return _native_module().instruction_sets()

    def load(self, weights: MLPWeights) -> None:
        """Replaces the weights in place: searches that go on later use the new ones.

        Nothing may be evaluated meanwhile. When an argument is refused, the old weights stay.

        Args:
            weights: of the same shapes.

        Raises:
            ValueError: a shape differs, or a number of blocks.
            TypeError: a weight is not an array of floats.
        """
        packed = [layer for part in PARTS for layer in self._layers.get(part, [])]
        given = list(_chain(weights))
        if [layer.name for layer in packed] != [name for _, name, _ in given]:
            raise ValueError(
                f"weights: expected the layers {', '.join(layer.name for layer in packed)}, "
                f"got {', '.join(name for _, name, _ in given)}"
            )
        checked = [layer.check(new) for layer, (_, _, new) in zip(packed, given, strict=True)]
        for layer, (weight, bias) in zip(packed, checked, strict=True):
            if layer.name == _EMBEDDED:
                bias = bias + as_float32("embedding", weights.embedding, (self.num_actions, len(bias)))
            elif layer.name == "output":
                weight, bias = weight[self._order], bias[self._order]
            layer.load(weight, bias)

    def initial(
        self, observations: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Evaluates observations.

        Args:
            observations: [B, ...] real numbers or bool, any dtype; as many for each as the stem has inputs.

        Returns:
            Latents [B, D], policy logits [B, A] and values [B], all float32.

        Raises:
            ValueError: the shape does not fit.
            TypeError: the elements are not real numbers.
        """
        array = np.asarray(observations)
        if array.dtype == np.bool_:
            array = array.astype(np.float32)
        if array.ndim < 2 or math.prod(array.shape[1:]) != self.observation_size:
            raise ValueError(
                f"observations: expected shape (B, {self.observation_size}), or more axes with as many numbers, "
                f"got {array.shape}"
            )
        flat = array.reshape(len(array), self.observation_size)
        return self._network.initial(as_float32("observations", flat, flat.shape))

    def recurrent(self, latents: npt.ArrayLike, actions: npt.ArrayLike) -> tuple[npt.NDArray[np.float32], ...]:
        """Evaluates one imagined step from explicit latents.

        Args:
            latents: [B, D] float, as returned before.
            actions: [B] integers in [0, A).

        Returns:
            Next latents [B, D], rewards [B], policy logits [B, A] and values [B], all float32.

        Raises:
            ValueError: a shape does not fit, or an action does not exist.
            TypeError: the elements are not numbers of the kind expected.
        """
        chosen = np.asarray(actions)
        rows = len(chosen) if chosen.ndim == 1 else -1
        if chosen.dtype.kind not in "iu":
            raise TypeError(f"actions: expected an array of integers, got dtype {chosen.dtype}")
        if rows < 0:
            raise ValueError(f"actions: expected shape (B,), got {chosen.shape}")
        if rows and not 0 <= chosen.min() <= chosen.max() < self.num_actions:
            raise ValueError(
                f"actions: expected numbers in [0, {self.num_actions}), got {chosen.min()}..{chosen.max()}"
            )
        states = as_float32("latents", latents, (rows, self.width))
        if rows == 0:
            return states, states[:, 0], np.zeros((0, self.num_actions), np.float32), states[:, 0]
        search = _native_module().Search(self._network, states, 2, 1.0, 1)
        out = search.evaluate(np.zeros(rows, np.int32), chosen.astype(np.int32), 1)
        return search.latents[1], out.reward, out.prior_logits, out.value

    def recurrent_fn(
        self, root_latent: npt.ArrayLike, num_nodes: int, discount: float, leaves_per_step: int = 1
    ) -> NativeRecurrentFn:
        """Makes the recurrent function of one search, with a pool of its own for the latents.

        The pool is the attribute `latents` of the function's owner, [N, B, D] float32 by node and root. Several
        functions may be used side by side, each by one search.

        Args:
            root_latent: [B, D] float, as returned by `initial`; copied.
            num_nodes: N, most nodes of one tree: simulations + 1, and those of a tree that was kept.
            discount: of every edge, in [-1, 1]; negative when a move hands over to the opponent.
            leaves_per_step: most leaves of one root that are evaluated together.

        Returns:
            What the policies take as `recurrent_fn`.

        Raises:
            ValueError: an argument is not in its range.
            TypeError: the latents are not an array of floats.
        """
        states = np.asarray(root_latent)
        if states.ndim != 2 or len(states) == 0:
            raise ValueError(f"root_latent: expected shape (B, {self.width}) with B >= 1, got {states.shape}")
        states = as_float32("root_latent", states, (len(states), self.width))
        for name, number, least in (("num_nodes", num_nodes, 2), ("leaves_per_step", leaves_per_step, 1)):
            if number < least:
                raise ValueError(f"{name}: expected a number >= {least}, got {number}")
        if max(num_nodes, leaves_per_step) * len(states) > _MAX_ROWS:
            raise ValueError(
                f"num_nodes: expected at most {_MAX_ROWS:,} latents, got {num_nodes} nodes, {leaves_per_step} "
                f"leaves of {len(states)} roots"
            )
        if not -1.0 <= discount <= 1.0:
            raise ValueError(f"discount: expected a number in [-1, 1], got {discount}")
        search = _native_module().Search(self._network, states, num_nodes, discount, leaves_per_step)
        return NativeRecurrentFn(search.address, search.context, search, search.evaluate)


def _native_module() -> Any:
    try:
        from mcts import _mlp
    except ImportError as error:
        raise ImportError(
            "the native evaluator mcts._mlp is not built; build it with `pip install -e .` (needs a C compiler)"
        ) from error
    return _mlp


def _chain(weights: MLPWeights) -> Iterator[tuple[str, str, Layer]]:
    """Yields part, name and numbers of every layer; each takes as many inputs as the one before it has outputs."""
    for part in PARTS:
        content = getattr(weights, part)
        if part in ("stem", "hidden", "output"):
            yield part, part, content
            continue
        for i, block in enumerate(content):
            for name, layer in zip(("first", "second"), _pair(f"{part}[{i}]", block), strict=True):
                yield part, f"{part}[{i}].{name}", layer


def _pair(name: str, content: Any) -> tuple[Any, Any]:
    if not isinstance(content, tuple | list) or len(content) != 2:
        what = "(first, second)" if name.endswith("]") else "(weight, bias)"
        raise TypeError(f"{name}: expected a pair {what}, got {type(content).__name__}")
    return content[0], content[1]


def _weight_shape(name: str, layer: Layer) -> tuple[int, int]:
    shape = np.shape(_pair(name, layer)[0])
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"{name}.weight: expected shape (outputs, inputs), got {shape}")
    return shape


def _mirrored(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Returns the order in which the native code has the bins of a support.

    Bins that are the same on both sides of 0 lie side by side, the positive one first. Where a distribution is even,
    the sums over the even lanes of a vector are then those over the odd lanes with the other sign, to the last bit.
    """
    size = len(numbers)
    if not np.array_equal(numbers, -numbers[::-1]):
        return np.arange(size)
    order = np.full(size, size // 2)  # what is left over is 0
    for k in range(size // 2):
        order[2 * k], order[2 * k + 1] = size - size // 2 + k, size // 2 - 1 - k
    return order


def _bins(numbers: npt.NDArray[np.float64], offset: int) -> tuple[npt.NDArray[np.float32], int, int]:
    """Returns the numbers of a support as the native code takes them, padded with zeros to whole panels."""
    bins = np.zeros(-(-len(numbers) // _PANEL) * _PANEL, np.float32)
    bins[: len(numbers)] = numbers[_mirrored(numbers)]
    return bins, offset, len(numbers)
