"""Opinions from all sides of a board: a search of a mirrored board is the mirrored search, node by node the mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from muzero_wm import envs
from muzero_wm.config import SearchConfig
from muzero_wm.envs.base import Symmetry
from muzero_wm.inference.inference import InferenceModel
from muzero_wm.inference.symmetric import SymmetricModel
from muzero_wm.model.world_model import WorldModel
from muzero_wm.planning.planner import Planner
from tests.model.models import make_model, make_spec

CASES = [("conv", "connect4"), ("mlp", "connect4"), ("mlp-no-prediction-blocks", "tictactoe")]


def positions(game: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    env = envs.make(game, count, 3, random_openings=1.0, max_random_plies=4)
    step = env.reset()
    return step.observation.copy(), step.legal_actions.copy()


def turned(observation: np.ndarray, symmetry: Symmetry) -> np.ndarray:
    flat = observation.reshape(*observation.shape[:2], -1)
    return np.ascontiguousarray(flat[:, :, symmetry.observation]).reshape(observation.shape)


def planner_of(case: str, game: str, algorithm: str = "gumbel", simulations: int = 12) -> Planner:
    config = SearchConfig(algorithm=algorithm, num_simulations=simulations, symmetries=True)  # type: ignore[arg-type]
    return Planner(InferenceModel(make_model(case), backend="eager"), make_spec(game), config)


@pytest.mark.parametrize(("case", "game"), CASES)
@pytest.mark.parametrize("algorithm", ["gumbel", "puct"])
@pytest.mark.parametrize("leaves", [1, 3])
def test_a_turned_board_is_searched_alike(case: str, game: str, algorithm: str, leaves: int) -> None:
    planner = planner_of(case, game, algorithm)
    observation, legal = positions(game, 20)
    plain = planner.search(observation, legal, 0, leaves_per_step=leaves)  # type: ignore[arg-type]
    for symmetry in make_spec(game).symmetries[1:]:
        moves = symmetry.action
        there = planner.search(turned(observation, symmetry), legal[:, moves], 0, leaves_per_step=leaves)  # type: ignore[arg-type]
        # sums in another order differ in the last digit, which decides between moves that are mirror images
        same = (np.sort(there.visit_counts) == np.sort(plain.visit_counts)).all(1)
        assert same.mean() >= 0.8
        np.testing.assert_allclose(there.root_value[same], plain.root_value[same], atol=1e-4)
        alike = (there.visit_counts == plain.visit_counts[:, moves]).all(1)
        assert alike.mean() >= 0.4
        np.testing.assert_allclose(there.action_weights[alike], plain.action_weights[alike][:, moves], atol=1e-4)


def test_without_it_a_turned_board_is_another() -> None:
    network = InferenceModel(make_model("conv"), backend="eager")
    planner = Planner(network, make_spec("connect4"), SearchConfig(num_simulations=12))
    observation, legal = positions("connect4", 20)
    mirror = make_spec("connect4").symmetries[1]
    there = planner.search(turned(observation, mirror), legal[:, mirror.action], 0)
    plain = planner.search(observation, legal, 0)
    assert (there.visit_counts == plain.visit_counts[:, mirror.action]).all(1).mean() < 0.5


@pytest.mark.parametrize(("case", "game"), CASES)
def test_every_node_is_the_mean_of_all_sides(case: str, game: str) -> None:
    """By the module alone, side by side, along the path to every node."""
    model, spec = make_model(case), make_spec(game)
    observation, legal = positions(game, 3)
    tree = planner_of(case, game).search(observation, legal, 0).tree
    for root in range(3):
        for node in range(13):
            path, at = [], node
            while at:
                path.append(int(tree.actions_from_parent[root, at]))
                at = int(tree.parents[root, at])
            odds, value, reward = all_sides(model, observation[root : root + 1], spec.symmetries, path[::-1])
            logits = tree.prior_logits[root, node].astype(np.float64)
            allowed = np.isfinite(logits) & (logits > -1e30)
            known = np.exp(logits[allowed] - logits[allowed].max())
            np.testing.assert_allclose(known / known.sum(), odds[allowed] / odds[allowed].sum(), atol=1e-5)
            np.testing.assert_allclose(tree.raw_values[root, node], value, atol=1e-5)
            if node:
                np.testing.assert_allclose(tree.rewards[root, node], reward, atol=1e-5)


@torch.no_grad()
def all_sides(
    model: WorldModel, observation: np.ndarray, symmetries: tuple[Symmetry, ...], path: list[int]
) -> tuple[np.ndarray, float, float]:
    """Returns mean probabilities [A], value and reward behind a path of moves."""
    odds, values, rewards = [], [], []
    for symmetry in symmetries:
        latent = model.represent(torch.as_tensor(turned(observation, symmetry)))
        for action in path:
            there = int(np.flatnonzero(symmetry.action == action)[0])
            latent = model.step(latent, torch.tensor([there]))
        out = model.predict(latent)
        side = torch.softmax(out.policy_logits[0].float(), 0).numpy()
        known = np.empty_like(side)
        known[symmetry.action] = side
        odds.append(known)
        values.append(float(model.value_support.decode(out.value_logits)[0]))
        rewards.append(float(model.reward_support.decode(out.reward_logits)[0]))
    return np.mean(odds, axis=0), float(np.mean(values)), float(np.mean(rewards))


@pytest.mark.parametrize("algorithm", ["gumbel", "puct"])
def test_a_search_by_the_rules_sees_all_sides_too(algorithm: str) -> None:
    spec = make_spec("connect4")
    search = {"algorithm": algorithm, "num_simulations": 12, "symmetries": True, "model": "rules"}
    planner = Planner(InferenceModel(make_model("conv"), backend="eager"), spec, SearchConfig.model_validate(search))
    env = envs.make("connect4", 20, 3, random_openings=1.0, max_random_plies=4)
    step, mirrored = env.reset(), envs.make("connect4", 20, 3)
    assert env.states is not None
    # the same stones in the mirrored columns: bit 7x + h of a set is column x at height h
    columns = (env.states[:, 2:, None] >> (7 * np.arange(7))) & 127
    there = mirrored.game.first_states(20)  # type: ignore[attr-defined]
    there[:] = env.states
    there[:, 2:] = (columns << (7 * np.arange(6, -1, -1))).sum(2)
    plain = planner.search(step.observation, step.legal_actions, 0, states=env.states)
    flipped = turned(step.observation, spec.symmetries[1])
    other = planner.search(flipped, step.legal_actions[:, ::-1], 0, states=there)
    same = (other.visit_counts == plain.visit_counts[:, ::-1]).all(1)
    assert same.mean() >= 0.8
    np.testing.assert_allclose(other.root_value[same], plain.root_value[same], atol=1e-4)


def test_new_weights_are_seen_from_all_sides() -> None:
    """Reanalyze searches with the teacher of now."""
    network = InferenceModel(make_model("conv"), backend="eager")
    planner = Planner(network, make_spec("connect4"), SearchConfig(symmetries=True))
    observation, _ = positions("connect4", 4)
    before = planner.network.initial(observation).value.copy()
    other = make_model("conv")
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(1.5)
    planner.network.refresh(other)
    assert not np.allclose(planner.network.initial(observation).value, before)


def test_games_without_symmetries_are_seen_from_one_side() -> None:
    planner = Planner(
        InferenceModel(make_model("pixels"), backend="eager"), make_spec("image-3x21x33"), SearchConfig(symmetries=True)
    )
    assert not isinstance(planner.network, SymmetricModel)
