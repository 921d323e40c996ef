"""What happens to observations before the first layer, in the module and folded into every backend."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from muzero_wm.basis.errors import UserError
from muzero_wm.config import ModelConfig, ReplayConfig
from muzero_wm.envs.base import EnvSpec
from muzero_wm.inference.auto import Gate, probe_observations
from muzero_wm.inference.backends import BackendError, make_backend
from muzero_wm.inference.native import supported
from muzero_wm.model.observation import FARTHEST, Statistics, observation_kind
from muzero_wm.model.world_model import WorldModel
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.statistics import observation_statistics
from tests.inference.test_backends import BACKENDS, TOLERANCE
from tests.replay.helpers import make_episode, make_spec

IMAGE, VECTOR, PLANES = (3, 5, 4), (4,), (3, 3, 3)


def spec_of(shape: tuple[int, ...], dtype: type, bounds: tuple[float, float] | None) -> EnvSpec:
    return EnvSpec("seen", shape, np.dtype(dtype), 3, 1, observation_bounds=bounds)


def build(spec: EnvSpec, **settings: object) -> WorldModel:
    torch.manual_seed(0)
    config = ModelConfig(width=16, head_width=16, projection_width=8, **settings)  # type: ignore[arg-type]
    model = WorldModel(config, spec).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize(
    ("shape", "dtype", "bounds", "kind"),
    [
        (PLANES, np.uint8, None, "raw"),  # boards
        (PLANES, np.uint8, (0, 1), "raw"),
        (PLANES, np.float32, (0, 1), "raw"),
        (VECTOR, np.float32, (0, 1), "raw"),  # one-hot
        (VECTOR, np.float32, (-1, 1), "raw"),
        (VECTOR, np.float32, (-1, 1.5), "normalize"),
        (VECTOR, np.float32, (-8, 0), "normalize"),
        (VECTOR, np.float32, None, "normalize"),
        (IMAGE, np.uint8, (0, 255), "scale"),
        ((7,), np.uint8, (0, 255), "scale"),
        (IMAGE, np.float32, (0, 255), "scale"),
        (IMAGE, np.float32, None, "normalize"),
    ],
)
def test_auto_follows_from_the_environment(
    shape: tuple[int, ...], dtype: type, bounds: tuple[float, float] | None, kind: str
) -> None:
    spec = spec_of(shape, dtype, bounds)
    assert observation_kind(ModelConfig(), spec) == kind
    keys = build(spec).state_dict().keys()
    assert any(name.startswith("observation.") for name in keys) == (kind == "normalize")
    for wanted in ("raw", "normalize"):
        assert observation_kind(ModelConfig(observation=wanted), spec) == wanted  # type: ignore[arg-type]


def test_scale_divides_by_the_largest_number() -> None:
    for bounds, dtype, largest in (((0, 255), np.uint8, 255), ((-8, 2), np.float32, 8), (None, np.uint8, 1)):
        model = build(spec_of(VECTOR, dtype, bounds), observation="scale")
        seen = np.array([[0, 1, 2, 7]], dtype)
        expected = (seen / np.float64(largest)).astype(np.float32)
        np.testing.assert_allclose(model.observation(torch.from_numpy(seen)).numpy(), expected, rtol=1e-6)
        np.testing.assert_allclose(model.observation.undo(expected), seen, rtol=1e-6)
    with pytest.raises(UserError, match=r"^model\.observation: scale needs known bounds .*seen states none; use norm"):
        build(spec_of(VECTOR, np.float32, None), observation="scale")


def test_raw_observations_are_left_alone() -> None:
    seen = torch.randint(0, 255, (2, *IMAGE), dtype=torch.uint8)
    assert build(spec_of(IMAGE, np.uint8, None)).observation(seen) is seen


def awkward(rows: int, seed: int = 0) -> np.ndarray:
    """Returns [rows, 8]: usual, tiny, huge, far from 0, seldom other than 0, constant, zero, with an outlier."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 8))
    x[:, 1] *= 1e-5
    x[:, 2] = 1e6 * x[:, 2] + 3e6
    x[:, 3] += 1e5
    x[:, 4] = np.arange(rows) == 7
    x[:, 5], x[:, 6] = 2e6, 0.0
    x[5, 7] = 1e9
    return x.astype(np.float32)


def test_features_are_normalised_within_limits() -> None:
    seen = awkward(3000)
    model = build(spec_of((8,), np.float32, None))
    assert model.observation.waiting
    model.observation.take(observation_statistics(seen, np.arange(3000), per_channel=False))
    assert not model.observation.waiting and int(model.observation.count) == 3000
    x = model.observation(torch.from_numpy(seen)).numpy()
    np.testing.assert_allclose(x[:, :3].mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(x[:, :3].std(0), 1, rtol=1e-4)
    assert 1e-4 < x[:, 3].std() < 1.1e-3 and np.abs(x[:, 3]).max() < 0.01  # 100 deviations from 0 and no more
    assert x[7, 4] == pytest.approx(10.0, rel=1e-3) and np.abs(np.delete(x[:, 4], 7)).max() < 0.01
    assert not x[:, 5:7].any()
    assert np.abs(x).max() < 10.001
    later = seen[:1].copy()
    later[0, 5:7] = 4e6, 0.5  # what never changed may yet
    assert model.observation(torch.from_numpy(later))[0, 5:7].tolist() == pytest.approx([1.0, 0.5])


def test_channels_keep_their_zero() -> None:
    rng = np.random.default_rng(0)
    seen = rng.normal(3.0, 1.0, (500, *IMAGE)).astype(np.float32)
    seen[:, 1] = rng.random((500, *IMAGE[1:])) < 1e-3
    seen[:, 2] = 0
    model = build(spec_of(IMAGE, np.float32, None))
    model.observation.take(observation_statistics(seen, np.arange(500), per_channel=True))
    x = model.observation(torch.from_numpy(seen)).numpy()
    np.testing.assert_allclose(x[:, 0] / seen[:, 0], x[0, 0, 0, 0] / seen[0, 0, 0, 0], rtol=1e-5)
    assert np.sqrt(np.square(x[:, 0]).mean()) == pytest.approx(1.0, rel=1e-4)
    assert x[:, 1].max() == pytest.approx(10.0) and not x[:, 2].any() and not x[seen == 0].any()


@pytest.mark.parametrize("per_channel", [False, True])
def test_statistics_are_those_of_numpy(per_channel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    stored = rng.normal(1e4, 3.0, (200, 3, 4, 2)).astype(np.float32)
    slots = rng.permutation(200)[:123]
    monkeypatch.setattr("muzero_wm.replay.statistics._CHUNK", 24 * 50)  # several pieces
    found = observation_statistics(stored, slots, per_channel)
    part = stored[slots].astype(np.float64)
    axes = (0, 2, 3) if per_channel else 0
    expected = part.min(axes), part.max(axes), part.mean(axes), part.std(axes)
    assert found.num_observations == 123
    for ours, theirs in zip(found[1:], expected, strict=True):
        assert ours.shape == ((3, 1, 1) if per_channel else (3, 4, 2))
        np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, rtol=1e-9)


def test_the_replay_counts_what_it_holds_and_no_more() -> None:
    buffer = ReplayBuffer(make_spec(1), ReplayConfig(max_steps=30), 1.0)
    for tag, steps in enumerate([12, 9, 14]):  # the first one is evicted
        buffer.extend(make_episode([0.0] * steps, players=1, tag=tag))
    seen = np.array([(1, t) for t in range(10)] + [(2, t) for t in range(15)], np.float64)
    found = buffer.observation_statistics(per_channel=False)
    assert found.num_observations == 25
    for ours, theirs in zip(found[1:], (seen.min(0), seen.max(0), seen.mean(0), seen.std(0)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


FOLDED = {
    "vector": (spec_of(VECTOR, np.float32, None), {}),
    "flat-image": (spec_of(IMAGE, np.float32, None), {"torso": "mlp"}),
    "flat-bytes": (spec_of(IMAGE, np.uint8, (0, 255)), {"torso": "mlp"}),
    "image": (spec_of(IMAGE, np.float32, None), {}),
    "bytes": (spec_of(IMAGE, np.uint8, (0, 255)), {}),
}


def with_statistics(model: WorldModel, seed: int) -> WorldModel:
    """Gives a model that normalises statistics that differ from feature to feature by orders of magnitude."""
    if model.observation.count is not None:
        shape = tuple(model.observation.scale.shape)
        rng = np.random.default_rng(seed)
        deviation = 10.0 ** rng.uniform(-3, 6, shape)
        mean = deviation * rng.uniform(-5, 5, shape)
        spread = 3 * deviation
        model.observation.take(Statistics(9, mean - spread, mean + spread, mean, deviation))
    return model


@pytest.mark.parametrize("case", FOLDED)
@pytest.mark.parametrize("name", [*BACKENDS, "native-fp32"])
def test_every_backend_treats_observations_as_the_module_does(name: str, case: str) -> None:
    spec, settings = FOLDED[case]
    model = with_statistics(build(spec, **settings), 0)
    if name == "native-fp32" and supported(model):
        with pytest.raises(BackendError):
            make_backend(name, model)
        return
    backend = make_backend(name, model)
    worker = backend.worker()
    tolerance = 3 * TOLERANCE[name.rpartition("-")[2]]
    values = []
    for seed in (0, 1):  # the second time only the statistics have changed
        backend.refresh(with_statistics(model, seed))
        observation = probe_observations(model, 32)
        if spec.observation_dtype == np.uint8:
            observation = np.random.default_rng(0).integers(0, 256, (32, *IMAGE)).astype(np.uint8)
        with torch.no_grad():
            prediction = model.predict(model.represent(torch.from_numpy(observation)))
            plain = model.representation(torch.from_numpy(observation.astype(np.float32)))
            prepared = model.representation(model.observation(torch.from_numpy(observation)))
        assert not torch.allclose(plain, prepared, rtol=0.1)
        out = worker.initial(observation)
        np.testing.assert_allclose(out.prior_logits, prediction.policy_logits.numpy(), atol=tolerance, rtol=tolerance)
        value = model.value_support.decode(prediction.value_logits).numpy()
        np.testing.assert_allclose(out.value, value, atol=tolerance, rtol=tolerance)
        values.append(worker.initial(np.ones_like(observation)).value)
    assert np.allclose(values[0], values[1]) == (spec.observation_dtype == np.uint8)


@pytest.mark.parametrize("case", ["vector", "flat-image", "image"])
@pytest.mark.parametrize("name", [*BACKENDS, "native-fp32"])
def test_what_is_far_from_anything_seen_counts_as_the_farthest_in_every_backend(name: str, case: str) -> None:
    spec, settings = FOLDED[case]
    model = build(spec, **settings)
    if name == "native-fp32" and supported(model):
        return
    worker = make_backend(name, with_statistics(model, 0)).worker()
    prepared = np.random.default_rng(0).normal(size=(32, *spec.observation_shape)).astype(np.float32)
    prepared[:, 0] *= 1e4
    with torch.no_grad():
        prediction = model.predict(model.represent(torch.from_numpy(model.observation.undo(prepared))))
        assert model.observation(torch.from_numpy(model.observation.undo(prepared))).abs().max() == FARTHEST
    tolerance = 10 * TOLERANCE[name.rpartition("-")[2]]
    for observation in (prepared, prepared.clip(-FARTHEST, FARTHEST)):
        logits = worker.initial(model.observation.undo(observation)).prior_logits
        np.testing.assert_allclose(logits, prediction.policy_logits.numpy(), atol=tolerance, rtol=tolerance)


def test_probes_are_what_the_first_layer_expects() -> None:
    for case, binary in (("vector", False), ("image", True), ("bytes", True)):
        spec, settings = FOLDED[case]
        model = with_statistics(build(spec, **settings), 0)
        prepared = model.observation(torch.from_numpy(probe_observations(model, 400))).numpy()
        assert 0.9 < prepared[1::2].std() < 1.1
        assert np.allclose(prepared[0::2], prepared[0::2].round(), atol=1e-4) == binary


def test_a_new_network_passes_the_gate_with_its_statistics() -> None:
    """It has no biases, so an observation that is the mean comes to 0 in the module and to rounding elsewhere."""
    spec, settings = FOLDED["vector"]
    model = with_statistics(WorldModel(ModelConfig(**settings), spec), 0)
    gate = Gate(model)
    for name in ("torch-fp32", "fused-fp32"):
        found = gate.measure(name, make_backend(name, gate.noisy))
        assert found.passed, found.reason
