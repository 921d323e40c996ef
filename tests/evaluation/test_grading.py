"""Positions of solved games: drawn fairly, solved exactly, and what an agent makes of them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from muzero_wm import envs
from muzero_wm.agent import Agent
from muzero_wm.basis.errors import UserError
from muzero_wm.cli import main as cli
from muzero_wm.cli.positions import print_positions
from muzero_wm.config.presets import load_config
from muzero_wm.envs.boards.board import States
from muzero_wm.evaluation import minimax
from muzero_wm.evaluation.exact import Solved, exact_game
from muzero_wm.evaluation.grading import calibration, grade, grade_solved, scheme
from muzero_wm.evaluation.minimax import ILLEGAL_MOVE, MinimaxTable
from muzero_wm.evaluation.positions import draw_positions, even_shares
from muzero_wm.model.world_model import WorldModel
from tests.evaluation.stubs import RandomAgent, StubAgent

LINES = [{0, 1, 2}, {3, 4, 5}, {6, 7, 8}, {0, 3, 6}, {1, 4, 7}, {2, 5, 8}, {0, 4, 8}, {2, 4, 6}]


def connect4(moves: str) -> States:
    """Returns the position after columns that are counted from 1, as they are written elsewhere."""
    game = envs.board_game("connect4")
    states = game.first_states(1)
    for move in moves:
        states = game.play(states, [int(move) - 1])
    return states


@cache
def end_of(mine: frozenset[int], theirs: frozenset[int]) -> tuple[int, int]:
    """Returns the outcome of tic-tac-toe for the player to move and the number of stones at the end, by plain search.

    Who wins wants it soon, who loses wants it late.
    """
    if any(line <= theirs for line in LINES):
        return -1, len(mine) + len(theirs)
    free = set(range(9)) - mine - theirs
    if not free:
        return 0, 9
    ends = [end_of(theirs, mine | {cell}) for cell in free]
    outcome = max(-value for value, _ in ends)
    stones = [stones for value, stones in ends if -value == outcome]
    return outcome, max(stones) if outcome < 0 else min(stones)


class Knowing(StubAgent):
    """Has looked everything up: moves by `prefer`, values exactly but for an error."""

    def __init__(self, env: str, solved: Solved, prefer: Any = np.argmax, error: float = 0.0) -> None:
        super().__init__(env)
        boards = envs.board_game(env).look(solved.states)[0]
        values = solved.outcome + error
        scores = np.where(solved.legal, solved.scores, -ILLEGAL_MOVE if prefer is np.argmin else ILLEGAL_MOVE)
        moves = prefer(scores, axis=1)
        self._known = {board.tobytes(): known for board, *known in zip(boards, moves, values, strict=True)}

    def search(self, observations: NDArray[Any], *_: Any, **__: Any) -> SimpleNamespace:
        known = [self._known[board.tobytes()] for board in observations]
        return SimpleNamespace(
            action=np.array([move for move, _ in known]), root_value=np.array([value for _, value in known])
        )

    def policy(
        self, observations: NDArray[Any], legal_actions: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        found = self.search(observations)
        return np.eye(legal_actions.shape[1], dtype=np.float32)[found.action], found.root_value


def test_known_scores_of_connect_four() -> None:
    pytest.importorskip("bitbully", reason="bitbully is the Connect Four solver (extra: eval)")
    exact = exact_game("connect4")
    first = exact.solve(connect4(""))
    # usually written -2 -1 0 1 0 -1 -2: the second player wins with the last or the second last stone, the first
    # player with the last one
    assert first.scores.tolist() == [[-3, -1, 0, 2, 0, -1, -3]]
    assert first.left.tolist() == [41]
    # usually 18, "wins in two moves with the 4th stone", and -15, "loses next move to the 7th stone"
    both = exact.solve(np.concatenate([connect4("4455"), connect4("44455554221")]))
    assert both.outcome.tolist() == [1, -1]
    assert (both.plies + both.left).tolist() == [4 + 4 - 1, 7 + 7 - 1]


def test_scores_of_tictactoe_are_those_of_a_plain_search() -> None:
    table = MinimaxTable("tictactoe")
    for row, scores in zip(table.states.tolist(), table.move_scores.tolist(), strict=True):
        mine, theirs = ({cell for cell in range(9) if stones >> cell & 1} for stones in row[2:])
        for cell, score in enumerate(scores):
            if cell in mine | theirs:
                assert score == ILLEGAL_MOVE
                continue
            value, stones = end_of(frozenset(theirs), frozenset(mine | {cell}))
            assert score == -value * (10 - stones)


def test_a_game_that_is_too_large_is_not_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minimax, "MOST_POSITIONS", 4519)
    with pytest.raises(UserError, match="tictactoe has more than 4,519 positions"):
        MinimaxTable("tictactoe")
    monkeypatch.setattr(minimax, "MOST_POSITIONS", 4520)
    assert len(MinimaxTable("tictactoe").states) == 4520


@pytest.mark.parametrize(("name", "count"), [("tictactoe", 4520), ("connect4", 60)])
def test_best_play_ends_when_it_was_said_to(name: str, count: int, seed: int) -> None:
    if name == "connect4":
        pytest.importorskip("bitbully", reason="bitbully is the Connect Four solver (extra: eval)")
    exact = exact_game(name)
    states = draw_positions(exact.game, count, seed)
    solved = exact.solve(states[states[:, 0] >= (0 if name == "tictactoe" else 18)])
    going, outcome, left = solved.states, solved.outcome, solved.left
    while len(going):
        moves = exact.solve(going).scores.argmax(axis=1)
        going, outcome, left = exact.game.play(going, moves), -outcome, left - 1
        over, result = exact.game.outcome(going)
        assert (over == (left == 0)).all()
        assert (result[over] == -outcome[over]).all()
        going, outcome, left = going[~over], outcome[~over], left[~over]


def test_positions_are_different_in_play_and_even(seed: int) -> None:
    game = envs.board_game("connect4")
    states = draw_positions(game, 420, seed)
    assert len(np.unique(states, axis=0)) == len(states) == 420
    assert not game.outcome(states)[0].any()
    observations = game.look(states)[0]
    plies = states[:, 0]
    assert (observations[:, :2].sum(axis=(1, 2, 3)) == plies).all()
    counts = np.bincount(plies)
    assert counts[:2].tolist() == [1, 7]
    assert set(counts[2:].tolist()) <= {10, 11}
    assert (draw_positions(game, 420, seed) == states).all()
    assert (draw_positions(game, 420, seed + 1) != states).any()


def test_a_small_game_is_drawn_whole(seed: int) -> None:
    game = envs.board_game("tictactoe")
    states = draw_positions(game, 10_000, seed)
    assert sorted(map(bytes, states)) == sorted(map(bytes, MinimaxTable("tictactoe").states))
    with pytest.raises(UserError, match="positions must be at least 1, got 0"):
        draw_positions(game, 0)


def test_shares_are_even_where_there_is_room(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(200):
        sizes = rng.integers(1, 30, rng.integers(1, 9))
        count = int(rng.integers(1, 150))
        shares = even_shares(sizes, count)
        assert shares.sum() == min(count, sizes.sum())
        assert (shares <= sizes).all()
        room = shares < sizes
        assert not room.any() or shares[room].max() - shares[room].min() <= 1
        assert not room.any() or shares[~room].max(initial=0) <= shares[room].max()


def test_the_public_scheme() -> None:
    found = scheme(42)
    assert found["stages"] == {"begin": [0, 14], "middle": [15, 28], "end": [29, 41]}
    assert found["difficulties"] == {"easy": [1, 13], "medium": [14, 27], "hard": [28, 42]}
    assert found["impossible"] == ["middle hard", "end medium", "end hard"]  # six are left, and there are six sets


@pytest.mark.parametrize("name", ["tictactoe", "connect4"])
def test_who_knows_everything_makes_no_mistake_and_who_plays_worst_all(name: str, seed: int) -> None:
    if name == "connect4":
        pytest.importorskip("bitbully", reason="bitbully is the Connect Four solver (extra: eval)")
    exact = exact_game(name)
    states = draw_positions(exact.game, 120, seed)
    solved = exact.solve(states if name == "tictactoe" else states[states[:, 0] >= 16])
    perfect = grade_solved(Knowing(name, solved), solved, seed=seed)
    worst = grade_solved(Knowing(name, solved, np.argmin, error=-0.25), solved, seed=seed)
    for part in (perfect["search"], perfect["raw_policy"]):
        assert part["kept"]["share"] == part["best"]["share"] == part["kept_where_decisive"]["share"] == 1.0
        assert all(row["kept"]["share"] == row["best"]["share"] == 1.0 for row in part["by_ply"])
        assert part["value"]["rmse"] == part["value"]["bias"] == 0.0
    for part in (worst["search"], worst["raw_policy"]):
        assert part["kept_where_decisive"]["share"] == 0.0
        assert all(row["kept_where_decisive"]["share"] == 0.0 for row in part["by_ply"] if row["decisive"])
        assert part["kept"]["share"] == pytest.approx(
            1 - part["decisive"] / part["positions"]
        )  # elsewhere none can be made
        same = [len(set(row[row != ILLEGAL_MOVE].tolist())) == 1 for row in solved.scores]
        assert part["best"]["share"] == pytest.approx(np.mean(same))
        assert part["value"]["rmse"] == pytest.approx(0.25)
        assert part["value"]["bias"] == pytest.approx(-0.25)
    cells = [cell for row in perfect["search"]["by_cell"].values() for cell in row.values() if cell]
    assert sum(cell["positions"] for cell in cells) == perfect["positions"] == len(solved.states)
    assert perfect["random"]["kept"]["share"] == pytest.approx(
        np.mean([keeps.sum() / legal.sum() for keeps, legal in zip(solved.keeps, solved.legal, strict=True)])
    )
    json.dumps(perfect)


def test_values_are_compared_in_the_units_they_are_learnt_in() -> None:
    """With a discount, a win that is far off is worth less."""
    exact = exact_game("tictactoe")
    solved = exact.solve(draw_positions(exact.game, 10_000))
    agent = Knowing("tictactoe", solved)
    agent.config = agent.config.model_copy(update={"search": agent.config.search.model_copy(update={"discount": 0.5})})
    exactly = solved.outcome * 0.5 ** (solved.left - 1)
    found = grade_solved(agent, solved)["search"]["value"]
    assert found["bias"] == pytest.approx((solved.outcome - exactly).mean())


def test_calibration_of_a_few_values() -> None:
    found = calibration(np.array([-1.3, 0.25, 0.3, 0.35, 1.0]), np.array([-1.0, 1.0, 1.0, -1.0, 1.0]))
    assert found["rmse"] == pytest.approx(np.sqrt((0.3**2 + 0.75**2 + 0.7**2 + 1.35**2 + 0.0) / 5))
    assert found["bias"] == pytest.approx((-0.3 - 0.75 - 0.7 + 1.35) / 5)
    assert [part["positions"] for part in found["bins"]] == [1, 0, 0, 0, 0, 0, 3, 0, 0, 1]
    middle = found["bins"][6]
    assert (middle["low"], middle["high"]) == (0.2, 0.4)
    assert middle["predicted"] == pytest.approx(0.3)
    assert middle["exact"] == pytest.approx(1 / 3)
    assert found["bins"][1]["exact"] is None
    assert found["bins"][9]["ci95"] is None
    assert calibration(np.zeros(1), np.ones(1))["rmse_ci95"] is None


def test_a_report_is_the_same_every_time(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[int, int]] = []
    found = grade(RandomAgent("tictactoe"), 300, 7, seed, lambda *now: seen.append(now))
    assert found == grade(RandomAgent("tictactoe"), 300, 7, seed)
    assert (found["env"], found["positions"], found["simulations"]) == ("tictactoe", 300, 7)
    assert seen == sorted(seen)
    assert seen[-1] == (600, 600)
    low, high = found["search"]["kept"]["ci95"]
    assert low - 0.08 < found["random"]["kept"]["share"] < high + 0.08
    print_positions(found)
    out = capsys.readouterr().out
    assert "tictactoe, 300 solved positions, 7 simulations" in out
    assert "Impossible: middle hard, end medium, end hard." in out
    assert "left undecided: none" in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_game_that_is_not_solved_is_refused() -> None:
    with pytest.raises(UserError, match="gym:CartPole-v1 is not solved: exact scores are known of connect4"):
        grade(RandomAgent("gym:CartPole-v1"), 10)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, config = tmp_path / "agent", load_config("debug")
    spec = envs.spec("tictactoe")
    Agent(config, spec, WorldModel(config.model, spec), 0).save(run)
    words = ["evaluate", str(run), "--positions", "40", "--simulations", "2"]
    assert cli.main([*words, "--json", str(tmp_path / "found.json")]) == 0
    report = json.loads((tmp_path / "found.json").read_text())
    assert report["positions"] == sum(row["positions"] for row in report["search"]["by_ply"]) == 40
    capsys.readouterr()
    for option in (["--games", "5"], ["--opponent", "random"], ["--max-steps", "9"]):
        assert cli.main([*words, *option]) == 2
        assert f"{option[0]} is about games, and --positions plays none" in capsys.readouterr().err
    assert cli.main(["evaluate", str(run), "--positions", "0"]) == 2
    assert "expected an integer >= 1, got '0'" in capsys.readouterr().err
