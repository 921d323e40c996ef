"""MLP world models evaluated natively agree with PyTorch, whatever their architecture."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mcts
from muzero_wm import envs
from muzero_wm.config import ModelConfig, SupportConfig
from muzero_wm.envs.base import EnvSpec
from muzero_wm.inference.native import NativeInference, NativeModel, build_mlp, supported
from muzero_wm.model.world_model import WorldModel

pytest.importorskip("mcts._mlp")

TICTACTOE = envs.spec("tictactoe")


def randomise(model: WorldModel, seed: int) -> WorldModel:
    """Moves all weights and statistics away from where they start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(generator=generator)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0, generator=generator)
    return model


def build(seed: int = 0, spec: EnvSpec = TICTACTOE, **config: object) -> WorldModel:
    settings = {"torso": "mlp", "width": 32, "head_width": 32, "projection_width": 8, **config}
    return randomise(WorldModel(ModelConfig(**settings), spec).eval(), seed)  # type: ignore[arg-type]


@torch.inference_mode()
def by_torch(model: WorldModel, latent: torch.Tensor) -> NativeInference:
    prediction = model.predict(latent)
    return NativeInference(
        latent.numpy(),
        model.reward_support.decode(prediction.reward_logits).numpy(),
        prediction.policy_logits.numpy(),
        model.value_support.decode(prediction.value_logits).numpy(),
    )


def assert_agree(ours: NativeInference, theirs: NativeInference, *, root: bool) -> None:
    for name in NativeInference._fields:
        if name == "reward" and root:
            assert not ours.reward.any()
            continue
        expected = getattr(theirs, name)
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(getattr(ours, name), expected, rtol=1e-4, atol=1e-4 * scale, err_msg=name)


supports = st.sampled_from(
    [
        SupportConfig(),
        SupportConfig(low=-5.0, high=25.0, num_bins=61, transform=True),
        SupportConfig(low=-30.0, high=30.0, num_bins=601, transform=True),
        SupportConfig(low=0.0, high=1.0, num_bins=2),
        SupportConfig(low=-12.0, high=12.0, num_bins=82, transform="symlog"),
    ]
)


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(4, 140),
    head_width=st.integers(1, 140),
    representation_blocks=st.integers(0, 2),
    dynamics_blocks=st.integers(1, 2),
    prediction_blocks=st.integers(0, 2),
    batch_norm=st.booleans(),
    change_sides=st.booleans(),
    latent_norm=st.sampled_from(["rms", "minmax"]),
    value_support=supports,
    reward_support=supports,
    num_players=st.sampled_from([1, 2]),
    num_actions=st.sampled_from([1, 2, 9, 33]),
    shape=st.sampled_from([(1,), (27,), (2, 3, 3)]),
    rows=st.integers(1, 9),
    seed=st.integers(0, 2**31),
)
def test_agrees_with_torch(
    num_players: int, num_actions: int, shape: tuple[int, ...], rows: int, seed: int, **config: object
) -> None:
    spec = dataclasses.replace(
        TICTACTOE, num_players=num_players, num_actions=num_actions, observation_shape=shape, symmetries=()
    )
    model = build(seed, spec, **config)
    native = NativeModel(model)
    rng = np.random.default_rng(seed)
    observation = rng.normal(size=(rows, *shape)).astype(np.float32)
    action = rng.integers(0, num_actions, rows).astype(np.int32)
    with torch.inference_mode():
        latent = model.represent(torch.from_numpy(observation))
        following = model.step(latent, torch.from_numpy(action).long())
    root = native.initial(observation)
    assert_agree(root, by_torch(model, latent), root=True)
    assert_agree(native.recurrent(latent.numpy(), action), by_torch(model, following), root=False)


@pytest.mark.parametrize("instruction_set", mcts.ResidualMLP.instruction_sets())
@pytest.mark.parametrize("num_bins", [80, 81])
def test_what_is_as_good_as_bad_is_worth_nothing(instruction_set: str, num_bins: int) -> None:
    wide = SupportConfig(low=-12.0, high=12.0, num_bins=num_bins, transform="symlog")
    model = build(value_support=wide, reward_support=wide)
    with torch.no_grad():
        model.heads.output.weight.zero_()
        logits = torch.randn(num_bins, generator=torch.Generator().manual_seed(1))
        model.heads.output.bias[model.num_actions :] = (logits + logits.flip(0)).repeat(2)
    native = build_mlp(model, instruction_set)
    latent, _, value = native.initial(np.ones((5, *TICTACTOE.observation_shape), np.float32))
    _, reward, _, next_value = native.recurrent(latent, np.zeros(5, np.int32))
    assert not value.any() and not reward.any() and not next_value.any()


def test_a_search_that_was_started_goes_on_from_the_roots() -> None:
    model = build()
    native = NativeModel(model)
    observation = np.random.default_rng(0).integers(0, 2, (6, *TICTACTOE.observation_shape)).astype(np.uint8)
    root = native.initial(observation)
    prior_logits, value, recurrent_fn = native.start(observation, 5, -1.0, leaves_per_step=2)
    np.testing.assert_array_equal(prior_logits, root.prior_logits)
    np.testing.assert_array_equal(value, root.value)
    assert isinstance(recurrent_fn, mcts.NativeRecurrentFn) and recurrent_fn.fallback is not None
    actions = np.arange(12, dtype=np.int32) % 9
    output = recurrent_fn.fallback(np.zeros(12, np.int32), actions, 1)
    expected = native.recurrent(np.concatenate([root.latent, root.latent]), actions)
    np.testing.assert_array_equal(output.reward, expected.reward)
    np.testing.assert_array_equal(output.discount, np.full(12, -1, np.float32))
    np.testing.assert_array_equal(output.prior_logits, expected.prior_logits)
    np.testing.assert_array_equal(output.value, expected.value)


def test_searches_visit_what_they_would_with_torch(seed: int) -> None:
    """Rounding differs in the last digits only, and no decision of these searches is that close."""
    model = build(seed, width=24, latent_norm="minmax")
    native = NativeModel(model)
    observation = np.random.default_rng(seed).integers(0, 2, (8, *TICTACTOE.observation_shape)).astype(np.uint8)
    simulations = 30
    prior_logits, value, native_fn = native.start(observation, simulations + 1, -1.0)
    pool = np.zeros((simulations + 1, 8, 24), np.float32)
    with torch.inference_mode():
        pool[0] = model.represent(torch.from_numpy(observation)).numpy()

    def torch_fn(parent: npt.NDArray, action: npt.NDArray, node: int) -> mcts.RecurrentOutput:
        parents = torch.from_numpy(pool[parent, np.arange(8)])
        with torch.inference_mode():
            out = by_torch(model, model.step(parents, torch.from_numpy(action).long()))
        pool[node] = out.latent
        return mcts.RecurrentOutput(out.reward, np.full(8, -1.0, np.float32), out.prior_logits, out.value)

    root = mcts.RootOutput(prior_logits, value)
    ours = mcts.gumbel_muzero_policy(root, native_fn, simulations, rng=seed, gumbel_scale=0.0)
    theirs = mcts.gumbel_muzero_policy(root, torch_fn, simulations, rng=seed, gumbel_scale=0.0)
    np.testing.assert_array_equal(ours.visit_counts, theirs.visit_counts)
    np.testing.assert_allclose(ours.root_value, theirs.root_value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_refresh_takes_new_weights(batch_norm: bool) -> None:
    model, other = build(1, batch_norm=batch_norm), build(2, batch_norm=batch_norm)
    native = NativeModel(model)
    observation = np.ones((2, *TICTACTOE.observation_shape), np.float64)
    before = native.initial(observation)
    model.load_state_dict(other.state_dict())
    np.testing.assert_array_equal(native.initial(observation).value, before.value)  # a snapshot
    native.refresh(model)
    for ours, theirs in zip(native.initial(observation), NativeModel(other).initial(observation), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match=r"stem\.weight: expected shape \(32, 27\), got \(16, 27\)"):
        native.refresh(build(width=16))


def test_observations_keep_their_meaning_in_every_dtype() -> None:
    native = NativeModel(build())
    observation = np.random.default_rng(1).integers(0, 2, (3, *TICTACTOE.observation_shape))
    expected = native.initial(observation.astype(np.float32))
    for dtype in (np.bool_, np.uint8, np.int64, np.float64):
        np.testing.assert_array_equal(native.initial(observation.astype(dtype)).latent, expected.latent)


def test_a_convolutional_torso_is_refused() -> None:
    model = WorldModel(ModelConfig(torso="conv", width=8), TICTACTOE)
    assert supported(model) == "the torso is convolutional"
    with pytest.raises(ValueError, match=r"expected an MLP .*, but the torso is convolutional"):
        NativeModel(model)
    assert supported(build()) is None
