"""The loss is a list of terms: one of a user's own is stored, learnt, saved and resumed like the standard ones."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from muzero_wm import Moment, Part, Stored, Term, envs, register_term
from muzero_wm.acting.pool import make_pool
from muzero_wm.acting.worker import InlineActor
from muzero_wm.basis.errors import UserError
from muzero_wm.basis.signals import Interrupted
from muzero_wm.config import LearningConfig, ModelConfig, ReplayConfig
from muzero_wm.config.presets import load_config
from muzero_wm.inference.inference import InferenceModel
from muzero_wm.learning.batches import move
from muzero_wm.learning.learner import Learner
from muzero_wm.learning.losses import unrolled_loss
from muzero_wm.learning.registry import terms_of
from muzero_wm.model.device import CPU
from muzero_wm.model.ema import make_teacher
from muzero_wm.model.world_model import WorldModel
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.room import share_room
from muzero_wm.replay.stored import TermError
from muzero_wm.training import Progress, train
from tests.learning.own_term import VISITS
from tests.replay.helpers import assert_same as assert_same_ring
from tests.replay.helpers import make_episode, make_spec, random_games
from tests.test_exact_resume import SMALL, assert_same, configure, outcome

ROOT = Path(__file__).parents[2]
OWN = "tests.learning.own_term:visits"
TERMS = f'learning.terms={{"{OWN}": 0.5}}'
LONG = ("replay.reanalyze_fraction=0.25", "replay.n_step=4", "replay.priority_exponent=0.6")
RUNS = {
    "board": ("tictactoe", ()),
    "board-process": ("tictactoe", ("acting.process=true",)),
    "cut-segments": ("gym:tests.replay.endless:Rare-v0", LONG),
}


@pytest.mark.parametrize("run", RUNS)
def test_a_run_with_a_term_of_ones_own_is_stopped_and_resumed_as_if_it_never_had_been(run: str, tmp_path: Path) -> None:
    """Through acting, unfinished episodes, ring, packs, batches, its own head and the numbers that it draws."""
    env, overrides = RUNS[run]
    config = configure(env, (*overrides, TERMS))
    train(config, tmp_path / "whole")
    whole = outcome(tmp_path / "whole")

    def stop(learner: Learner, progress: Progress) -> None:
        if progress.rounds == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train(config, tmp_path / "parts", on_round=stop)
    saved = outcome(tmp_path / "parts")["state"]
    train(config, tmp_path / "parts", resume=True)
    ended = outcome(tmp_path / "parts")
    assert not np.array_equal(
        saved["learner"]["generator"]["state"], whole["state"]["learner"]["generator"]["state"]
    ), "nothing was drawn"
    assert_same(ended, whole)
    stored = np.asarray(whole["state"]["replay"]["visit_shares"])
    final = np.asarray(whole["state"]["replay"]["action"]) < 0
    assert len(stored) > 50 and final.any() and (stored[final] == 0).all()
    np.testing.assert_allclose(stored[~final].sum(1), 1.0, rtol=1e-5)
    assert {"visits.weight", "visits.bias"} == set(whole["state"]["learner"]["terms"])
    assert not np.array_equal(
        saved["learner"]["terms"]["visits.weight"], whole["state"]["learner"]["terms"]["visits.weight"]
    )
    losses = [line["loss/visits"] for line in whole["metrics"] if "loss/visits" in line]
    assert len(losses) > 3 and 0 < losses[-1] < losses[0]
    assert all(0 < line["visits/largest"] <= 1 for line in whole["metrics"] if "visits/largest" in line)


def steps_left(moment: Moment) -> np.ndarray:
    raise AssertionError("the tests fill it in")


def test_what_is_stored_reaches_the_batch_by_position_and_the_ring_goes_back() -> None:
    spec, config = make_spec(1), ReplayConfig(max_steps=40, unroll_steps=2)
    stored = (Stored("left", steps_left, dtype=np.int16),)
    buffer = ReplayBuffer(spec, config, 1.0, stored=stored)

    def episode(steps: int, tag: int) -> Any:
        left = np.arange(steps, -1, -1, dtype=np.int16)
        return dataclasses.replace(make_episode([1.0] * steps, players=1, tag=tag), stored={"left": left})

    for tag in range(3):
        buffer.extend(episode(4, tag))
    batch = buffer.batch(np.array([1, 3, 6]), 0.0, np.random.default_rng(0))
    assert batch.stored["left"].tolist() == [[3, 2, 1], [1, 0, 0], [3, 2, 1]]
    assert batch.stored["left"].dtype == np.int16
    (moved,) = move([batch], CPU)
    assert moved.stored["left"].dtype == torch.int16
    before = ReplayBuffer(spec, config, 1.0, stored=stored)
    before.load_state_dict(buffer.state_dict())
    assert before.ring["left"][:5].tolist() == [4, 3, 2, 1, 0]
    buffer.mark()
    for tag in range(9):
        buffer.extend(episode(5, tag))
    buffer.rewind()
    assert_same_ring(buffer, before)
    wrong = ReplayBuffer(spec, config, 1.0)
    with pytest.raises(ValueError, match="a pack of episodes holds"):
        wrong._restore(buffer.state_dict())
    with pytest.raises(ValueError, match=r"holds no other; a run keeps its learning\.terms"):
        ReplayBuffer(spec, config, 1.0, stored=(Stored("other", steps_left),))._restore(buffer.state_dict())


def test_memory_counts_what_is_stored() -> None:
    config, spec = configure("tictactoe", ("replay.max_steps=400000", "replay.max_mib=1")), envs.spec("tictactoe")
    with_term = configure("tictactoe", ("replay.max_steps=400000", "replay.max_mib=1", TERMS))
    room, smaller = share_room(spec, config), share_room(spec, with_term)
    assert smaller.capacity < room.capacity and smaller.open_bytes > room.open_bytes
    buffer = ReplayBuffer(spec, with_term.replay, 1.0, smaller.open_bytes, smaller.stored)
    assert buffer.nbytes + smaller.open_bytes <= 2**20


def test_the_page_shows_the_term_that_is_tested() -> None:
    page = (ROOT / "docs" / "own-losses.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert shown == (ROOT / "tests" / "learning" / "own_term.py").read_text(encoding="utf-8")


def test_a_weight_of_0_leaves_a_term_out() -> None:
    assert terms_of(LearningConfig(max_updates=1, terms={OWN: 0.0})) == {}
    assert terms_of(LearningConfig(max_updates=1, terms={"visits": 2.0})) == {"visits": (VISITS, 2.0)}


def test_mistakes_are_told_in_a_line() -> None:
    def share(**terms: float) -> None:
        config = load_config("tictactoe", overrides=SMALL)
        learning = config.learning.model_copy(update={"terms": terms})
        share_room(envs.spec("tictactoe"), config.model_copy(update={"learning": learning}))

    with pytest.raises(TermError, match=r"^learning\.terms: there is no term 'visit'.*did you mean 'visits'"):
        share(visit=1.0)
    with pytest.raises(TermError, match=r"there is no term 'x'; tests\.learning\.own_term does not register it"):
        share(**{"tests.learning.own_term:x": 1.0})
    with pytest.raises(TermError, match="there is no module 'nowhere'"):
        share(**{"nowhere:x": 1.0})
    with pytest.raises(TermError, match="'value' is a standard term"):
        register_term(Term("value", lambda unroll: Part(unroll.batch.weight, unroll.batch.weight)))
    with pytest.raises(TermError, match="expected lower case letters"):
        Stored("a.b", steps_left)
    register_term(dataclasses.replace(VISITS, name="taken", stores=(Stored("reward", steps_left),)))
    with pytest.raises(TermError, match="stores 'reward', a name that is taken"):
        share(taken=1.0)
    register_term(dataclasses.replace(VISITS, name="twice", stores=(Stored("visit_shares", steps_left),)))
    with pytest.raises(TermError, match="two terms store different things as 'visit_shares'"):
        share(visits=1.0, twice=1.0)


def too_long(moment: Moment) -> np.ndarray:
    return np.zeros((len(moment.action), 2))


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (too_long, r"stored as wrong: expected an array of \(12,\), got \(12, 2\)"),
        (steps_left, "stored as wrong raised AssertionError"),
    ],
)
@pytest.mark.parametrize("process", ["false", "true"])
def test_what_cannot_be_stored_ends_the_run_in_a_line(of: Any, message: str, process: str, tmp_path: Path) -> None:
    register_term(dataclasses.replace(VISITS, name="wrong", head=None, stores=(Stored("wrong", of),)))
    config = load_config("tictactoe", overrides=[*SMALL, "learning.terms={wrong: 1}", f"acting.process={process}"])
    with pytest.raises(UserError, match=f"acting failed: what is {message}"):
        train(config, tmp_path / "run")


def test_what_no_other_process_finds_is_acted_in_this_one() -> None:
    register_term(dataclasses.replace(VISITS, name="local", stores=(Stored("local", lambda moment: moment.action),)))
    config = load_config("tictactoe", overrides=[*SMALL, "learning.terms={local: 1}", "acting.process=true"])
    actor = make_pool(config)
    try:
        assert [type(each) for each in actor.actors] == [InlineActor]
        actor.begin(Learner(config, envs.spec("tictactoe")).acting_weights())
        result = actor.collect()
        assert any("stores as 'local' is found by no other process" in note for note in result.notes)
    finally:
        actor.close()


def continuing(conv: bool = False, **model: Any) -> WorldModel:
    torch.manual_seed(0)
    spec = make_spec(1) if not conv else envs.spec("tictactoe")
    made = WorldModel(ModelConfig(width=12, head_width=12, projection_width=8, **model), spec)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return made


def test_without_the_head_no_weight_is_made() -> None:
    plain, more = continuing(), continuing(continues=True)
    assert plain.predict(plain.represent(torch.zeros(1, 2))).continues_logits is None
    shapes = [{name: tuple(t.shape) for name, t in model.state_dict().items()} for model in (plain, more)]
    assert {name for name in shapes[0] if shapes[0][name] != shapes[1][name]} == {
        "heads.output.weight",
        "heads.output.bias",
    }
    assert shapes[1]["heads.output.bias"][0] == shapes[0]["heads.output.bias"][0] + 1


@pytest.mark.parametrize("terminated", [True, False])
def test_whether_the_episode_goes_on_equals_the_sum_by_hand(terminated: bool) -> None:
    """No after the last step of an episode that ended, yes after one that a limit ended, nothing past either."""
    model = continuing(continues=True)
    buffer = ReplayBuffer(make_spec(1), ReplayConfig(max_steps=50, unroll_steps=3), 1.0)
    buffer.extend(make_episode([0.0, 0.0, 0.0, 1.0], players=1, terminated=terminated))
    (batch,) = move([buffer.batch(np.array([1, 3]), 0.0, np.random.default_rng(0))], CPU)
    weights = {f"{name}_weight": 0.0 for name in ("policy", "value", "reward", "self_prediction")}
    config = LearningConfig(max_updates=1, continues_weight=2.0, terminal_weight=3.0, **weights)
    result = unrolled_loss(model, make_teacher(model), batch, config)  # type: ignore[arg-type]
    total, right = 0.0, []
    for b, first in enumerate((1, 3)):
        latent = model.represent(batch.observation[b : b + 1])
        for k in range(3):
            latent = model.step(latent, batch.targets.action[b : b + 1, k].long())
            if first + k > 3:
                continue
            ended = terminated and first + k == 3
            logit = float(model.predict(latent).continues_logits.detach())
            yes = 1.0 / (1.0 + np.exp(-logit))
            total -= 2.0 / 3.0 * (3.0 if ended else 1.0) * np.log(1.0 - yes if ended else yes) / 2.0
            right.append((logit > 0) != ended)
    assert float(result.total.detach()) == pytest.approx(total, rel=1e-5)
    assert float(result.logs["continues/accuracy"]) == pytest.approx(np.mean(right))
    result.total.backward()
    gradient = model.heads.output.weight.grad.abs().sum(1)
    assert gradient[-1] > 0 and gradient[:-1].max() == 0


@pytest.mark.parametrize(
    ("torso", "backend"), [("mlp", "native"), ("mlp", "fused"), ("mlp", "torch"), ("conv", "fused"), ("conv", "torch")]
)
def test_searches_see_nothing_of_the_head(torso: str, backend: str) -> None:
    model = continuing(conv=torso == "conv", continues=True, torso=torso).eval()
    rng = np.random.default_rng(0)
    observation = rng.integers(0, 2, (4, *model.observation_shape)).astype(np.float32)
    found = []
    for name in ("eager", backend):
        network = InferenceModel(model, backend=name, precision="fp32")
        root = network.initial(observation)
        found.append((root.value, root.prior_logits, network.recurrent(root.latent, np.zeros(4, np.int32)).reward))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-4)


def test_when_games_end_is_learnt() -> None:
    """Better than by how often they do, which is all that a head without a latent could know."""
    config = load_config(
        "tictactoe",
        overrides=[
            "model.continues=true", "model.torso=mlp", "model.width=32", "model.head_width=32",
            "learning.batch_size=32", "learning.warmup_updates=1", "learning.terminal_weight=1",
            "replay.terminal_fraction=0.5",
        ],
    )  # fmt: skip
    learner = Learner(config, envs.spec("tictactoe"))
    buffer = random_games("tictactoe", config.replay, 60, seed=0)
    metrics = [learner.run_round(buffer, index, 16, 0.0) for index in range(12)]
    rng = np.random.default_rng(0)
    targets = buffer.batch(buffer.sample_slots(2000, rng).slot, 0.0, rng).targets
    known = targets.next_mask > 0
    share = 1.0 - float(targets.terminal[:, 1:][known].mean())
    surprise = -(share * np.log(share) + (1.0 - share) * np.log(1.0 - share)) * float(known.mean())
    assert metrics[-1]["loss/continues"] < 0.6 * surprise < metrics[0]["loss/continues"]
    assert metrics[-1]["continues/accuracy"] > max(share, 1.0 - share) + 0.05
