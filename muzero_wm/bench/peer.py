"""The same search by mctx, for a ratio measured in one run; mctx comes with the extra `mctx`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import mctx

from mcts import RecurrentOutput

_POLICIES = {"puct": mctx.muzero_policy, "gumbel": mctx.gumbel_muzero_policy}


def mctx_search(policy: str, outputs: Sequence[RecurrentOutput], num_simulations: int, seed: int) -> Callable[[], Any]:
    """Compiles a search with a free network.

    Args:
        policy: "puct" or "gumbel".
        outputs: the answers of the network, taken in turn.
        num_simulations: S.
        seed: of the noise.

    Returns:
        A function that searches once and waits for the result.
    """
    logits = jnp.stack([jnp.asarray(output.prior_logits) for output in outputs])
    values = jnp.stack([jnp.asarray(output.value) for output in outputs])
    num_roots = values.shape[1]

    def recurrent_fn(params: Any, key: Any, action: Any, embedding: Any) -> Any:
        which = embedding[:, 0] % len(outputs)
        rows = jnp.arange(num_roots)
        output = mctx.RecurrentFnOutput(
            reward=jnp.zeros(num_roots),
            discount=jnp.ones(num_roots),
            prior_logits=logits[which, rows],
            value=values[which, rows],
        )
        return output, embedding + action[:, None] + 1

    @jax.jit
    def search(key: Any) -> Any:
        embedding = jnp.zeros((num_roots, 1), jnp.int32)
        root = mctx.RootFnOutput(prior_logits=logits[0], value=values[0], embedding=embedding)
        return _POLICIES[policy]((), key, root, recurrent_fn, num_simulations).action_weights

    key = jax.random.PRNGKey(seed)
    return lambda: search(key).block_until_ready()
