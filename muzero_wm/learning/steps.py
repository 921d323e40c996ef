"""One step of optimiser and teacher, left out without a trace where a number is not finite.

On the CPU one looks first. A device works through a queue, and looking would stop it: there everything is computed
either way, and what must not happen is undone by the numbers themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from muzero_wm.config import LearningConfig
from muzero_wm.learning.optimizers import make_optimizer
from muzero_wm.model.ema import update_teacher


class Stepper:
    """Turns gradients into weights.

    Args:
        model: being trained.
        teacher: follows it.
        config: optimiser and clipping.
        decay: of the teacher.
        device: where they are.
        heads: what is trained besides the model, and nobody follows.

    Attributes:
        looks: whether an update is looked at before it is made.
    """

    def __init__(
        self,
        model: nn.Module,
        teacher: nn.Module,
        config: LearningConfig,
        decay: float,
        device: torch.device,
        heads: nn.Module | None = None,
    ) -> None:
        """Makes the optimiser; see the class for the arguments."""
        self.looks = device.type == "cpu"
        self._model, self._teacher, self._decay, self._clip_norm = model, teacher, decay, config.clip_norm
        trained = (model,) if heads is None else (model, heads)
        self._named = [pair for network in trained for pair in network.named_parameters()]
        self._weights = [weight for _, weight in self._named]
        # a forward pass alone moves them, the teacher's too
        self._statistics = [
            buffer
            for network in (*trained, teacher)
            for module in network.modules()
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
            for buffer in module.buffers()
        ]
        self._before: list[Tensor] = []
        self.optimizer = make_optimizer(self._weights, config, device)
        self._begin_momentum()

    def begin(self, rate: float) -> None:
        """Prepares for the forward pass of an update.

        Args:
            rate: learning rate of the update.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._before = [buffer.clone() for buffer in self._statistics]

    def gradient(self, loss: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the gradient of a loss.

        Args:
            loss: [] scalar.

        Returns:
            Its norm [], and the norms [P] of what the weights that it reaches get, in the order of `named`.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norms = torch.stack(torch._foreach_norm([weight.grad for weight in self._weights if weight.grad is not None]))
        return torch.linalg.vector_norm(norms), norms

    def named(self) -> list[str]:
        """Returns the names of the weights that the last gradient reaches."""
        return [name for name, weight in self._named if weight.grad is not None]

    def step(self, norm: Tensor, good: Tensor) -> None:
        """Makes the update that `begin` and `gradient` prepared, or leaves everything as it was at `begin`.

        Args:
            norm: [] of the gradient.
            good: [] bool, whether it may be made.
        """
        if self.looks and not good:
            for buffer, before in zip(self._statistics, self._before, strict=True):
                buffer.copy_(before)
            return
        torch.nn.utils.clip_grads_with_norm_(self._weights, self._clip_norm, norm)
        if self.looks:
            self.optimizer.step()
            update_teacher(self._teacher, self._model, self._decay)
            return
        # the fused kernels leave weights, moments and their counts alone where it is 1
        self.optimizer.grad_scale, self.optimizer.found_inf = None, (~good).float()  # type: ignore[attr-defined]
        self.optimizer.step()
        for buffer, before in zip(self._statistics, self._before, strict=True):
            torch.where(good, buffer, before, out=buffer)
        update_teacher(self._teacher, self._model, self._decay, good)

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restores the optimiser's state, perhaps of another device."""
        fused = [group["fused"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state)
        for group, before in zip(self.optimizer.param_groups, fused, strict=True):
            group["fused"] = before
        for weight, kept in self.optimizer.state.items():
            for name, tensor in kept.items():
                if isinstance(tensor, Tensor):
                    # a copy of its own, and laid out like its weight: the fused optimiser walks through memory
                    like = weight.detach() if tensor.shape == weight.shape else tensor
                    kept[name] = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
        self._begin_momentum()

    def _begin_momentum(self) -> None:
        """Has momentum begin at 0: a first step that is left out would leave a fused one with any numbers at all."""
        group = self.optimizer.param_groups[0]
        if self.looks or not isinstance(self.optimizer, torch.optim.SGD) or not group["momentum"]:
            return
        for weight in self._weights:
            if self.optimizer.state[weight].get("momentum_buffer") is None:
                self.optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
