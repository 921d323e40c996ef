"""A network of the size that Atari takes, for timing searches: in PyTorch, and the same in JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mcts.device import RecurrentTensors

CHANNELS, SIDE, HIDDEN, BINS = 64, 6, 32, 601


def weights(num_actions: int, seed: int) -> dict[str, Tensor]:
    """Draws the weights: dynamics of one convolution and one block, one block of prediction, three heads.

    Source: the sizes are those of EfficientZero (arXiv:2111.00210), appendix A; batch norm is folded away.

    Args:
        num_actions: A.
        seed: of the weights.

    Returns:
        Convolutions [out, in, k, k] and matrices [in, out] by name, float32.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, fan_in: int) -> Tensor:
        return torch.randn(shape, generator=generator) * (2.0 / fan_in) ** 0.5

    convolutions = {
        name: draw(CHANNELS, inputs, 3, 3, fan_in=9 * inputs)
        for name, inputs in (
            ("enter", CHANNELS + 1),
            ("first", CHANNELS),
            ("second", CHANNELS),
            ("third", CHANNELS),
            ("fourth", CHANNELS),
        )
    }
    heads: dict[str, Tensor] = {}
    for name, outputs in (("policy", num_actions), ("value", BINS), ("reward", BINS)):
        heads[f"{name}.squeeze"] = draw(16, CHANNELS, 1, 1, fan_in=CHANNELS)
        heads[f"{name}.hidden"] = draw(16 * SIDE * SIDE, HIDDEN, fan_in=16 * SIDE * SIDE)
        heads[f"{name}.output"] = draw(HIDDEN, outputs, fan_in=HIDDEN)
    return convolutions | heads


def operations(num_actions: int) -> float:
    """Returns the multiplications and additions of one recurrent call for one root."""
    cells = SIDE * SIDE
    convolutions = 2 * 9 * cells * CHANNELS * (5 * CHANNELS + 1)
    heads = 3 * 2 * cells * 16 * CHANNELS + 3 * 2 * cells * 16 * HIDDEN + 2 * HIDDEN * (num_actions + 2 * BINS)
    return float(convolutions + heads)


def torch_network(
    num_actions: int, device: torch.device, seed: int = 0
) -> Callable[[Tensor, Tensor], RecurrentTensors]:
    """Returns the network for `mcts.device`; latents are [B, 6, 6, 64], bfloat16 on a GPU and float32 on a CPU."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    drawn = {name: weight.to(device, dtype) for name, weight in weights(num_actions, seed).items()}
    for name, weight in drawn.items():
        if weight.ndim == 4:
            drawn[name] = weight.contiguous(memory_format=torch.channels_last)
    planes = torch.linspace(0.0, 1.0, num_actions, device=device, dtype=dtype)
    bins = torch.linspace(-300.0, 300.0, BINS, device=device)

    def conv(x: Tensor, name: str) -> Tensor:
        return functional.conv2d(x, drawn[name], padding=1)

    def head(x: Tensor, name: str) -> Tensor:
        squeezed = torch.relu(functional.conv2d(x, drawn[f"{name}.squeeze"])).permute(0, 2, 3, 1).flatten(1)
        return (torch.relu(squeezed @ drawn[f"{name}.hidden"]) @ drawn[f"{name}.output"]).float()

    def network(latents: Tensor, actions: Tensor) -> RecurrentTensors:
        x = latents.permute(0, 3, 1, 2)  # channels last, as it is stored
        plane = planes[actions].view(-1, 1, 1, 1).expand(-1, 1, SIDE, SIDE)
        x = torch.relu(conv(torch.cat([x, plane], 1).contiguous(memory_format=torch.channels_last), "enter") + x)
        x = torch.relu(conv(torch.relu(conv(x, "first")), "second") + x)
        low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
        following = (x - low) / (high - low + 1e-5)
        y = torch.relu(conv(torch.relu(conv(following, "third")), "fourth") + following)
        reward, value = (head(y, name).softmax(1) @ bins for name in ("reward", "value"))
        return RecurrentTensors(
            following.permute(0, 2, 3, 1), reward, torch.full_like(value, 0.997), head(y, "policy"), value
        )

    return network


def mctx_search(
    policy: str, num_actions: int, num_roots: int, num_simulations: int, seed: int = 0
) -> Callable[[], Any]:
    """Compiles the search of mctx with the same network.

    Returns:
        A function that searches once and waits for the result.
    """
    import jax
    import jax.numpy as jnp
    import mctx

    dtype = jnp.bfloat16
    drawn = {name: jnp.asarray(weight.numpy(), dtype) for name, weight in weights(num_actions, seed).items()}
    planes = jnp.linspace(0.0, 1.0, num_actions).astype(dtype)
    bins = jnp.linspace(-300.0, 300.0, BINS)

    def conv(x: Any, weight: Any) -> Any:
        kernel = jnp.transpose(weight, (2, 3, 1, 0))
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def head(x: Any, name: str) -> Any:
        squeezed = jax.nn.relu(conv(x, drawn[f"{name}.squeeze"])).reshape(x.shape[0], -1)
        hidden = jax.nn.relu(squeezed @ drawn[f"{name}.hidden"])
        return (hidden @ drawn[f"{name}.output"]).astype(jnp.float32)

    def recurrent_fn(params: Any, key: Any, action: Any, embedding: Any) -> Any:
        x = embedding
        plane = jnp.broadcast_to(planes[action][:, None, None, None], (*x.shape[:3], 1))
        x = jax.nn.relu(conv(jnp.concatenate([x, plane], 3), drawn["enter"]) + x)
        x = jax.nn.relu(conv(jax.nn.relu(conv(x, drawn["first"])), drawn["second"]) + x)
        low, high = x.min((1, 2, 3), keepdims=True), x.max((1, 2, 3), keepdims=True)
        following = (x - low) / (high - low + jnp.asarray(1e-5, dtype))
        y = jax.nn.relu(conv(jax.nn.relu(conv(following, drawn["third"])), drawn["fourth"]) + following)
        reward, value = (jax.nn.softmax(head(y, name)) @ bins for name in ("reward", "value"))
        output = mctx.RecurrentFnOutput(
            reward=reward, discount=jnp.full_like(value, 0.997), prior_logits=head(y, "policy"), value=value
        )
        return output, following

    policies = {"puct": mctx.muzero_policy, "gumbel": mctx.gumbel_muzero_policy}

    @jax.jit
    def search(key: Any) -> Any:
        embedding = jax.random.uniform(key, (num_roots, SIDE, SIDE, CHANNELS)).astype(dtype)
        root = mctx.RootFnOutput(
            prior_logits=jnp.zeros((num_roots, num_actions)), value=jnp.zeros(num_roots), embedding=embedding
        )
        return policies[policy]((), key, root, recurrent_fn, num_simulations).action_weights

    key = jax.random.PRNGKey(seed)
    return lambda: search(key).block_until_ready()
