"""Torsos by name: which network, and how its latents are laid out. PyTorch is imported by what makes networks.

A torso is a recipe. It names the parts of a latent and makes the stages of the network: from observations to latents,
from a latent and an action to the next one, and from latents to logits. Whoever wants to know what kind of network a
model is (the learner, the backends, the settings that follow from an environment) asks its torso.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from muzero_wm.basis.errors import UserError
from muzero_wm.basis.registry import PREFERRED_TORSOS, TORSOS
from muzero_wm.config import ModelConfig
from muzero_wm.envs.base import EnvSpec

if TYPE_CHECKING:
    from torch import nn

_LARGEST_BOARD = 32  # cells on a side, for convolutions at full resolution
_LARGEST_GRID = 20  # the same where one player looks at it: what is larger is a picture
_LARGEST_IMAGE = 256  # pixels on a side
_LARGEST_LATENT = 8  # cells on a side, of an image
_SMALL_BOARD = 36  # cells


class Slice(NamedTuple):
    """Some channels of a latent.

    Attributes:
        name: what they hold.
        channels: how many.
        scaled: they are normalised, all such slices together; others stay as the stages leave them.
        foreseen: self-prediction compares them.
    """

    name: str
    channels: int
    scaled: bool = True
    foreseen: bool = True


@dataclass(frozen=True)
class Layout:
    """How a latent is laid out: slices of channels, one behind the other.

    Attributes:
        slices: their names and sizes.
        cells: [H, W] of a board, each with all channels; () for a vector.
    """

    slices: tuple[Slice, ...]
    cells: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Checks that there is something to scale and to compare."""
        names = [part.name for part in self.slices]
        if len(set(names)) < len(names) or any(part.channels < 1 for part in self.slices):
            raise ValueError(f"slices: expected different names and at least one channel each, got {self.slices}")
        for what in ("scaled", "foreseen"):
            if not self.channels(what):
                raise ValueError(f"slices: expected at least one that is {what}, got {self.slices}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one latent: [channels] or [channels, H, W]."""
        return (sum(part.channels for part in self.slices), *self.cells)

    def of(self, name: str) -> slice:
        """Returns the channels of one slice: `latent[:, layout.of("board")]` holds it."""
        first = 0
        for part in self.slices:
            if part.name == name:
                return slice(first, first + part.channels)
            first += part.channels
        raise KeyError(name)

    def channels(self, what: str) -> tuple[int, ...]:
        """Returns the channels that are "scaled", or "foreseen"."""
        return tuple(
            channel
            for part in self.slices
            if getattr(part, what)
            for channel in range(*self.of(part.name).indices(self.shape[0]))
        )


class Torso(ABC):
    """One kind of network for one environment.

    A subclass says the layout and makes the stages; it is registered by `register_torso` and named by `model.torso`.
    What it makes is trained, saved, snapshot and searched like the built-in ones.

    Args:
        config: widths and numbers of blocks.
        spec: the environment's shapes.

    Attributes:
        name: by which it was asked for.
        layout: of its latents.

    Raises:
        UserError: the environment's observations do not suit it.
    """

    spatial: ClassVar[bool] = False
    """It is made of convolutions, over observations [C, H, W] and latents of cells.

    Observations are then normalised channel by channel, memory is laid out channels last, and bf16 pays where the
    processor has it.
    """

    def __init__(self, name: str, config: ModelConfig, spec: EnvSpec) -> None:
        """Keeps the arguments; see the class."""
        if (needs := self.refuses(spec)) is not None:
            fits = "; auto takes what fits" if len(spec.observation_shape) != 3 else ""
            raise UserError(f"model.torso: {name} needs {needs}, {spec.name} has {list(spec.observation_shape)}{fits}")
        self.name, self.config, self.spec = name, config, spec
        self.layout = self.lay_out()

    def __deepcopy__(self, memo: dict[int, Any]) -> Torso:
        """Returns itself: a recipe does not change, and a snapshot of a model takes it along."""
        return self

    @classmethod
    def refuses(cls, spec: EnvSpec) -> str | None:
        """Returns what observations it needs where those of an environment do not suit it, None where they do."""
        return None

    @classmethod
    def suggests(cls, spec: EnvSpec) -> tuple[str, dict[str, Any]] | None:
        """Returns why it is a good choice for an environment and with which settings; None where it is none."""
        return None

    @abstractmethod
    def lay_out(self) -> Layout:
        """Returns the layout of its latents."""

    @abstractmethod
    def representation(self) -> nn.Module:
        """Makes what returns the latents [B, *layout.shape], unscaled, of observations [B, *observation_shape].

        Its attribute `stem`, if there is one, is the linear or convolutional layer that sees observations first: as
        their statistics are renewed it is changed along, so that no prediction jumps.
        """

    @abstractmethod
    def dynamics(self) -> nn.Module:
        """Makes what returns the next latents, unscaled, of latents [B, *layout.shape] and actions [B] int64."""

    def heads(self, sizes: tuple[int, ...]) -> nn.Module:
        """Makes what returns logits [B, size] of latents [B, *layout.shape], one for each of `sizes`.

        Its attribute `output` is the layer of all of them side by side.
        """
        from muzero_wm.model.networks import Heads

        return Heads(self.config, self.layout.shape, sizes, conv=bool(self.layout.cells))

    @property
    def changes_sides(self) -> bool:
        """Whether a move makes what is mine yours: between two players who alternate, unless the settings say no."""
        return self.config.change_sides and self.spec.num_players == 2 and self.spec.alternating


class MLP(Torso):
    """Residual linear layers over all numbers of an observation."""

    @classmethod
    def suggests(cls, spec: EnvSpec) -> tuple[str, dict[str, Any]] | None:
        """Suits everything; of what lies beside what it knows nothing."""
        shape = spec.observation_shape
        features = math.prod(shape)
        why = f"{features} numbers"
        if len(shape) == 3:
            why = f"a strip of {shape[1]}x{shape[2]}, no image"
        return why, {"width": 128 if features <= 256 else 256, "projection_width": 64}

    def lay_out(self) -> Layout:
        """One slice of features."""
        return Layout((Slice("features", self.config.width),))

    def representation(self) -> nn.Module:
        """Makes a linear layer and blocks."""
        from muzero_wm.model.networks import Representation

        return Representation(self.config, self.spec.observation_shape, self.spatial)

    def dynamics(self) -> nn.Module:
        """Makes blocks that actions enter by an embedding."""
        from muzero_wm.model.networks import Dynamics

        return Dynamics(self.config, self.layout.shape, self.spec.num_actions, self.spatial, self.changes_sides)


class Conv(MLP):
    """The same with 3x3 convolutions at full resolution, for boards, grids and small images.

    It is chosen for sides of up to 20 cells, for boards of two players for up to 32.
    """

    spatial = True

    @classmethod
    def refuses(cls, spec: EnvSpec) -> str | None:
        """Needs a board or an image."""
        return None if len(spec.observation_shape) == 3 else "an observation of shape [C, H, W]"

    @classmethod
    def suggests(cls, spec: EnvSpec) -> tuple[str, dict[str, Any]] | None:
        """Suits boards, grids and small images."""
        shape = spec.observation_shape
        if cls.refuses(spec) is not None or max(shape[1:]) > _LARGEST_BOARD or _is_image(spec):
            return None
        blocks = 1 if spec.num_players == 1 or math.prod(shape[1:]) <= _SMALL_BOARD else 2
        return f"{shape[0]} planes of {shape[1]}x{shape[2]}", {
            "width": 32,
            "representation_blocks": blocks,
            "dynamics_blocks": blocks,
            "prediction_blocks": 1 if spec.num_players == 2 else 0,
            "projection_width": 64,
        }

    def lay_out(self) -> Layout:
        """One slice over the cells of the observation."""
        return Layout((Slice("board", self.config.width),), self.spec.observation_shape[1:])


class Pixels(Conv):
    """Convolutions with strides from an image to a latent of a few cells, and from there on what a board has.

    Each stage halves the sides that are longer than 8, until none is: 96x96 becomes 6x6, 64x64 becomes 8x8, 210x160
    becomes 7x5. The first stage has half of `model.width` channels, all others have all of them, and behind each are
    `model.representation_blocks` residual blocks. It is chosen for images with a side above 20, of two players above
    32, and takes sides of up to 256.
    """

    @classmethod
    def refuses(cls, spec: EnvSpec) -> str | None:
        """Needs an image that is not too large."""
        if (needs := super().refuses(spec)) is not None or max(spec.observation_shape[1:]) <= _LARGEST_IMAGE:
            return needs
        return f"sides of at most {_LARGEST_IMAGE} (resize=96 in the name of the environment makes it smaller)"

    @classmethod
    def suggests(cls, spec: EnvSpec) -> tuple[str, dict[str, Any]] | None:
        """Suits images; one that is too large is told of when the network is made, not learnt as flat numbers."""
        if not _is_image(spec):
            return None
        channels, *sides = spec.observation_shape
        cells = _after(sides, _strides(sides))
        why = (
            f"an image of {channels} x {sides[0]}x{sides[1]}, a side above {_LARGEST_GRID}: halved down to "
            f"{cells[0]}x{cells[1]} cells"
        )
        return why, {
            "width": 32,
            "representation_blocks": 1,
            "dynamics_blocks": 1,
            "prediction_blocks": 0,
            "batch_norm": True,
            "projection_width": 64,
        }

    def lay_out(self) -> Layout:
        """One slice over the cells that are left of the image."""
        sides = self.spec.observation_shape[1:]
        return Layout((Slice("image", self.config.width),), _after(sides, _strides(sides)))

    def representation(self) -> nn.Module:
        """Makes the convolutions with strides and their blocks."""
        from muzero_wm.model.networks import Shrinking

        shape = self.spec.observation_shape
        return Shrinking(self.config, shape, _strides(shape[1:]))


def _is_image(spec: EnvSpec) -> bool:
    """Returns whether an observation is too large a picture for full resolution; thin strips are none."""
    shape, largest = spec.observation_shape, _LARGEST_GRID if spec.num_players == 1 else _LARGEST_BOARD
    return len(shape) == 3 and max(shape[1:]) > largest and min(shape[1:]) > _LARGEST_LATENT


def _strides(sides: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Returns the strides of height and width, stage by stage, that bring no side above a latent's; one at least."""
    strides: list[tuple[int, int]] = []
    while not strides or max(sides) > _LARGEST_LATENT:
        height, width = (1 + (side > _LARGEST_LATENT) for side in sides)
        strides.append((height, width))
        sides = _after(sides, strides[-1:])
    return tuple(strides)


def _after(sides: Sequence[int], strides: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Returns the sides that strides leave; each rounds up."""
    for stride in strides:
        sides = [-(-side // step) for side, step in zip(sides, stride, strict=True)]
    return tuple(sides)


def make_torso(config: ModelConfig, spec: EnvSpec) -> Torso:
    """Returns the torso that a configuration names; for "auto" the first of the built-in ones that suits.

    Args:
        config: its `torso`, and the sizes.
        spec: the environment's shapes.

    Raises:
        UserError: there is no such torso, or the environment does not suit it.
    """
    name = config.torso
    if name == "auto":
        name = next(known for known in PREFERRED_TORSOS if TORSOS.find(known).suggests(spec) is not None)
    made: Torso = TORSOS.find(name)(name, config, spec)
    return made


def register_torso(name: str, torso: type[Torso]) -> type[Torso]:
    """Makes a torso of one's own known as `model.torso`.

    Args:
        name: lower case letters, digits, - and _.
        torso: a class at the top of a module, so that the process which plays finds it too.

    Returns:
        The class.

    Raises:
        UserError: the name is taken or cannot be one, or the class is no torso.
    """
    if not (isinstance(torso, type) and issubclass(torso, Torso)):
        raise UserError(f"register_torso: expected a subclass of Torso for {str(name)[:60]!r}, got {str(torso)[:60]!r}")
    TORSOS.register(name, torso)
    return torso
