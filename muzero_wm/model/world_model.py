"""The world model: representation, dynamics, prediction, and the projector of the self-prediction loss.

It predicts policy, value and reward and is trained to foresee its own latent; nothing is ever reconstructed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from muzero_wm.config import ModelConfig
from muzero_wm.envs.base import EnvSpec
from muzero_wm.model.networks import normalize_latent
from muzero_wm.model.observation import Observation, Statistics
from muzero_wm.model.support import Support
from muzero_wm.model.torsos import make_torso


class Prediction(NamedTuple):
    """Logits read off one batch of latents."""

    policy_logits: Tensor  # [B, A]
    value_logits: Tensor  # [B, value bins]; seen by the player to move
    reward_logits: Tensor  # [B, reward bins]; of the edge into the latent, seen by the player who acted
    turn_logits: Tensor | None = None  # [B] that the player who acted moves again; None where turns follow from rules
    continues_logits: Tensor | None = None  # [B] that the episode goes on behind the latent; None without that head


class WorldModel(nn.Module):
    """Learned model of an environment in a latent space.

    Source: MuZero (arXiv:1911.08265); self-prediction after SPR (arXiv:2007.05929) and BYOL (arXiv:2006.07733).

    Between two players who do not alternate strictly, whose turn follows a move is one more prediction: the sign of the
    edge. Elsewhere the sign is known and nothing is added.

    With `model.dynamics_blocks` 0 nothing is imagined: there are no dynamics, and nothing for self-prediction. The
    logits of rewards stay where every reader of the output layer expects them.

    Args:
        config: sizes.
        spec: the environment's shapes.

    Attributes:
        torso: what kind of network it is, and how its latents are laid out.
        latent_shape: [channels] or [channels, H, W].
        imagines: there are dynamics.
        learns_turns: whose turn follows a move is predicted.
        learns_continues: whether the episode goes on is predicted.
    """

    def __init__(self, config: ModelConfig, spec: EnvSpec) -> None:
        """Builds the networks; see the class for the arguments."""
        super().__init__()
        self.config = config
        self.torso = make_torso(config, spec)
        self.observation_shape, self.num_actions = spec.observation_shape, spec.num_actions
        layout = self.torso.layout
        self.latent_shape = layout.shape
        self.value_support = Support.from_config(config.value_support)
        self.reward_support = Support.from_config(config.reward_support)
        self.learns_turns = spec.num_players == 2 and not spec.alternating
        sizes = [spec.num_actions, self.value_support.num_bins, self.reward_support.num_bins]
        self.learns_continues = config.continues
        sizes += [1] * (self.learns_turns + self.learns_continues)
        self.observation = Observation(config, spec, self.torso.spatial)
        # modules, of whatever kind the torso makes
        self.representation: Any = self.torso.representation()
        self.imagines = config.dynamics_blocks > 0
        self.dynamics: Any = self.torso.dynamics() if self.imagines else None
        self.heads: Any = self.torso.heads(tuple(sizes))
        self._promise(config.initial_value)
        width = config.projection_width
        # deviation of the value targets in training, and what differences of q are weighed against in the search
        self.value_spread: Tensor
        self.register_buffer("value_spread", torch.zeros(()))
        self.q_scale: Tensor
        self.register_buffer("q_scale", torch.zeros(()))
        foreseen = layout.channels("foreseen")
        if self.imagines:
            self.projector = nn.Linear(len(foreseen), width)
            self.predictor = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self._scaled: Tensor | None  # channels; None for all
        self._foreseen: Tensor | None
        for name, channels in (("_scaled", layout.channels("scaled")), ("_foreseen", foreseen)):
            some = None if len(channels) == layout.shape[0] else torch.tensor(channels)
            self.register_buffer(name, some, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are, and where observations and latents have to be."""
        return self.q_scale.device

    @torch.no_grad()
    def _promise(self, initial_value: float | None) -> None:
        """Sets the biases to what a new network says of values and rewards.

        Bins that are spaced by a transform begin with a narrow distribution: of an even one the noise of a new network
        would make large numbers, since the outermost bins are.
        """
        first = self.num_actions
        for support, scalar in ((self.value_support, initial_value), (self.reward_support, None)):
            if scalar is not None or support.transform:
                self.heads.output.bias[first : first + support.num_bins] = support.bump(scalar or 0.0)
            first += support.num_bins

    def normalize(self, statistics: Statistics, seen: int) -> None:
        """Normalises observations by these statistics from now on; predictions stay as they are, see `Observation`.

        Args:
            statistics: of observations.
            seen: observations seen so far.
        """
        stem = getattr(self.representation, "stem", None)
        if stem is None or self.observation.waiting:
            self.observation.take(statistics, seen)
        else:
            self.observation.renew(statistics, seen, stem.weight, stem.bias)

    def represent(self, observation: Tensor) -> Tensor:
        """Returns the latent of an observation.

        Args:
            observation: [B, *observation_shape], any real dtype.

        Returns:
            [B, *latent_shape] scaled latent.
        """
        x = self.observation(observation).to(next(self.representation.parameters()).dtype)
        if self.torso.spatial:
            x = x.contiguous(memory_format=torch.channels_last)
        return self._scale(self.representation(x))

    def step(self, latent: Tensor, action: Tensor) -> Tensor:
        """Returns the next latent after `action` [B] int64 in `latent` [B, *latent_shape]."""
        return self._scale(self.dynamics(latent, action))

    def _scale(self, latent: Tensor) -> Tensor:
        """Normalises the slices of a latent that are to be."""
        if self._scaled is None:
            return normalize_latent(latent, self.config.latent_norm)
        scaled = normalize_latent(latent.index_select(1, self._scaled), self.config.latent_norm)
        return latent.index_copy(1, self._scaled, scaled)

    def predict(self, latent: Tensor) -> Prediction:
        """Returns the logits of `latent` [B, *latent_shape]; those of turn and continues where they are learnt."""
        policy, value, reward, *more = self.heads(latent)
        continues = more.pop().squeeze(1) if self.learns_continues else None
        return Prediction(policy, value, reward, more[0].squeeze(1) if more else None, continues)

    def project(self, latent: Tensor, cells: Tensor | None = None) -> Tensor:
        """Returns the projection that self-prediction compares.

        Every cell of a board is projected by itself, so that one misplaced stone shows; a vector is one cell.

        Args:
            latent: [B, *latent_shape].
            cells: [c] int64, which cells of a board; None for all.

        Returns:
            [B, c, projection_width].
        """
        if self._foreseen is not None:
            latent = latent.index_select(1, self._foreseen)
        x = latent.flatten(2).transpose(1, 2) if latent.ndim > 2 else latent.unsqueeze(1)
        return self.projector(x if cells is None else x.index_select(1, cells))


def edge_sign(turn_logits: Tensor) -> Tensor:
    """Returns the sign of edges into latents: the factor that the discount of a search takes from them.

    It is the expected sign, 2 p - 1 with p the probability that the player who acted moves again. A rule without chance
    drives p to 0 or 1 and the factor to -1 or 1. Until then the expectation is the honest choice: a value of which
    nobody knows whose it is counts for nothing, and a small change of weights changes the search a little; a sign that
    is rounded to the likelier side would turn whole subtrees upside down at p = 0.5.

    Args:
        turn_logits: [B] floating point.

    Returns:
        [B] float32 in [-1, 1].
    """
    return torch.tanh(0.5 * turn_logits.float())
