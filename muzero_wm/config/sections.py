"""Settings of the model and of its search, and what all sections are made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from muzero_wm.basis.registry import TORSOS

# No number is without an upper end: a configuration may come from a stranger, and a slip of the finger is told better
# than an allocation that fails.
Count = Annotated[StrictInt, Field(ge=0, le=10**15)]
Positive = Annotated[StrictInt, Field(ge=1, le=10**15)]
Size = Annotated[StrictInt, Field(ge=1, le=65_536)]
Simulations = Annotated[StrictInt, Field(ge=1, le=100_000)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0, le=1e6)]
Transform = Literal[False, True, "symlog"]
MAX_SYMLOG = 40.0  # e^40 and what is computed with it are far from the end of float32


class Section(BaseModel):
    """Refuses unknown keys, infinities and later changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is float:
            raise ValueError(f"expected a number, got {value}")
        return value


class SupportConfig(Section):
    """Bins of a categorical scalar."""

    low: float = Field(-1.0, description="value of the first bin, after the transform")
    high: float = Field(1.0, description="value of the last bin, after the transform")
    num_bins: Annotated[StrictInt, Field(ge=2, le=2001)] = Field(3, description="bins, both ends included")
    transform: Transform = Field(
        False, description="bins are spaced evenly: as they are; in MuZero's h(x); in symlog(x), which reaches farthest"
    )

    @model_validator(mode="after")
    def _ordered(self) -> SupportConfig:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be smaller than high ({self.high})")
        largest = max(abs(self.low), abs(self.high))
        if self.transform == "symlog" and largest > MAX_SYMLOG:
            raise ValueError(
                f"low, high: with symlog from -{MAX_SYMLOG:g} to {MAX_SYMLOG:g}, got {self.low}, {self.high}"
            )
        if (self.high - self.low) / (self.num_bins - 1) < 1e-5 * largest:
            raise ValueError(f"{self.num_bins} bins from {self.low} to {self.high} are too close together; take fewer")
        return self


class ModelConfig(Section):
    """World model: representation, dynamics, prediction, projector."""

    torso: str = Field(
        "auto",
        description="mlp, conv, pixels or a registered one; auto: pixels for images with a side above 20 (two players: "
        "32), conv for boards and smaller images, else mlp",
    )
    width: Annotated[StrictInt, Field(ge=4, le=4096)] = Field(
        128, description="hidden width (mlp) or channels (conv, pixels)"
    )
    representation_blocks: Annotated[StrictInt, Field(ge=0, le=1000)] = Field(
        1, description="residual blocks from observation to latent (pixels: in each of its stages)"
    )
    dynamics_blocks: Annotated[StrictInt, Field(ge=0, le=1000)] = Field(
        1, description="residual blocks from latent and action to the next latent; 0 with search.model rules: nothing"
    )
    prediction_blocks: Annotated[StrictInt, Field(ge=0, le=1000)] = Field(
        1, description="residual blocks shared by the heads"
    )
    head_width: Size = Field(128, description="hidden width of the heads")
    continues: StrictBool = Field(
        False, description="a head for whether the episode goes on after each imagined step; no search uses it"
    )
    batch_norm: StrictBool = Field(False, description="batch norm in the residual blocks (folded for inference)")
    change_sides: StrictBool = Field(True, description="two players: a move exchanges the halves of the channels")
    observation: Literal["auto", "raw", "scale", "normalize"] = Field(
        "auto", description="before the first layer: as it is, divided by its bounds, or by statistics of the replay"
    )
    latent_norm: Literal["rms", "minmax"] = Field("rms", description="how each latent is scaled")
    value_support: SupportConfig = SupportConfig()
    reward_support: SupportConfig = SupportConfig()
    initial_value: float | None = Field(
        None,
        description="what a new network promises everywhere; high is optimistic; null: 0, or the middle of even bins",
    )
    projection_width: Size = Field(256, description="width of the self-prediction space")
    ema_decay: Fraction = Field(0.99, description="teacher decay per update; 0 stop-gradient, 1 frozen")

    @field_validator("torso")
    @classmethod
    def _known_torso(cls, value: str) -> str:
        if value not in ("auto", *TORSOS.names):
            raise ValueError(TORSOS.unknown(value, "auto"))
        return value


class SearchConfig(Section):
    """Tree search, while acting and by default at evaluation."""

    algorithm: Literal["gumbel", "puct"] = "gumbel"
    model: Literal["learned", "rules"] = Field(
        "learned",
        description="what the search looks ahead with: the learned dynamics, or the true rules of a board game, and "
        "then no dynamics are learnt (docs/rules.md)",
    )
    num_simulations: Simulations = Field(32, description="simulations per move")
    max_num_considered_actions: Simulations = Field(16, description="gumbel: actions sampled at the root")
    stored_value: Literal["auto", "mean", "improved"] = Field(
        "auto",
        description="of a searched position, for targets and bootstraps: mean over all visits, or of the improved "
        "policy; auto: improved for one player, mean for two",
    )
    symmetries: StrictBool = Field(
        False,
        description="boards: the mean of the network's opinions of all mirrors and turns, for as many times the work",
    )
    max_depth: Simulations | None = Field(None, description="longest path in edges; unlimited when empty")
    tree: Literal["auto", "host", "device"] = Field(
        "auto", description="where trees grow: auto takes the device of the network where that is a GPU"
    )
    discount: Fraction = Field(1.0, description="per step; for two players the edge carries its negative")
    value_scale: Annotated[float, Field(gt=0.0)] = Field(0.1, description="gumbel: c_scale of sigma")
    maxvisit_init: Annotated[float, Field(ge=0.0)] = Field(50.0, description="gumbel: c_visit of sigma")
    rescale_floor: Annotated[float, Field(gt=0.0)] = Field(
        1e-8, description="gumbel: smallest range of q that is stretched to [0, 1]"
    )
    rescale_share: Weight = Field(
        0.0, description="gumbel: the same as a share of the deviation of the values learnt, where that is larger"
    )
    final_rescale_share: Weight | None = Field(
        None, description="gumbel: that share at the end of the budget, reached by a geometric decay; null: the same"
    )
    qtransform: Literal["siblings", "min_max", "tree_min_max"] = Field(
        "siblings", description="puct: normalisation of q (min_max takes the environment's value bounds)"
    )
    dirichlet_fraction: Fraction = Field(0.25, description="puct: share of noise in the root prior")
    dirichlet_alpha: Annotated[float, Field(gt=0.0)] = Field(0.3, description="puct: concentration of the noise")
    pb_c_init: Annotated[float, Field(ge=0.0)] = 1.25
    pb_c_base: Annotated[float, Field(gt=0.0)] = 19652.0
    temperature: Annotated[float, Field(ge=0.0)] = Field(1.0, description="puct: of the move drawn while acting")
    temperature_moves: Count = Field(30, description="puct: moves of a game drawn with the temperature, then greedy")
