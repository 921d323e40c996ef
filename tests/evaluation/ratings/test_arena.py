"""The arena: everybody meets everybody, the same again however it is asked for, and nothing finished is lost."""

from __future__ import annotations

import errno
import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import muzero_wm
from muzero_wm.basis.errors import UserError
from muzero_wm.basis.registry import OPPONENTS
from muzero_wm.envs import BatchedEnv, EnvSpec, Step
from muzero_wm.evaluation import register_opponent
from muzero_wm.evaluation.players import Forfeit
from muzero_wm.evaluation.ratings.arena import arena
from tests.evaluation.ratings.runs import make_run

POOL = ["random", "mcts:2", "mcts:40", "perfect"]


class Counts:
    """Takes the first legal move; counts how often players of its kind were made and closed."""

    made = closed = 0

    def __init__(self, argument: str, spec: EnvSpec, seed: int) -> None:
        Counts.made += 1
        self.forfeits: list[Forfeit] = []
        self.argument = argument

    def actions(self, env: BatchedEnv, step: Step, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.argument == "interrupts":
            raise KeyboardInterrupt
        moves = step.legal_actions[rows].argmax(axis=1)
        if self.argument == "breaks":
            self.forfeits += [Forfeit(row, 0, "out of order") for row in rows.tolist()]
            moves[:] = -1
        return moves

    def close(self) -> None:
        Counts.closed += 1


@pytest.fixture
def _first() -> Iterator[None]:
    register_opponent("first", Counts)
    Counts.made = Counts.closed = 0
    yield
    OPPONENTS._own.clear()


@pytest.mark.parametrize("sprt", [(0.0, 7000.0), (-1e6, 0.0), (4000.5, 4001.0)])
def test_hypotheses_that_no_game_can_tell_apart_are_refused(sprt: tuple[float, float]) -> None:
    """Beyond some thousand points the expected score is 1 whatever the numbers, and no ratio is left."""
    with pytest.raises(UserError, match="sprt must be from -4000 to 4000 points, got "):
        arena(["random", "mcts:2"], env="tictactoe", games=2, sprt=sprt)
    assert arena(["random", "mcts:2"], env="tictactoe", games=2, sprt=(-4000.0, 4000.0)).sprt is not None


def test_the_stronger_one_is_rated_higher_and_every_game_is_counted(seed: int) -> None:
    result = arena(POOL, env="tictactoe", games=40, seed=seed, opening_plies=1)
    assert [each.name for each in result.players[:1]] == ["perfect"]
    assert [each.name for each in result.players[-2:]] in (["mcts:2", "random"], ["random", "mcts:2"])
    assert result.games == 6 * 40 and all(each.games == 120 for each in result.players)
    assert result.anchor == "random"
    for met in result.met:
        assert (met.games, sum(met.pairs)) == (40, 20)
        points = met.wins + met.draws / 2
        assert (
            met.score * 40 == points == sum(n * value for n, value in zip(met.pairs, (0, 0.5, 1, 1.5, 2), strict=True))
        )
    perfect, random = result.players[0], next(each for each in result.players if each.name == "random")
    assert (random.rating, random.low, random.high) == (0.0, 0.0, 0.0)
    assert 0 < perfect.low < perfect.rating < perfect.high
    assert perfect.ahead is not None and perfect.ahead > 0.5 and result.players[-1].ahead is None
    against = next(met for met in result.met if {met.first, met.second} == {"perfect", "random"})
    assert (against.wins if against.first == "random" else against.losses) == 0  # one random move loses nothing


def test_the_order_of_players_does_not_matter_nor_who_else_is_there(seed: int) -> None:
    one = arena(["random", "mcts:2", "mcts:20"], env="tictactoe", games=20, seed=seed)
    other = arena(["mcts:20", "random", "mcts:2"], env="tictactoe", games=20, seed=seed)
    assert json.dumps(one.to_dict()) == json.dumps(other.to_dict())
    more = arena(["mcts:20", "perfect", "random", "mcts:2"], env="tictactoe", games=20, seed=seed)
    assert set(one.met) <= set(more.met)
    assert arena(["random", "mcts:2"], env="tictactoe", games=20, seed=seed + 1).met[0] not in one.met


def test_the_anchor_is_at_nought_whoever_it_is(seed: int) -> None:
    players = ["mcts:2", "mcts:20", "perfect"]
    first = arena(players, env="tictactoe", games=20, seed=seed)
    named = arena(players, env="tictactoe", games=20, seed=seed, anchor="mcts:20")
    assert (first.anchor, named.anchor) == ("mcts:2", "mcts:20")
    ratings = [{each.name: each.rating for each in found.players} for found in (first, named)]
    assert ratings[0]["mcts:2"] == ratings[1]["mcts:20"] == 0.0
    for name in players:
        assert ratings[0][name] - ratings[1][name] == pytest.approx(ratings[0]["mcts:20"])
    with pytest.raises(UserError, match="anchor 'random': expected one of the players: mcts:2, mcts:20, perfect"):
        arena(players, env="tictactoe", games=20, anchor="random")


def test_runs_meet_and_are_known_by_their_updates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs" / "a", steps=(0, 5))
    result = arena(["runs/a@all", "runs/a:0", "random"], games=4)
    assert {(each.name, each.run, each.updates) for each in result.players} == {
        ("runs/a@0:4", "runs/a", 0),
        ("runs/a@5:4", "runs/a", 5),
        ("runs/a@5:0", "runs/a", 5),
        ("random", None, None),
    }
    assert result.env == "tictactoe"


def test_an_interrupted_arena_goes_on_where_it_was(tmp_path: Path, seed: int) -> None:
    whole = arena(POOL, env="tictactoe", games=8, seed=seed, keep=tmp_path / "whole")
    lines = (tmp_path / "whole").read_text().splitlines(keepends=True)
    assert len(lines) == 6 and whole.played == sum(met.moves for met in whole.met)
    for kept, torn in ((0, ""), (1, ""), (4, lines[4][:50]), (5, lines[5][:-1]), (6, "")):
        path = tmp_path / f"part-{kept}"
        path.write_text("".join(lines[:kept]) + torn)
        again = arena(POOL, env="tictactoe", games=8, seed=seed, keep=path)
        assert json.dumps(again.to_dict()) == json.dumps(whole.to_dict())
        assert path.read_text() == (tmp_path / "whole").read_text()
        assert again.played == sum(json.loads(line)["moves"] for line in lines[kept:])
    # another seed, another length: of no use, and no harm
    more = arena(POOL, env="tictactoe", games=8, seed=seed + 1, keep=tmp_path / "whole")
    assert more.played == sum(met.moves for met in more.met)
    assert arena(POOL, env="tictactoe", games=8, seed=seed, keep=tmp_path / "whole").played == 0


@pytest.mark.usefixtures("_first")
def test_ctrl_c_loses_no_finished_game_and_leaves_no_player_open(tmp_path: Path) -> None:
    players = ["mcts:2", "random", "first", "first:interrupts"]
    with pytest.raises(KeyboardInterrupt):
        arena(players, env="tictactoe", games=4, keep=tmp_path / "games")
    assert Counts.made == Counts.closed
    kept = [json.loads(line) for line in (tmp_path / "games").read_text().splitlines()]
    result = arena(["mcts:2", "random", "first"], env="tictactoe", games=4, keep=tmp_path / "games")
    played = {(line["first"], line["second"]) for line in kept}
    assert result.played == sum(met.moves for met in result.met if (met.first, met.second) not in played)


def test_a_full_disk_is_one_line_and_what_was_kept_stays(tmp_path: Path) -> None:
    path = tmp_path / "games"
    arena(["random", "mcts:2"], env="tictactoe", games=40, keep=path)
    before, size = resource.getrlimit(resource.RLIMIT_FSIZE), path.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))
    try:
        with pytest.raises(UserError, match=r"games: cannot be written: File too large; what was kept before is still"):
            arena(["random", "mcts:2", "perfect"], env="tictactoe", games=40, keep=path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    result = arena(["random", "mcts:2", "perfect"], env="tictactoe", games=40, keep=path)
    assert result.played == sum(met.moves for met in result.met if "perfect" in (met.first, met.second))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("my letters\n", "expected the finished games of an arena, got something else"),
        ('{"format": 2}\n', "expected the finished games of an arena, got something else"),
        ('{"format": 1, "env": "tictactoe"}\n', "line 1 is damaged; remove it, and its games are played again"),
    ],
)
def test_a_file_of_something_else_is_left_alone(content: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "games"
    path.write_text(content)
    with pytest.raises(UserError, match=expected):
        arena(["random", "mcts:2"], env="tictactoe", games=2, keep=path)
    assert path.read_text() == content


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path, tmp_path / "nowhere" / "games", tmp_path / "link"):
        with pytest.raises(UserError, match="cannot be written"):
            arena(["random", "mcts:2"], env="tictactoe", games=2, keep=path)
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "empty").touch()
    arena(["random", "mcts:2"], env="tictactoe", games=2, keep=tmp_path / "empty")


def test_what_fails_in_the_games_is_not_laid_at_the_files_door(tmp_path: Path) -> None:
    def fail(done: int, total: int) -> None:
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    with pytest.raises(BlockingIOError, match="no more processes"):
        arena(["random", "mcts:2"], env="tictactoe", games=2, keep=tmp_path / "games", progress=fail)
    arena(["random", "mcts:2"], env="tictactoe", games=2, keep=tmp_path / "games")  # and nobody holds it any more


@pytest.mark.usefixtures("_first")
def test_two_arenas_do_not_write_to_one_file(tmp_path: Path) -> None:
    def inside(done: int, total: int) -> None:
        with pytest.raises(UserError, match="games: another arena writes to it"):
            arena(["random", "mcts:2"], env="tictactoe", games=2, keep=tmp_path / "games")

    arena(["random", "first"], env="tictactoe", games=2, keep=tmp_path / "games", progress=inside)


@pytest.mark.usefixtures("_first")
def test_who_gives_up_loses_and_it_is_told_why(seed: int) -> None:
    result = arena(["random", "first:breaks"], env="tictactoe", games=6, seed=seed)
    [met] = result.met
    assert met.first == "first:breaks" and (met.wins, met.draws, met.losses) == (0, 0, 6)
    assert {(each["by"], each["reason"]) for each in met.forfeits} == {("first:breaks", "out of order")}
    assert sorted(each["opening"] for each in met.forfeits) == [0, 0, 1, 1, 2, 2]
    assert result.to_dict()["met"][0]["forfeits"] == list(met.forfeits)


@pytest.mark.usefixtures("_first")
def test_pairs_that_repeat_others_count_once(seed: int) -> None:
    result = arena(["first", "first:too"], env="tictactoe", games=20, seed=seed, opening_plies=0)
    [met] = result.met
    assert (sum(met.pairs), met.distinct) == (10, 1)
    alone = arena(["first", "first:too"], env="tictactoe", games=2, seed=seed, opening_plies=0)
    assert [(each.rating, each.low) for each in result.players] == [(each.rating, each.low) for each in alone.players]
    opened = arena(["first", "first:too"], env="tictactoe", games=20, seed=seed, opening_plies=3)
    assert opened.met[0].distinct > 5


def test_it_plays_until_intervals_are_narrow(seed: int, tmp_path: Path) -> None:
    options: dict[str, Any] = {"env": "tictactoe", "seed": seed, "until_interval": 150.0, "anchor": "mcts:40"}
    result = arena(POOL[1:], games=400, keep=tmp_path / "games", **options)
    assert max(each.high - each.low for each in result.players) <= 150.0
    assert result.to_dict()["until_interval"] == {"width": 150.0, "reached": True}
    assert len({met.games for met in result.met}) > 1, "not everybody plays alike"
    again = arena(POOL[:0:-1], games=400, keep=tmp_path / "games", **options)
    assert again.played == 0 and again.to_dict() == result.to_dict()
    short = arena(POOL[1:], games=20, **options)
    assert short.to_dict()["until_interval"]["reached"] is False and short.games == 60


@pytest.mark.parametrize("order", [1, -1])
def test_a_sequential_test_ends_early_and_is_about_the_first(order: int, seed: int) -> None:
    result = arena(["perfect", "random"][::order], env="tictactoe", seed=seed, sprt=(0.0, 100.0))
    assert result.sprt is not None and result.games < 200
    assert (result.sprt.first, result.sprt.accepted) == (("perfect", "elo1"), ("random", "elo0"))[order < 0]
    undecided = arena(["mcts:40", "mcts:41"], env="tictactoe", seed=seed, games=20, sprt=(0.0, 5.0))
    assert undecided.sprt is not None and undecided.sprt.accepted is None and undecided.games == 20
    with pytest.raises(UserError, match="sprt tests two players, got 3"):
        arena(["random", "perfect", "mcts:2"], env="tictactoe", sprt=(0.0, 5.0))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"games": 3}, "games must be an even number, every opening is played from both seats; got 3"),
        ({"games": 0}, "games must be an even number"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"sprt": (5.0, 0.0)}, "sprt must be two numbers of points, the smaller one first, got 5 and 0"),
        ({"sprt": (0.0, float("inf"))}, "sprt must be two numbers of points"),
        ({"until_interval": 0.0}, "until_interval must be a number of points above 0"),
        ({"until_interval": float("nan")}, "until_interval must be a number of points above 0"),
        ({"until_interval": 9.0, "sprt": (0.0, 5.0)}, "expected one of them, got both"),
        ({"opening_plies": -1}, "opening_plies must be at least 0"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
    ],
)
def test_impossible_arguments_are_told(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        arena(["random", "mcts:2"], env="tictactoe", **options)


def test_progress_moves_and_ends_at_its_end() -> None:
    seen: list[tuple[int, int]] = []
    arena(["random", "mcts:2", "mcts:3"], env="tictactoe", games=4, progress=lambda *counts: seen.append(counts))
    assert seen[-1] == (12, 12) and seen == sorted(seen) and len(seen) > 12


def test_it_is_in_front() -> None:
    assert muzero_wm.arena is arena
    assert isinstance(muzero_wm.arena(["random", "mcts:2"], env="tictactoe", games=2), muzero_wm.ArenaResult)
