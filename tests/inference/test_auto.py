"""The choice of a backend: what is inaccurate never wins, and what was found is told."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from muzero_wm.inference import auto, inference
from muzero_wm.inference.auto import LIMITS, Errors, Gate, compare, excited, unroll
from muzero_wm.inference.backends import KINDS, Kind, make_backend
from muzero_wm.inference.backends.base import Inference
from muzero_wm.inference.backends.module import ModuleBackend, ModuleWorker
from muzero_wm.inference.inference import AccuracyWarning, InferenceModel
from muzero_wm.model.world_model import WorldModel
from tests.model.models import make_model, make_spec, observations


@pytest.fixture(autouse=True)
def _forget_choices() -> Iterator[None]:
    inference._choices.clear()
    yield
    inference._choices.clear()


class Shifted(ModuleBackend):
    """Instant, and wrong: the policy favours one action by a little."""

    def worker(self) -> ModuleWorker:
        backend = self

        class Worker(ModuleWorker):
            def recurrent(self, latent: torch.Tensor, action: np.ndarray, out: torch.Tensor) -> Inference:
                result = super().recurrent(latent, action, out)
                result.prior_logits[:, 0] += 0.5
                return result

        return Worker(backend)


class NotANumber(ModuleBackend):
    def worker(self) -> ModuleWorker:
        class Worker(ModuleWorker):
            def initial(self, observation: np.ndarray) -> Inference:
                result = super().initial(observation)
                result.value[0] = np.nan
                return result

        return Worker(self)


class Stale(ModuleBackend):
    """Never sees new weights."""

    def refresh(self, model: WorldModel) -> None:
        if not hasattr(self, "model"):
            super().refresh(model)


class ForgetsPosition(ModuleBackend):
    """Wrong only where training has moved weights that start at zero."""

    def refresh(self, model: WorldModel) -> None:
        super().refresh(model)
        torch.nn.init.zeros_(self.model.representation.position)


@pytest.mark.parametrize("broken", [Shifted, NotANumber, Stale, ForgetsPosition])
def test_the_gate_rejects_what_is_wrong(broken: type[ModuleBackend], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = WorldModel(make_model("conv").config, make_spec("connect4"))  # fresh: much of it is zero
    assert not model.representation.position.any()
    kind = Kind(lambda weights, options: broken(weights, folded=False), ("fp32",))
    monkeypatch.setitem(KINDS, "broken", kind)
    network = InferenceModel(model, precision="fp32", batch_size=8)
    found = {candidate.name: candidate for candidate in network.candidates}
    assert not found["broken-fp32"].passed and "error" in found["broken-fp32"].reason
    assert found["broken-fp32"].evals_per_second == 0
    assert network.backend != "broken-fp32"
    with pytest.warns(AccuracyWarning, match=r"broken-fp32 is less accurate.*\(limit"):
        InferenceModel(model, backend="broken")


def test_auto_takes_a_backend_that_passed_and_says_what_it_found() -> None:
    model = make_model("conv")
    network = InferenceModel(model, batch_size=16)
    found = {candidate.name: candidate for candidate in network.candidates}
    chosen = found[network.backend]
    assert chosen.passed and chosen.evals_per_second > 0
    assert network.backend in network.describe()
    rates = {name: entry.evals_per_second for name, entry in found.items()}
    assert chosen.evals_per_second * auto.MARGIN >= max(rates.values())
    for name, candidate in found.items():
        if candidate.errors is not None:
            limits = LIMITS[name.rpartition("-")[2]]
            assert candidate.passed == all(
                error <= limit for error, limit in zip(candidate.errors, limits, strict=True)
            )
    # the weights are the model's, not the noisy copy's
    out = network.initial(observations(model, 5))
    reference = InferenceModel(model, backend="eager").initial(observations(model, 5))
    np.testing.assert_allclose(out.value, reference.value, atol=0.05)


def test_one_process_chooses_once() -> None:
    first = InferenceModel(make_model("mlp"), batch_size=4)
    second = InferenceModel(make_model("mlp", seed=1), batch_size=4)
    assert second.backend == first.backend and second.candidates is first.candidates


def test_near_ties_keep_the_order_of_preference(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("mlp")
    names = ["torch-fp32", "fused-fp32", "eager-fp32"]
    for speeds, winner in (
        ((100.0, 110.0, 114.0), "torch-fp32"),
        ((100.0, 120.0, 130.0), "fused-fp32"),
        ((100.0, 120.0, 140.0), "eager-fp32"),
    ):
        monkeypatch.setattr(auto, "_speeds", lambda *_, s=speeds: dict(zip(names, s, strict=True)))
        assert auto.choose(model, names, batch_size=2)[0] == winner


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_precision_limits_the_choice(precision: str) -> None:
    network = InferenceModel(make_model("conv"), precision=precision, batch_size=4)
    assert {candidate.name.rpartition("-")[2] for candidate in network.candidates} == {precision}
    assert network.backend.endswith(precision)


def test_an_explicit_backend_is_measured_for_accuracy_only() -> None:
    (candidate,) = InferenceModel(make_model("conv"), backend="torch", precision="bf16").candidates
    assert candidate.name == "torch-bf16" and candidate.passed
    assert candidate.errors is not None and 0 < candidate.errors.value < LIMITS["bf16"].value


def test_errors_are_what_they_are_called() -> None:
    model = make_model("mlp")
    same = unroll(make_backend("eager-fp32", model), model)
    assert compare(model, same, same) == Errors(0.0, 0.0, 0.0)
    shifted = [
        out._replace(value=out.value + 0.1, reward=out.reward - 0.2, prior_logits=out.prior_logits + 3.0)
        for out in same
    ]
    errors = compare(model, same, shifted)
    assert errors.value == pytest.approx(0.1, rel=1e-4) and errors.reward == pytest.approx(0.2, rel=1e-4)
    assert errors.policy == pytest.approx(0.0, abs=1e-6)
    certain = [out._replace(prior_logits=np.where(np.arange(7) == k, 0.0, -99.0)[None]) for out in same for k in (2,)]
    opposite = [out._replace(prior_logits=np.where(np.arange(7) == 3, 0.0, -99.0)[None]) for out in same]
    assert compare(model, certain, opposite).policy == pytest.approx(1.0)


def test_the_gate_compares_whose_turn_follows() -> None:
    model = make_model("mlp-turns")
    same = unroll(make_backend("eager-fp32", model), model)
    assert compare(model, same, same).turn == 0.0
    assert min(np.abs(out.edge_sign).max() for out in same) > 0.05
    opposite = [out._replace(edge_sign=-out.edge_sign) for out in same]
    distance = np.mean([np.abs(out.edge_sign).mean() for out in same[1:]])
    assert compare(model, same, opposite).turn == pytest.approx(distance, rel=1e-5)
    missing = [out._replace(edge_sign=None) for out in same]
    assert compare(model, same, missing).turn == np.inf


def test_models_that_differ_in_the_turns_alone_choose_by_themselves() -> None:
    """The native evaluator knows no turns: the choice made for one must not be the other's."""
    pytest.importorskip("mcts._mlp")
    assert InferenceModel(make_model("mlp"), batch_size=4).backend == "native-fp32"
    network = InferenceModel(make_model("mlp-turns"), batch_size=4)
    assert network.backend != "native-fp32"
    found = {candidate.name: candidate for candidate in network.candidates}
    assert found["native-fp32"].reason == "native: whose turn follows a move is learnt"


def test_no_weight_of_the_noisy_copy_is_idle() -> None:
    torch.manual_seed(0)
    model = WorldModel(make_model("conv-batch-norm-minmax").config, make_spec("tictactoe"))
    noisy = excited(model)
    for (name, ours), theirs in zip(noisy.named_parameters(), model.parameters(), strict=True):
        assert ours.abs().min() > 0 and not torch.equal(ours, theirs), name
    assert all(torch.equal(a, b) for a, b in zip(excited(model).parameters(), noisy.parameters(), strict=True))


def test_gate_leaves_the_weights_in_use_behind() -> None:
    model = make_model("mlp")
    gate = Gate(model)
    backend = make_backend("fused-fp32", gate.noisy)
    assert gate.measure("fused-fp32", backend).passed
    ours = backend.worker().initial(observations(model, 3)).value
    np.testing.assert_allclose(
        ours, InferenceModel(model, backend="eager").initial(observations(model, 3)).value, atol=1e-5
    )
