"""Searches by the rules: nodes are true positions, whatever the network says.

The oracles are a plain recursion over the rules and a table model searched by the planner itself.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import mcts
from muzero_wm import envs
from muzero_wm.basis.errors import UserError
from muzero_wm.config import SearchConfig
from muzero_wm.inference.backends.base import Inference
from muzero_wm.inference.inference import InferenceModel
from muzero_wm.inference.rules import RulesSession
from muzero_wm.planning.planner import Planner
from tests.envs.test_game_options import SHARES
from tests.model.models import make_model, make_spec
from tests.planning.test_planner import assert_same

TICTACTOE = envs.board_game("tictactoe")
RULES = {"model": "rules"}


class Oracle:
    """Stands in for a network: it says what a function of the observation says, the same in every batch."""

    q_scale = 0.0

    def __init__(self, says: Any) -> None:
        self._says = says
        self.asked: list[int] = []

    def worker(self) -> Oracle:
        return self

    def rules_session(self, game: Any) -> RulesSession:
        return RulesSession(self, game)

    def initial(self, observation: NDArray[Any]) -> Inference:
        self.asked.append(len(observation))
        logits, value = zip(*(self._says(each) for each in observation), strict=True)
        values = np.array(value, np.float32)
        return Inference(torch.zeros(len(values), 1), values * 0, np.array(logits, np.float32), values)


def hashed(actions: int) -> Any:
    """Returns opinions that depend on the whole observation, and mean nothing."""

    def says(observation: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
        rng = np.random.default_rng(list(observation.tobytes()))
        return rng.normal(size=actions).astype(np.float32), float(rng.uniform(-1, 1))

    return says


def even(observation: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
    return np.zeros(9, np.float32), 0.0


def planner(network: Any, game: str = "tictactoe", workers: int = 1, shard_roots: int = 64, **config: Any) -> Planner:
    return Planner(network, envs.spec(game), SearchConfig(**(RULES | config)), workers, shard_roots)


def positions(
    game: str, count: int, seed: int, plies: int
) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[np.bool_]]:
    env = envs.make(game, count, seed, random_openings=1.0, max_random_plies=plies)
    step = env.reset()
    assert env.states is not None
    return env.states.copy(), step.observation.copy(), step.legal_actions.copy()


def after(*moves: int) -> NDArray[np.int64]:
    state = TICTACTOE.first_states(1)
    for move in moves:
        state = TICTACTOE.play(state, [move])
    return state


def search(planned: Planner, state: NDArray[np.int64], simulations: int, **options: Any) -> mcts.SearchResult:
    observation, legal, _ = planned.game.look(state)  # type: ignore[union-attr]
    return planned.search(observation, legal, 0, states=state, num_simulations=simulations, **options)


@functools.cache
def minimax(row: bytes) -> float:
    """Returns what a position is worth to the player to move, by plain recursion over the rules."""
    state = np.frombuffer(row, np.int64)[None].copy()
    over, result = TICTACTOE.outcome(state)
    if over[0]:
        return -float(result[0])
    moves = np.flatnonzero(TICTACTOE.legal_actions(state)[0])
    return max(-minimax(TICTACTOE.play(state, [move]).tobytes()) for move in moves)


@pytest.mark.parametrize("algorithm", ["gumbel", "puct"])
def test_a_win_in_one_is_found_and_a_threat_is_met(algorithm: str) -> None:
    """X: 0 1, O: 3 4. X to move wins by 2; with O to move and a stone more for X, 5 wins too."""
    planned = planner(Oracle(even), algorithm=algorithm)
    assert search(planned, after(0, 3, 1, 4), 60).action.tolist() == [2]
    assert search(planned, after(0, 3, 1, 4, 8), 60).action.tolist() == [5]
    # X: 0 1, O: 4: O must take 2
    assert search(planned, after(0, 4, 1), 200).action.tolist() == [2]


@pytest.mark.parametrize("algorithm", ["gumbel", "puct"])
def test_a_win_in_three_is_found(algorithm: str) -> None:
    """X: 0 4, O: 1 8. X at 3 threatens 5 and 6 at once, X at 6 threatens 2 and 3."""
    found = search(planner(Oracle(even), algorithm=algorithm), after(0, 1, 4, 8), 400)
    assert int(found.action[0]) in (3, 6)
    assert found.qvalues[0, found.action[0]] > 0.5


def test_values_of_a_tree_are_those_of_plain_recursion() -> None:
    """Where the network knows what every position is worth, so does every node: the rules only hand it on.

    Along the edges of every tree Q-values are minimax values, whatever was visited how often, since no position is
    worth more than its best move and the network prefers best moves without doubt.
    """

    def says(observation: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
        mine, other = (observation[plane].ravel().astype(np.int64) for plane in (0, 1))
        state = find(mine, other)
        legal = TICTACTOE.legal_actions(state)[0]
        if not legal.any():
            return np.full(9, 7.0, np.float32), 0.7  # behind the end, where it is not believed
        worth = np.full(9, -np.inf)
        for move in np.flatnonzero(legal):
            worth[move] = -minimax(TICTACTOE.play(state, [int(move)]).tobytes())
        return np.where(worth == worth.max(), 0.0, -80.0).astype(np.float32), float(worth.max())

    def find(mine: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
        return known[mine.tobytes() + other.tobytes()]

    known = {}
    states = TICTACTOE.first_states(1)
    while len(states):
        for row, shown in zip(states, TICTACTOE.look(states)[0], strict=True):
            key = shown[0].ravel().astype(np.int64).tobytes() + shown[1].ravel().astype(np.int64).tobytes()
            known[key] = row[None]
        live = states[~TICTACTOE.outcome(states)[0]]
        parents, moves = np.nonzero(TICTACTOE.legal_actions(live)) if len(live) else (np.zeros(0, int),) * 2
        states = np.unique(TICTACTOE.play(live[parents], moves), axis=0) if len(parents) else live[:0]

    states, _, _ = positions("tictactoe", 40, 3, 6)
    result = search(planner(Oracle(says), algorithm="puct"), states, 30)
    for row, state in enumerate(states):
        assert result.root_value[row] == pytest.approx(minimax(state.tobytes()), abs=1e-6)


@pytest.mark.parametrize("algorithm", ["gumbel", "puct"])
@pytest.mark.parametrize("leaves", [1, 3])
def test_the_tree_holds_true_positions_and_no_illegal_move_at_any_depth(algorithm: str, leaves: int, seed: int) -> None:
    """Replaying every path by the rules gives the rewards, ends, masks and values that the tree was told."""
    says = hashed(9)
    states, _, _ = positions("tictactoe", 12, seed, 7)
    result = search(planner(Oracle(says), algorithm=algorithm), states, 120, leaves_per_step=leaves)
    tree, ends = result.tree, 0
    for root, state in enumerate(states):
        rows = [state[None]]
        for node in range(1, tree.num_nodes):
            parent, action = int(tree.parents[root, node]), int(tree.actions_from_parent[root, node])
            before = rows[parent]
            if parent < 0:  # another of the leaves chosen together made the same node
                rows.append(before)
                continue
            if TICTACTOE.outcome(before)[0][0]:
                ends += 1
                rows.append(before)
                assert tree.raw_values[root, node] == 0.0
                continue
            assert TICTACTOE.legal_actions(before)[0, action]
            now = TICTACTOE.play(before, [action])
            rows.append(now)
            over, outcome = TICTACTOE.outcome(now)
            logits, value = says(TICTACTOE.look(now)[0][0])
            assert tree.raw_values[root, node] == (0.0 if over[0] else np.float32(value))
            expected = np.where(TICTACTOE.legal_actions(now)[0], logits, -np.inf) if not over[0] else np.zeros(9)
            assert np.array_equal(tree.prior_logits[root, node], expected.astype(np.float32))
            edge = tree.nodes[root, node]
            assert edge["reward"] == outcome[0]
            assert edge["discount"] == (0.0 if over[0] else -1.0)
    assert ends > 0


@pytest.mark.parametrize("algorithm", ["gumbel", "puct"])
def test_a_table_of_the_same_numbers_is_searched_alike(algorithm: str) -> None:
    """The planner's policies over a table model, written down node by node, visit what the rules visit."""
    says = hashed(9)
    states, observations, legal = positions("tictactoe", 6, 1, 5)
    config = SearchConfig(**(RULES | {"algorithm": algorithm, "num_simulations": 80}))
    planned = Planner(Oracle(says), envs.spec("tictactoe"), config)  # type: ignore[arg-type]
    ours = planned.search(observations, legal, 9, states=states, explore=True)
    table = [list(states)]

    def recurrent_fn(parent: NDArray[np.int32], action: NDArray[np.int32], node: int) -> mcts.RecurrentOutput:
        reward, discount, value = (np.zeros(6, np.float32) for _ in range(3))
        logits = np.zeros((6, 9), np.float32)
        rows = []
        for root in range(6):
            row = table[parent[root]][root]
            if not TICTACTOE.outcome(row[None])[0][0]:
                row = TICTACTOE.play(row[None], [action[root]])[0]
                over, outcome = TICTACTOE.outcome(row[None])
                reward[root] = outcome[0]
                if not over[0]:
                    discount[root] = -1.0
                    logits[root], value[root] = says(TICTACTOE.look(row[None])[0][0])
                    logits[root, ~TICTACTOE.legal_actions(row[None])[0]] = -np.inf
            rows.append(row)
        table.append(rows)
        return mcts.RecurrentOutput(reward, discount, logits, value)

    root_logits, root_value = (np.array(part, np.float32) for part in zip(*map(says, observations), strict=True))
    policy, options, per_search = planned._policy(True, np.ones(6), np.zeros(6))
    theirs = policy(
        mcts.RootOutput(root_logits, root_value), recurrent_fn, 80, **options, **per_search,
        invalid_actions=~legal, rng=mcts._random.root_keys(9, 6),
    )  # fmt: skip
    assert_same(ours, theirs)


@pytest.mark.parametrize("algorithm", ["gumbel", "puct"])
@pytest.mark.parametrize("case", ["mlp", "conv"])
@pytest.mark.parametrize("leaves", [1, 4])
def test_any_number_of_workers_finds_the_same(algorithm: str, case: str, leaves: int) -> None:
    states, observations, legal = positions("connect4", 150, 0, 20)
    model, results = make_model(case), []
    for workers in (1, 2, 3):
        config = SearchConfig(**(RULES | {"algorithm": algorithm, "num_simulations": 9}))
        planned = Planner(InferenceModel(model, backend="fused"), make_spec("connect4"), config, workers, 40)
        results.append(
            planned.search(observations, legal, 5, states=states, explore=True, temperature=1.0, leaves_per_step=leaves)
        )
    for other in results[1:]:
        assert_same(other, results[0])


@pytest.mark.parametrize("backend", ["eager", "torch", "fused", "native", "onnxruntime"])
def test_every_backend_evaluates_a_network_without_dynamics(backend: str) -> None:
    """What the nodes hold is what the module says of the positions there."""
    if backend == "onnxruntime":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnx")
    model = make_model("mlp", dynamics_blocks=0)
    states, observations, legal = positions("connect4", 5, 0, 30)
    planned = planner(InferenceModel(model, backend=backend, precision="fp32"), "connect4")
    result = planned.search(observations, legal, 0, states=states, num_simulations=20)
    game = envs.board_game("connect4")
    for root, state in enumerate(states):
        for node in range(1, 21):
            if result.tree.parents[root, node]:
                continue
            now = game.play(state[None], [int(result.tree.actions_from_parent[root, node])])
            if game.outcome(now)[0][0]:
                continue
            with torch.no_grad():
                said = model.predict(model.represent(torch.from_numpy(game.look(now)[0])))
            value = float(model.value_support.decode(said.value_logits))
            assert result.tree.raw_values[root, node] == pytest.approx(value, abs=1e-4)
            mask = game.legal_actions(now)[0]
            assert np.allclose(
                result.tree.prior_logits[root, node][mask], said.policy_logits[0].numpy()[mask], atol=1e-4
            )
            assert np.isneginf(result.tree.prior_logits[root, node][~mask]).all()


def test_one_call_for_all_roots_in_every_simulation() -> None:
    network = Oracle(even)
    states, observations, legal = positions("tictactoe", 8, 0, 4)
    planner(network).search(observations, legal, 0, states=states, num_simulations=10)
    assert network.asked == [8] * 11


def test_a_mask_takes_moves_away_and_gives_none() -> None:
    planned = planner(Oracle(even))
    state = after(0, 3, 1, 4)
    observation, legal, _ = TICTACTOE.look(state)
    everything = np.ones_like(legal)
    visits = planned.search(observation, everything, 0, states=state, num_simulations=50).visit_counts[0]
    assert not visits[~legal[0]].any()
    legal[0, 2] = False
    visits = planned.search(observation, legal, 0, states=state, num_simulations=50).visit_counts[0]
    assert visits[2] == 0
    with pytest.raises(UserError, match="row 0 allows no action"):
        planned.search(observation, ~TICTACTOE.look(state)[1], 0, states=state)


def test_what_states_must_be_is_said_in_one_line() -> None:
    planned = planner(Oracle(even))
    states, observations, legal = positions("tictactoe", 3, 0, 4)
    with pytest.raises(UserError, match=r"pass states=.*env\.states"):
        planned.search(observations, legal, 0)
    with pytest.raises(UserError, match=r"expected an int64 array of \(3, 4\)"):
        planned.search(observations, legal, 0, states=states[:2])
    with pytest.raises(UserError, match="expected an int64"):
        planned.search(observations, legal, 0, states=states.astype(np.int32))
    with pytest.raises(UserError, match="row 1 is another position"):
        planned.search(observations, legal, 0, states=states[[0, 2, 2]])
    won = after(0, 3, 1, 4, 2)
    with pytest.raises(UserError, match="row 0 is a game that is over"):
        planned.search(TICTACTOE.look(won)[0], np.ones((1, 9), np.bool_), 0, states=won)


def test_rules_that_are_not_known_are_refused() -> None:
    with pytest.raises(UserError, match=r"search\.model: rules needs them: gym:CartPole-v1 is no board game"):
        planner(Oracle(even), "gym:CartPole-v1")


def test_a_result_between_win_and_loss_is_what_the_edge_earns() -> None:
    """The last move of a game that is scored earns its score, as it does in the environment."""
    row = SHARES.play(SHARES.first_states(1), [1])

    def nothing(observation: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
        return np.zeros(5, np.float32), 0.0

    session = RulesSession(Oracle(nothing), SHARES)
    _, _, recurrent_fn = session.start(np.repeat(row, 3, axis=0), 2, -1.0)
    reward, discount, _, value = recurrent_fn(np.zeros(3, np.int32), np.arange(3, dtype=np.int32), 1)
    assert reward.tolist() == SHARES.outcome(SHARES.play(np.repeat(row, 3, axis=0), [0, 1, 2]))[1].tolist()
    assert reward.tolist() == [-0.25, 0.0, 0.25]
    assert discount.tolist() == value.tolist() == [0.0, 0.0, 0.0]
