"""Episodes, solved positions, and the report that puts everything together."""

from __future__ import annotations

import json

import gymnasium
import numpy as np
import pytest

from muzero_wm import envs
from muzero_wm.basis.errors import UserError
from muzero_wm.evaluation import AgentPlayer, evaluate, play_episodes, share_kept
from muzero_wm.evaluation.connect4_solver import connect_four_solver
from muzero_wm.evaluation.solved import solved_positions
from tests.evaluation.stubs import FirstLegalAgent, PerfectTicTacToe, RandomAgent, StubAgent


class Coin(gymnasium.Env):
    """Pays 1 a step; half of the episodes last 1 step, the others 19."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: object = None) -> tuple[np.ndarray, dict[str, object]]:
        super().reset(seed=seed)
        self._left = int(self.np_random.choice([1, 19]))
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, object]]:
        self._left -= 1
        return np.zeros(1, np.float32), 1.0, self._left == 0, False, {}


gymnasium.register("tests/Coin-v0", entry_point=Coin, disable_env_checker=True)


def test_short_episodes_are_not_favoured(seed: int) -> None:
    returns = play_episodes("gym:tests/Coin-v0", AgentPlayer(FirstLegalAgent("gym:tests/Coin-v0")), 600, seed).returns
    assert len(returns) == 600
    assert set(returns) == {1.0, 19.0}
    # Five standard deviations; counting whichever ends first gives a share of long episodes far below.
    assert abs(np.mean(np.array(returns) == 19.0) - 0.5) < 0.102


def test_every_slot_plays_its_share_of_complete_episodes(seed: int) -> None:
    agent = AgentPlayer(FirstLegalAgent("gym:CartPole-v1"))
    finished: list[tuple[int, int]] = []
    returns = play_episodes(
        "gym:CartPole-v1", agent, 7, seed, num_envs=3, progress=lambda *counts: finished.append(counts)
    ).returns
    assert finished[-1] == (7, 7)
    for first, count, slot in ((0, 3, 0), (3, 2, 1), (5, 2, 2)):
        env = envs.make("gym:CartPole-v1", 3, seed)
        env.reset()
        expected, running = [], 0.0
        while len(expected) < count:
            step = env.step(np.zeros(3, int))
            running += float(step.reward[slot])
            if step.terminated[slot]:
                expected.append(running)
                running = 0.0
        assert returns[first : first + count] == expected


class Endless(gymnasium.Env):
    """Ends with reward 1 after as many steps as its seed says, and never where that is odd."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: object = None) -> tuple[np.ndarray, dict[str, object]]:
        super().reset(seed=seed)
        self._left = int(self.np_random.integers(1, 9))
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, object]]:
        self._left -= 2
        return np.zeros(1, np.float32), 0.25, self._left == 0, False, {}


gymnasium.register("tests/Endless-v0", entry_point=Endless, disable_env_checker=True)


def test_an_episode_that_never_ends_is_cut_and_told(seed: int) -> None:
    player = AgentPlayer(FirstLegalAgent("gym:tests/Endless-v0"))
    seen: list[tuple[int, int]] = []
    played = play_episodes(
        "gym:tests/Endless-v0", player, 40, seed, num_envs=8, max_steps=20, progress=lambda *counts: seen.append(counts)
    )
    assert len(played.returns) == len(played.lengths) == 40
    assert played.returns == [0.25 * length for length in played.lengths]
    assert set(played.lengths) <= {1, 2, 3, 4, 20}
    assert 4 < played.cut == played.lengths.count(20) < 36
    assert seen == sorted(seen)
    assert seen[-1] == (40, 40)
    report = evaluate(RandomAgent("gym:tests/Endless-v0"), games=3, seed=seed, max_steps=10)
    assert (report["max_steps"], report["cut"]) == (10, sum(value == 2.5 for value in report["returns"]))


def test_a_policy_that_walks_into_a_wall_for_ever_is_evaluated(seed: int) -> None:
    played = play_episodes("gym:CliffWalking-v1", AgentPlayer(FirstLegalAgent("gym:CliffWalking-v1")), 2, seed)
    assert (played.lengths, played.cut, played.max_steps) == ([5000, 5000], 2, 5000)  # always up
    with pytest.raises(UserError, match="max_steps must be at least 1, got 0"):
        play_episodes("gym:CliffWalking-v1", AgentPlayer(FirstLegalAgent("gym:CliffWalking-v1")), 2, max_steps=0)


def test_report_of_one_player(seed: int) -> None:
    report = evaluate(RandomAgent("gym:CartPole-v1"), games=5, seed=seed)
    assert report == json.loads(json.dumps(report))
    assert (report["env"], report["games"], report["seed"]) == ("gym:CartPole-v1", 5, seed)
    for part in (report, report["raw_policy"]):
        assert len(part["returns"]) == 5
        assert part["mean_return"] == pytest.approx(np.mean(part["returns"]))
        assert part["ci95"][0] <= part["mean_return"] <= part["ci95"][1]
    assert max(report["raw_policy"]["returns"]) < 15  # always pushing right
    with pytest.raises(UserError, match="opponent 'random': gym:CartPole-v1 is for one player"):
        evaluate(RandomAgent("gym:CartPole-v1"), "random", games=5)


def test_report_of_two_players(seed: int) -> None:
    agent = PerfectTicTacToe()
    seen: list[tuple[int, int]] = []
    report = evaluate(agent, games=20, simulations=7, seed=seed, progress=lambda *counts: seen.append(counts))
    assert report == json.loads(json.dumps(report))
    assert (report["opponent"], report["simulations"], report["draws"], report["score"]) == ("perfect", 7, 20, 0.5)
    assert set(agent.simulations_asked) == {7}
    assert report["exhaustive"]["losses"] == 0
    assert report["raw_policy"]["losses"] > 0
    assert report["raw_policy"]["exhaustive"]["losses"] > 0
    assert seen[-1] == (40, 40)
    assert seen == sorted(seen)


def test_the_agents_own_number_of_simulations_is_reported(seed: int) -> None:
    agent = RandomAgent("connect4")
    report = evaluate(agent, "random", games=6, seed=seed)
    assert report["simulations"] == agent.config.search.num_simulations
    assert set(agent.simulations_asked) == {None}
    assert "exhaustive" not in report
    assert report == evaluate(RandomAgent("connect4"), "random", games=6, seed=seed)
    assert report["opening_plies"] == 2  # 7 x 7 beginnings for 3 pairs
    assert report["distinct_games"] == 6
    assert evaluate(agent, "random", games=6, opening_plies=0)["opening_plies"] == 0
    with pytest.raises(UserError, match="opening_plies must be at least 0, got -1"):
        evaluate(agent, "random", games=6, opening_plies=-1)
    with pytest.raises(UserError, match="opening_plies 2: gym:CartPole-v1 is for one player"):
        evaluate(RandomAgent("gym:CartPole-v1"), games=6, opening_plies=2)


class SolvedAgent(StubAgent):
    """Knows the solved positions by heart."""

    def __init__(self, count: int, seed: int) -> None:
        super().__init__("connect4")
        positions = solved_positions(count, seed)
        boards = envs.board_game("connect4").look(positions.states)[0]
        self._best = {
            board.tobytes(): int(keeps.argmax()) for board, keeps in zip(boards, positions.keeps, strict=True)
        }

    def choose(self, observation: np.ndarray, legal: np.ndarray, key: int) -> int:
        return self._best[observation.tobytes()]


def test_share_of_solved_positions_kept(seed: int) -> None:
    pytest.importorskip("bitbully", reason="bitbully is the Connect Four solver (extra: eval)")
    count = 58
    positions = solved_positions(count, seed)
    assert solved_positions(count, seed) is positions
    assert sorted(positions.states[:, 0].tolist()) == sorted(list(range(2, 31)) * 2)
    assert len(np.unique(positions.states, axis=0)) == count
    legal = envs.board_game("connect4").legal_actions(positions.states)
    assert not (positions.keeps & ~legal).any()
    assert positions.keeps.any(axis=1).all()
    assert (legal & ~positions.keeps).any(axis=1).all()
    solver, game = connect_four_solver(), envs.board_game("connect4")
    late = np.flatnonzero(positions.states[:, 0] >= 14)
    for row, keeps in zip(positions.states[late], positions.keeps[late], strict=True):
        outcomes = {}
        for move in np.flatnonzero(game.legal_actions(row[None])[0]).tolist():
            after = game.play(row[None], [move])
            over, result = game.outcome(after)
            outcomes[move] = result[0] if over[0] else -np.sign(solver.move_scores(after).max())
        assert np.flatnonzero(keeps).tolist() == [m for m, value in outcomes.items() if value == max(outcomes.values())]
    perfect = share_kept(SolvedAgent(count, seed), count=count, seed=seed)
    assert perfect["share_kept"] == 1.0
    assert 0.2 < perfect["random"] < 0.5
    assert perfect["raw_policy"] < 0.9
    assert share_kept(RandomAgent("connect4"), count=count, seed=seed)["share_kept"] < 0.7
