"""Games in which a player may move twice in a row: whose turn follows is learnt, and it decides the search."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from muzero_wm import envs
from muzero_wm.agent import Agent
from muzero_wm.config import Config, ModelConfig, SearchConfig
from muzero_wm.envs.slots.slots import SlotEnv
from muzero_wm.inference.inference import InferenceModel
from muzero_wm.model.world_model import WorldModel
from muzero_wm.planning.planner import Planner
from muzero_wm.training import train
from tests.stones import MOST, SPEC, Rules, Sign, Stones, best_moves, legal, seen, true_sign

HEAPS = np.array([stones for stones in range(1, MOST + 1) if 0 < len(best_moves(stones)) < min(stones, 3)])


def always_the_other(left: int) -> int:
    return -1


def the_wrong_one(left: int) -> int:
    return -true_sign(left)


def searched(sign: Sign, algorithm: str) -> dict[int, int]:
    """Returns the move that a search of the true rules finds for every heap, if edges have these signs."""
    config = SearchConfig(algorithm=algorithm, num_simulations=400)  # type: ignore[arg-type]
    planner = Planner(Rules(sign), SPEC, config)  # type: ignore[arg-type]
    return dict(zip(HEAPS.tolist(), planner.search(seen(HEAPS), legal(HEAPS), 0).action.tolist(), strict=True))


@pytest.mark.parametrize("algorithm", ["gumbel", "puct"])
def test_the_search_wins_with_the_true_turns_and_loses_with_others(algorithm: str) -> None:
    assert {2, 6, 7, 8, 11} <= set(HEAPS.tolist())
    assert all(move in best_moves(heap) for heap, move in searched(true_sign, algorithm).items())
    for sign in (always_the_other, the_wrong_one):
        # where the wrong rule knows a win, it is found, and it is none
        misled = [h for h in HEAPS if best_moves(h, sign) and not {*best_moves(h, sign)} & {*best_moves(h)}]
        assert len(misled) >= 2
        moves = searched(sign, algorithm)
        assert all(moves[heap] in best_moves(heap, sign) for heap in misled)


@pytest.mark.parametrize("name", ["eager", "torch", "fused"])
def test_every_edge_of_a_tree_has_the_sign_of_the_model(name: str) -> None:
    torch.manual_seed(0)
    model = WorldModel(ModelConfig(width=16, head_width=16, projection_width=8), SPEC).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    planner = Planner(InferenceModel(model, backend=name), SPEC, SearchConfig(num_simulations=10, discount=0.5))
    heaps = np.arange(4, MOST + 1)
    for leaves in (1, 3):
        tree = planner.search(seen(heaps), legal(heaps), 0, leaves_per_step=leaves).tree
        with torch.no_grad():
            for root in range(len(heaps)):
                latents = [model.represent(torch.from_numpy(seen(heaps[root : root + 1])))]
                for node in range(1, tree.num_nodes):
                    parent, action = int(tree.parents[root, node]), int(tree.actions_from_parent[root, node])
                    if parent < 0:
                        break  # the same leaf was chosen twice
                    latents.append(model.step(latents[parent], torch.tensor([action])))
                    again = torch.sigmoid(model.predict(latents[node]).turn_logits).item()
                    assert tree.discounts[root, node] == pytest.approx(0.5 * (2 * again - 1), abs=1e-5)
        assert len(np.unique(tree.discounts[:, 1:])) > 20


def test_only_such_games_have_the_logit_and_none_of_them_changes_sides() -> None:
    for players, alternating, more in ((2, False, 1), (2, True, 0), (1, False, 0), (1, True, 0)):
        spec = dataclasses.replace(SPEC, num_players=players, alternating=alternating)
        with torch.device("meta"):
            model = WorldModel(ModelConfig(width=8, head_width=6, projection_width=8), spec)
        assert model.heads.output.weight.shape == (3 + 3 + 3 + more, 6)
        assert model.learns_turns == bool(more)
        assert model.dynamics.change_sides == (players == 2 and alternating)
        sign = Planner(None, spec, SearchConfig(discount=0.5)).edge_discount  # type: ignore[arg-type]
        assert sign == (-0.5 if players == 2 and alternating else 0.5)


def test_training_learns_whose_turn_it_is_and_plays_perfectly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(envs, "spec", lambda name: SPEC)
    monkeypatch.setattr(envs, "make", lambda name, count, seed, **_: SlotEnv(Stones, count, seed))
    config = Config.model_validate(
        {
            "env": "stones",
            "seed": seed,
            "model": {"width": 48, "head_width": 48, "projection_width": 32, "ema_decay": 0.95},
            "search": {"num_simulations": 16},
            "acting": {"num_envs": 32, "process": False},
            "replay": {"min_steps": 500, "max_steps": 20_000, "terminal_fraction": 0.25},
            "inference": {"backend": "fused"},
            "learning": {"max_updates": 1500, "learning_rate": 4e-3, "batch_size": 64, "updates_per_round": 16},
            "run": {"tensorboard": False},
        }
    )
    agent = train(config, tmp_path / "run")
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["turn/accuracy"] > 0.99 and last["loss/turn"] < 0.02

    def perfect(player: Agent) -> list[bool]:
        moves = player.search(seen(HEAPS), legal(HEAPS), 64).action.tolist()
        return [move in best_moves(heap) for heap, move in zip(HEAPS.tolist(), moves, strict=True)]

    assert all(perfect(agent))
    with torch.no_grad():
        agent.model.heads.output.weight[-1].neg_()
        agent.model.heads.output.bias[-1].neg_()
    assert not all(perfect(Agent(config, SPEC, agent.model, agent.updates)))
