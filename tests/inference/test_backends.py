"""Every backend computes the same network; the oracle is the module itself, step by step."""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from muzero_wm.inference.backends import KINDS, BackendError, Inference, Kind, make_backend, names_for, resolve_name
from muzero_wm.inference.backends.module import fold_batch_norm
from muzero_wm.inference.inference import BackendWarning, InferenceModel
from muzero_wm.model.world_model import WorldModel
from tests.model.models import (
    CASES,
    lacking_bf16,
    make_model,
    needs,
    observations,
    onednn_without_bf16,
    openvino_without_bf16,
)

TOLERANCE = {"fp32": 2e-5, "bf16": 0.06}
BACKENDS = [
    "eager-fp32",
    "torch-fp32",
    "torch-bf16",
    "fused-fp32",
    pytest.param("fused-bf16", marks=pytest.mark.skipif(bool(onednn_without_bf16()), reason=onednn_without_bf16())),
    pytest.param("onnxruntime-fp32", marks=needs("onnx", "onnxruntime")),
    pytest.param("openvino-fp32", marks=needs("onnx", "openvino")),
    pytest.param(
        "openvino-bf16",
        marks=[
            needs("onnx", "openvino"),
            pytest.mark.skipif(bool(openvino_without_bf16()), reason=openvino_without_bf16()),
        ],
    ),
]


@torch.no_grad()
def expected(model: WorldModel, observation: np.ndarray, actions: np.ndarray) -> list[tuple[np.ndarray | None, ...]]:
    """Returns reward, prior logits, value and edge sign of the roots and after each row of actions, by the module."""
    latent = model.represent(torch.from_numpy(observation))
    results = []
    for step in range(len(actions) + 1):
        prediction = model.predict(latent)
        results.append(
            (
                model.reward_support.decode(prediction.reward_logits).numpy(),
                prediction.policy_logits.numpy(),
                model.value_support.decode(prediction.value_logits).numpy(),
                None if prediction.turn_logits is None else expected_sign(prediction.turn_logits.numpy()),
            )
        )
        if step < len(actions):
            latent = model.step(latent, torch.from_numpy(actions[step]).long())
    return results


def expected_sign(turn_logits: np.ndarray) -> np.ndarray:
    """Adds up what both outcomes say: +1 with the probability that the same player moves again, else -1."""
    again = 1.0 / (1.0 + np.exp(-turn_logits.astype(np.float64)))
    return (again * 1.0 + (1.0 - again) * -1.0).astype(np.float32)


def assert_agree(backend: Any, model: WorldModel, rows: int, tolerance: float) -> None:
    observation = observations(model, rows)
    actions = np.random.default_rng(1).integers(0, model.num_actions, (3, rows)).astype(np.int32)
    worker = backend.worker()
    out = worker.initial(observation)
    # bins of the transformed supports are far apart in environment units
    reward, value = (0.02 * float(support.bins[-1]) for support in (model.reward_support, model.value_support))
    scale = np.maximum(1.0, [reward, 1.0, value, 1.0])
    for step, results in enumerate(expected(model, observation, actions)):
        for ours, theirs, size in zip(out[1:], results, scale, strict=True):
            if theirs is None:
                assert ours is None
                continue
            assert ours.shape == theirs.shape and ours.dtype == np.float32
            np.testing.assert_allclose(ours / size, theirs / size, atol=tolerance, rtol=tolerance)
        if step < len(actions):
            out = worker.recurrent(out.latent.clone(), actions[step], torch.empty_like(out.latent))


FROZEN = [
    pytest.param("onnxruntime-fp32 frozen", marks=needs("onnx", "onnxruntime")),
    pytest.param("openvino-fp32 frozen", marks=needs("onnx", "openvino")),
]


@pytest.mark.parametrize("name", ["torch-fp32", "fused-fp32"])
def test_many_images_go_through_in_parts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muzero_wm.model.networks._PIXELS_AT_ONCE", 3 * 21 * 33)
    model = make_model("pixels")
    assert_agree(make_backend(name, model, batch_size=7), model, 7, TOLERANCE["fp32"])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", [*BACKENDS, *FROZEN])
def test_every_backend_computes_the_network(name: str, case: str) -> None:
    name, _, frozen = name.partition(" ")
    model = make_model(case)
    backend = make_backend(name, model, batch_size=7, frozen=bool(frozen))
    tolerance = TOLERANCE[name.rpartition("-")[2]]
    assert_agree(backend, model, 7, tolerance)
    other = make_model(case, seed=1)
    backend.refresh(other)
    assert_agree(backend, other, 7, tolerance)


@pytest.mark.parametrize("case", ["mlp-wide", "conv-wide", "mlp"])
@pytest.mark.parametrize("name", BACKENDS)
def test_what_is_as_good_as_bad_is_worth_nothing_in_every_backend(name: str, case: str) -> None:
    """The outermost bins stand for 160 000: what is left of a sum that does not cancel would be a value."""
    model = make_model(case)
    with torch.no_grad():
        model.heads.output.weight.zero_()
        first = model.num_actions
        for support in (model.value_support, model.reward_support):
            logits = torch.randn(support.num_bins, generator=torch.Generator().manual_seed(1))
            model.heads.output.bias[first : first + support.num_bins] = logits + logits.flip(0)
            first += support.num_bins
    worker = make_backend(name, model).worker()
    root = worker.initial(observations(model, 5))
    assert not root.value.any()
    step = worker.recurrent(root.latent.clone(), np.zeros(5, np.int32), torch.empty_like(root.latent))
    assert not step.value.any() and not step.reward.any()


@pytest.mark.parametrize("case", ["mlp", "conv"])
@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_takes_any_number_of_rows(name: str, case: str) -> None:
    model = make_model(case)
    backend = make_backend(name, model)
    for rows in (1, 128, 7, 2, 3, 5, 1):
        assert_agree(backend, model, rows, TOLERANCE[name.rpartition("-")[2]])


@pytest.mark.parametrize("case", ["mlp", "conv", "conv-batch-norm-minmax"])
@pytest.mark.parametrize("name", BACKENDS)
def test_results_do_not_depend_on_what_was_asked_before(name: str, case: str) -> None:
    """A run that is resumed starts with new backends, and must find the same as one that went on."""
    model = make_model(case)
    found = []
    for before in ((), (1, 2, 3, 4, 5, 6, 8, 12), (200, 7, 12)):
        worker = make_backend(name, model, batch_size=12).worker()
        for rows in (*before, 7):
            root = worker.initial(observations(model, rows))
            latent = root.latent.clone()
            action = np.arange(rows, dtype=np.int32) % model.num_actions
            step = worker.recurrent(latent, action, torch.empty_like(latent))
        numbers = (step.latent.float().numpy(), step.value, step.prior_logits, step.reward)
        found.append([array.copy() for array in numbers])
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("case", ["mlp", "conv", "conv-turns"])
@pytest.mark.parametrize("name", BACKENDS)
def test_the_latents_asked_about_stay_when_called_from_outside(name: str, case: str) -> None:
    model = make_model(case)
    network = InferenceModel(model, backend=name)
    root = network.initial(observations(model, 4))
    before = root.latent.clone()
    first = network.recurrent(root.latent, np.zeros(4, np.int64))
    kept = copy.deepcopy(first[1:])
    network.recurrent(root.latent, np.ones(4, np.int32))
    assert torch.equal(root.latent, before)
    assert all(np.array_equal(now, then) for now, then in zip(first[1:], kept, strict=True))


@pytest.mark.parametrize("case", ["mlp", "conv"])
@pytest.mark.parametrize("name", BACKENDS)
def test_refresh_compiles_nothing_and_is_seen_by_old_workers(
    name: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, other = make_model(case), make_model(case, seed=1)
    backend = make_backend(name, model)
    worker = backend.worker()
    action = np.zeros(3, np.int32)

    def value() -> np.ndarray:
        root = worker.initial(observations(model, 3))
        return worker.recurrent(root.latent.clone(), action, torch.empty_like(root.latent)).value.copy()

    before = value()
    if name.startswith("onnxruntime"):
        monkeypatch.delattr("onnxruntime.InferenceSession")
    elif name.startswith("openvino"):
        monkeypatch.delattr("openvino.Core.compile_model")
    backend.refresh(other)
    after = value()
    assert not np.allclose(before, after)
    backend.refresh(model)
    assert np.array_equal(value(), before)


def test_a_snapshot_changes_only_when_refreshed() -> None:
    for name in ("eager", "torch", "fused"):
        model = make_model("mlp")
        network = InferenceModel(model, backend=name, precision="fp32")
        before = network.initial(observations(model, 4)).value
        with torch.no_grad():
            model.heads.output.bias.add_(torch.linspace(-1, 1, len(model.heads.output.bias)))
        assert np.array_equal(network.initial(observations(model, 4)).value, before)
        network.refresh(model)
        assert not np.allclose(network.initial(observations(model, 4)).value, before)


@pytest.mark.parametrize("case", ["mlp-batch-norm-minmax", "conv-batch-norm-minmax"])
def test_folded_batch_norm_gives_the_same_outputs(case: str) -> None:
    model = make_model(case)
    actions = np.zeros((2, 5), np.int32)
    before = expected(model, observations(model, 5), actions)
    fold_batch_norm(model)
    assert not any("norm" in name for name, _ in model.named_parameters())
    for ours, theirs in zip(expected(model, observations(model, 5), actions), before, strict=True):
        for now, then in zip(ours[:3], theirs[:3], strict=True):
            np.testing.assert_allclose(now, then, rtol=1e-4, atol=1e-5)


def test_names_say_kind_and_precision() -> None:
    assert resolve_name("fused", "bf16") == "fused-bf16"
    assert resolve_name("fused-fp32", "bf16") == "fused-fp32"
    assert resolve_name("eager", "bf16") == "eager-fp32"
    assert {name.rpartition("-")[2] for name in names_for("bf16")} == {"bf16"}
    assert set(names_for("auto")) == set(names_for("bf16")) | set(names_for("fp32"))
    for name in ("fussed", "eager-bf16", "fused-fp16"):
        with pytest.raises(BackendError, match=name):
            resolve_name(name, "fp32")


@pytest.mark.parametrize(
    ("name", "module", "command"),
    [("onnxruntime", "onnxruntime", r"muzero-wm\[onnx\]"), ("openvino", "openvino", r"muzero-wm\[openvino\]")],
)
def test_a_missing_extra_is_told_with_the_command(
    name: str, module: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    monkeypatch.delitem(__import__("sys").modules, f"muzero_wm.inference.backends.{name}_backend", raising=False)
    with pytest.raises(BackendError, match=f"^{name}: .* not installed: pip install '{command}'$"):
        InferenceModel(make_model("mlp"), backend=name, precision="fp32")


@pytest.mark.parametrize("case", ["mlp", "conv"])
@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("fused-bf16", onednn_without_bf16),
        pytest.param("openvino-bf16", openvino_without_bf16, marks=needs("onnx", "openvino")),
    ],
)
def test_bf16_is_there_exactly_where_the_processor_has_it(name: str, missing: Callable[[], str], case: str) -> None:
    model = make_model(case)
    if not missing():
        assert InferenceModel(model, backend=name).backend == name
        return
    kind = name.partition("-")[0]
    with pytest.raises(BackendError, match=rf"^{kind}: .*bf16.*this processor.*: take auto or {kind}-fp32 as"):
        InferenceModel(model, backend=name)
    choice = InferenceModel(model, precision="bf16", batch_size=3)
    reasons = {candidate.name: candidate.reason for candidate in choice.candidates}
    assert choice.backend == "torch-bf16" and "this processor" in reasons[name]


class Fails:
    """A library that finds out while it computes what the processor lacks."""

    latent_dtype = torch.float32

    def refresh(self, model: WorldModel) -> None:
        """Has no weights."""

    def worker(self) -> Fails:
        return self

    def initial(self, observation: np.ndarray) -> Inference:
        raise RuntimeError("could not create a primitive\nbf16 is not supported")


def test_a_backend_that_fails_while_it_computes_is_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "failing", Kind(lambda model, options: Fails(), ("fp32",)))  # type: ignore[arg-type, return-value]
    model = make_model("mlp")
    network = InferenceModel(model, precision="fp32", batch_size=11)
    reasons = {candidate.name: candidate.reason for candidate in network.candidates}
    assert "create a primitive bf16 is not supported" in reasons["failing-fp32"]
    assert network.backend != "failing-fp32"
    with pytest.raises(BackendError, match=r"^failing: fails on this machine: could not create"):
        InferenceModel(model, backend="failing")
    with pytest.warns(BackendWarning, match="made with failing-fp32, which is missing here .*takes its place"):
        other = InferenceModel(model, backend="failing", batch_size=11, stored=True)
    assert other.backend in {candidate.name for candidate in network.candidates if candidate.passed}


def test_a_stored_backend_gives_way_to_the_same_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muzero_wm.inference.backends.fused.lacking", lacking_bf16)
    with pytest.warns(BackendWarning, match="made with fused-bf16, .*beyond it.*; fused-fp32 takes its place"):
        network = InferenceModel(make_model("conv"), backend="fused-bf16", batch_size=13, stored=True)
    assert network.backend == "fused-fp32"
    with pytest.raises(BackendError, match="expected auto or one of"):  # that is no matter of the machine
        InferenceModel(make_model("conv"), backend="fussed", stored=True)


def test_a_library_that_does_not_load_is_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(model: WorldModel, options: Any) -> Any:
        raise ImportError("libtbb.so.12: cannot open shared object file")

    monkeypatch.setitem(KINDS, "unloadable", Kind(make, ("fp32",), "onnx"))
    with pytest.raises(BackendError, match=r"^unloadable: does not load on this machine \(libtbb.so.12: cannot open"):
        InferenceModel(make_model("mlp"), backend="unloadable")


def test_a_torch_without_the_operators_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("muzero_wm.inference.backends.fused.torch.ops.mkldnn", raising=False)
    monkeypatch.setattr("muzero_wm.inference.backends.fused.torch.ops", object())
    with pytest.raises(BackendError, match="fused: this PyTorch lacks"):
        make_backend("fused-fp32", make_model("conv"))


class SignalStack(ctypes.Structure):
    _fields_ = (("place", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def signal_stack() -> tuple[int | None, int]:
    stack = SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    return stack.place, stack.flags


def test_openvino_leaves_the_signal_stack_alone() -> None:
    """Its plugin installs one and frees it later: the next signal would end the process."""
    backends = pytest.importorskip("muzero_wm.inference.backends.openvino_backend", reason="OpenVINO is not installed")
    before = signal_stack()
    backend = backends.OpenVinoBackend(make_model("mlp"))
    assert signal_stack() == before
    del backend
    assert signal_stack() == before
