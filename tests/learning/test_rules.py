"""Learning where the rules are the model: policy and value of the roots, and nothing that is imagined."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console

import muzero_wm
from muzero_wm import envs
from muzero_wm.basis.errors import UserError
from muzero_wm.bench.learner import made_up_games
from muzero_wm.cli.game import play
from muzero_wm.config import Config
from muzero_wm.config.presets import dump_config, load_config, parse_config
from muzero_wm.evaluation import AgentPlayer, opponent_from_name, play_every_reply, play_match
from muzero_wm.evaluation.engines.server import GtpServer
from muzero_wm.evaluation.grading import grade
from muzero_wm.learning.batches import move
from muzero_wm.learning.learner import Learner
from muzero_wm.learning.losses import unrolled_loss
from muzero_wm.learning.terms import Part, Term, Unroll
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.stored import TermError
from muzero_wm.run.progress import Progress
from muzero_wm.storage.checkpoint import SaveError
from muzero_wm.training import train

RULES = "search.model=rules"
SMALL = [RULES, "model.width=16", "acting.process=false", "acting.num_envs=16", "replay.min_steps=200"]
SMALL += ["search.num_simulations=6", "learning.batch_size=16", "inference.backend=eager", "run.tensorboard=false"]


def config(preset: str = "tictactoe", *more: str, updates: int = 40) -> Config:
    return load_config(preset, overrides=[*SMALL, *more], max_updates=updates)


@pytest.mark.parametrize("preset", ["tictactoe", "connect4"])
def test_settings_of_dynamics_follow(preset: str) -> None:
    found = load_config(preset, overrides=[RULES])
    assert (found.replay.unroll_steps, found.model.dynamics_blocks) == (0, 0)
    assert (found.learning.self_prediction_weight, found.replay.terminal_fraction) == (0.0, 0.0)
    assert parse_config(dump_config(found), "here") == found
    # whatever does not belong to dynamics stays
    usual = load_config(preset)
    assert found.model.width == usual.model.width
    assert found.search.num_simulations == usual.search.num_simulations


def test_a_model_without_dynamics_has_none_of_their_weights() -> None:
    model = Learner(config(), envs.spec("tictactoe")).model
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"representation", "heads"}


def test_the_loss_is_policy_and_value_of_the_roots() -> None:
    """The oracle writes the two cross-entropies down."""
    settings = config()
    spec = envs.spec("tictactoe")
    learner, buffer = Learner(settings, spec), ReplayBuffer(spec, settings.replay, 1.0)
    buffer.extend(made_up_games(spec, 200, 0))
    rng = np.random.default_rng(0)
    samples = buffer.batch(buffer.sample_slots(32, rng), 1.0, rng)
    assert samples.next_observation.shape == (32, 0, 3, 3, 3)
    (batch,) = move([samples], torch.device("cpu"))
    found = unrolled_loss(learner.model, learner.teacher, batch, settings.learning)
    said = learner.model.predict(learner.model.represent(batch.observation))
    policy = -(batch.targets.policy[:, 0] * F.log_softmax(said.policy_logits, -1)).sum(-1)
    value = batch.targets.value[:, 0].clamp(-1, 1)  # three bins: loss, draw, win
    code = torch.stack([(-value).clamp_min(0), 1 - value.abs(), value.clamp_min(0)], -1)
    expected = policy + -(code * F.log_softmax(said.value_logits, -1)).sum(-1)
    assert found.parts.keys() == {"policy", "value"}
    assert float(found.total.detach()) == pytest.approx(float(expected.mean().detach()), rel=1e-5)
    assert found.teacher_latent is None


def test_a_term_that_reads_imagined_steps_is_told() -> None:
    def reads(unroll: Unroll) -> Part:
        return Part(unroll.imagined, unroll.imagined)

    settings, spec = config(), envs.spec("tictactoe")
    learner, buffer = Learner(settings, spec), ReplayBuffer(spec, settings.replay, 1.0)
    buffer.extend(made_up_games(spec, 100, 0))
    rng = np.random.default_rng(0)
    (batch,) = move([buffer.batch(buffer.sample_slots(4, rng), 1.0, rng)], torch.device("cpu"))
    with pytest.raises(TermError, match=r"with search\.model rules there are none"):
        unrolled_loss(
            learner.model, learner.teacher, batch, settings.learning, own={"mine": (Term("mine", reads), 1.0)}
        )


def test_an_acting_process_plays_the_same(tmp_path: Path) -> None:
    alone = train(config(), tmp_path / "alone")
    beside = train(config("tictactoe", "acting.process=true"), tmp_path / "beside")
    for name, weight in alone.model.state_dict().items():
        assert torch.equal(weight, beside.model.state_dict()[name]), name


def test_an_agent_is_exported_loaded_and_asked_with_states(tmp_path: Path) -> None:
    agent = train(config(), tmp_path / "run")
    assert "6 simulations by the rules" in repr(agent)
    agent.save(tmp_path / "agent")
    again = muzero_wm.load(tmp_path / "agent")
    env = envs.make("tictactoe", 5)
    step = env.reset()
    visits = [each.search(step.observation, states=env.states).visit_counts for each in (agent, again)]
    assert np.array_equal(*visits)
    with pytest.raises(UserError, match="pass states="):
        agent.search(step.observation)
    assert env.states is not None
    assert np.array_equal(agent.search(step.observation, states=env.states.tolist()).visit_counts, visits[0])
    assert agent.act(step.observation[0], state=env.states[0]) == again.act(step.observation[0], state=env.states[0])


@pytest.mark.slow
def test_tictactoe_is_learnt(tmp_path: Path, seed: int) -> None:
    """About 300 updates: hardly a sequence of replies wins any more, and random play loses."""
    agent = train(load_config("tictactoe", overrides=[RULES], max_updates=300, seed=seed), tmp_path / "run")
    player = AgentPlayer(agent, seed=seed)
    lost = play_every_reply("tictactoe", player.choose)
    assert lost["losses"] <= 0.02 * lost["games"]
    score = play_match("tictactoe", player, opponent_from_name("random", agent.spec, seed), 100, seed).total.score
    assert score > 0.9
    perfect = opponent_from_name("perfect", agent.spec, seed)
    assert play_match("tictactoe", player, perfect, 40, seed).total.losses <= 4


def test_positions_that_are_searched_again_are_those_that_were_seen(tmp_path: Path) -> None:
    """Every stored state shows the observation beside it, and a run renews targets with them."""
    game = envs.board_game("tictactoe")
    rounds = 0

    def look(learner: Learner, progress: Progress) -> None:
        nonlocal rounds
        rounds += 1
        ring = progress._replay.ring
        live = np.flatnonzero(ring["to_end"] > 0)
        assert np.array_equal(game.look(ring["state"][live])[0], ring["observation"][live])
        assert np.array_equal(game.legal_actions(ring["state"][live]), ring["legal_actions"][live])

    train(config("tictactoe", "replay.reanalyze_fraction=0.5"), tmp_path, on_round=look)
    assert rounds > 3
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert max(line.get("replay/reanalyzed", 0) for line in logged) > 0


@pytest.mark.parametrize("before", ["0", "0.5"])
def test_whether_positions_are_stored_stays_as_it_was(tmp_path: Path, before: str) -> None:
    """A run that goes on with another share is told what it must keep."""
    after = {"0": "0.5", "0.5": "0"}[before]
    train(config("tictactoe", f"replay.reanalyze_fraction={before}", updates=8), tmp_path)
    with pytest.raises(UserError, match=r"state.*by rules whether replay\.reanalyze_fraction is 0"):
        train(config("tictactoe", f"replay.reanalyze_fraction={after}", updates=16), tmp_path, resume=True)


def test_an_agent_with_dynamics_can_be_searched_by_the_rules(tmp_path: Path) -> None:
    learned = train(load_config("tictactoe", overrides=SMALL[1:], max_updates=16), tmp_path / "run")
    by_rules = learned.by_rules()
    env = envs.make("tictactoe", 3)
    step = env.reset()
    with pytest.raises(UserError, match="pass states="):
        by_rules.search(step.observation)
    assert by_rules.search(step.observation, states=env.states).visit_counts.sum() == 18
    assert learned.search(step.observation).visit_counts.sum() == 18
    assert np.array_equal(by_rules.policy(step.observation)[0], learned.policy(step.observation)[0])
    with pytest.raises(SaveError, match="save the one it was made from"):
        by_rules.save(tmp_path / "agent")


def test_whoever_plays_hands_over_the_positions(tmp_path: Path) -> None:
    """Matches, solved positions, a person at the terminal, and programs for boards."""
    agent = train(config(), tmp_path / "run")
    report = grade(agent, 20)
    assert report["search"]["positions"] == 20
    server = GtpServer(agent)
    assert server.answer("genmove b").startswith("= ")  # type: ignore[union-attr]
    assert "visits" in server.answer("muzero_wm-search")  # type: ignore[operator]
    typed = iter("h123456789" * 9)
    shown = Console(record=True, width=120, file=io.StringIO())

    def ask(prompt: str) -> str:
        return next(typed, "")  # an empty line leaves where the game is over

    assert play(agent, console=shown, ask=ask) in ("win", "draw", "loss")
    assert "In your place the agent plays" in shown.export_text()


def test_a_game_of_ones_own_is_learnt_by_its_rules(tmp_path: Path) -> None:
    name = "tests.learning.own_game:make"
    agent = train(config("tictactoe", f"env={name}"), tmp_path / "run")
    assert agent.spec.name == name
    score = play_match(name, AgentPlayer(agent), opponent_from_name("random", agent.spec, 0), 10, 0).total
    assert score.wins + score.draws + score.losses == 10


def test_rules_of_a_module_that_nobody_imported_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name in a checkpoint leads to no code by itself."""
    name = "tests.learning.own_game:make"
    train(config("tictactoe", f"env={name}"), tmp_path / "run")
    agent, states = muzero_wm.load(tmp_path / "run"), envs.board_game(name).first_states(1)
    monkeypatch.delitem(sys.modules, "tests.learning.own_game")
    with pytest.raises(UserError, match=r"are code of the module tests\.learning\.own_game; import it first"):
        agent.search(np.zeros((1, 3, 3, 3), np.uint8), states=states)
    assert "tests.learning.own_game" not in sys.modules
