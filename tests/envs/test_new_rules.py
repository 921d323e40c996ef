"""Othello, Gomoku, Hex and Go against rules written plainly, against OpenSpiel, and against what is known of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from muzero_wm import envs
from muzero_wm.envs.base import Symmetry
from muzero_wm.envs.boards.board import BoardEnv
from tests.envs.helpers import assert_agrees_with_openspiel, random_games, random_moves
from tests.envs.plain_games import Go, Gomoku, Hex, Othello, Plain

PLAIN: dict[str, tuple[int, Callable[[], Plain]]] = {  # how many games, and the oracle
    "othello": (8, lambda: Othello(8)),
    "othello(board_size=6)": (20, lambda: Othello(6)),
    "othello(board_size=4)": (60, lambda: Othello(4)),
    "gomoku": (2, lambda: Gomoku(15, 15, 5)),
    "gomoku(rows=5, columns=8, k=4)": (30, lambda: Gomoku(5, 8, 4)),
    "gomoku(rows=3, columns=3, k=3)": (100, lambda: Gomoku(3, 3, 3)),
    "gomoku(rows=19, columns=3, k=4)": (8, lambda: Gomoku(19, 3, 4)),
    "hex": (5, lambda: Hex(11)),
    "hex(board_size=4, swap=true)": (80, lambda: Hex(4, swap=True)),
    "hex(board_size=2)": (50, lambda: Hex(2)),
    "go": (2, lambda: Go(9, 7)),
    "go(board_size=5, komi=0.5)": (8, lambda: Go(5, 0.5)),
    "go(board_size=3, komi=0)": (80, lambda: Go(3, 0)),
}
NAMES = list(PLAIN)


def draw(plain: Plain) -> np.ndarray:
    """Returns the stones of the player to move and those of the other, [2, H, W]."""
    planes = np.zeros((2, plain.height, plain.width), np.uint8)
    for (y, x), seat in plain.board.items():
        planes[int(seat != plain.to_play), y, x] = 1
    return planes


@pytest.mark.parametrize("name", NAMES)
def test_random_games_are_those_of_plain_rules(name: str, seed: int) -> None:
    count, make = PLAIN[name]
    compare(name, make, count, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["othello(board_size=6)", "gomoku(rows=5, columns=8, k=4)", "hex(board_size=5)"])
def test_a_thousand_games_are_those_of_plain_rules(name: str, seed: int) -> None:
    makes = {"othello": lambda: Othello(6), "gomoku": lambda: Gomoku(5, 8, 4), "hex": lambda: Hex(5)}
    compare(name, makes[name.partition("(")[0]], 1_000, seed)


def compare(name: str, make: Callable[[], Plain], count: int, seed: int) -> None:
    """Plays random games by both rules and compares legal moves, stones and results at every ply."""
    spec, game = envs.spec(name), envs.board_game(name)
    rng = np.random.default_rng(seed)
    for _ in range(count):
        plain, states = make(), game.first_states(1)
        plies = 0
        while plain.winner is None:
            observation, _, to_play = game.look(states)
            legal = np.flatnonzero(game.legal_actions(states)[0]).tolist()
            assert legal == [move for move in plain.legal() if move < spec.num_actions]
            assert to_play[0] == plain.to_play == plies % 2
            np.testing.assert_array_equal(observation[0, :2], draw(plain))
            assert not game.outcome(states)[0][0]
            move = legal[rng.integers(len(legal))]
            plain.play(move)
            states = game.play(states, [move])
            plies += 1
        over, result = game.outcome(states)
        assert over[0]
        assert spec.max_episode_steps is not None
        assert plies <= spec.max_episode_steps
        last = 1 - plain.to_play
        assert result[0] == (0 if plain.winner == "draw" else 1 if plain.winner == last else -1)
        np.testing.assert_array_equal(game.look(states)[0][0, :2], draw(plain))


OPENSPIEL = {
    "othello": "othello",
    "hex": "hex",
    "hex(board_size=5)": "hex(board_size=5)",
    "gomoku": "gomoku",
    "gomoku(rows=7, columns=7, k=4)": "gomoku(size=7,connect=4)",
    "gomoku(rows=4, columns=6, k=4)": "mnk(m=6,n=4,k=4)",
}


@pytest.mark.parametrize("name", OPENSPIEL)
def test_random_games_are_those_of_openspiel(name: str, seed: int) -> None:
    assert_agrees_with_openspiel(name, OPENSPIEL[name], 50, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPENSPIEL)
def test_ten_thousand_games_are_those_of_openspiel(name: str, seed: int) -> None:
    for part in range(10):  # masks of ten thousand games of Gomoku would be half a gigabyte
        assert_agrees_with_openspiel(name, OPENSPIEL[name], 1_000, seed + 100 * part)


# Bits of a game


def played(name: str, moves: list[int]) -> np.ndarray:
    game = envs.board_game(name)
    states = game.first_states(1)
    for move in moves:
        states = game.play(states, [move])
    return states


@pytest.mark.parametrize(("size", "counts"), [(8, [1, 4, 12, 56, 244, 1396, 8200, 55092]), (6, [1, 4, 12, 56, 244])])
def test_othello_has_as_many_lines_as_are_known(size: int, counts: list[int]) -> None:
    game = envs.board_game(f"othello(board_size={size})")
    states = game.first_states(1)
    for count in counts:
        assert len(states) == count
        rows, moves = np.nonzero(game.legal_actions(states))
        states = game.play(states[rows], moves)


def test_othello_passes_only_where_nothing_else_is_legal(seed: int) -> None:
    for size in (4, 6, 8):
        env = envs.make(f"othello(board_size={size})", 256, seed)
        step, rng, passes = env.reset(), np.random.default_rng(seed), 0
        for _ in range(100):
            passing = step.legal_actions[:, -1]
            assert (step.legal_actions[:, :-1].any(axis=1) != passing).all()
            passes += int(passing.sum())
            step = env.step(random_moves(step.legal_actions, rng))
        assert passes > 0


def test_hex_is_never_drawn(seed: int) -> None:
    for size in (2, 5):
        games = random_games(f"hex(board_size={size})", 500, seed)
        assert (games.result == 1).all()
        assert 0 < (games.length % 2).mean() < 1


def test_hex_swaps_the_first_stone_across_the_diagonal() -> None:
    game = envs.board_game("hex(board_size=4, swap=true)")
    states = played("hex(board_size=4, swap=true)", [1])  # row 0, column 1
    assert np.flatnonzero(~game.legal_actions(states)[0]).tolist() == [1]
    states = game.play(states, [16])
    observation = game.look(states)[0][0]
    assert not observation[0].any()
    assert np.argwhere(observation[1]).tolist() == [[1, 0]]
    assert np.flatnonzero(~game.legal_actions(states)[0]).tolist() == [4, 16]
    assert game.look(states)[2][0] == 0
    assert (game.num_actions, envs.spec("hex(board_size=5)").num_actions) == (17, 25)


def test_hex_shows_whose_edges_are_whose() -> None:
    game = envs.board_game("hex(board_size=4, swap=true)")
    top, left = np.zeros((2, 4, 4), np.uint8)
    top[[0, 3]], left[:, [0, 3]] = 1, 1
    np.testing.assert_array_equal(game.look(game.first_states(1))[0][0, 3], top)
    np.testing.assert_array_equal(game.look(played("hex(board_size=4, swap=true)", [5]))[0][0, 3], left)


def cells(text: str) -> list[int]:
    """Returns the moves of a game of Go on five lines: "b2 c3 -", row by row from the top left, "-" for a pass."""
    return [25 if word == "-" else (int(word[1]) - 1) * 5 + "abcde".index(word[0]) for word in text.split()]


GO = "go(board_size=5, komi=0)"


def legal(text: str) -> set[int]:
    states = played(GO, cells(text))
    return set(np.flatnonzero(envs.board_game(GO).legal_actions(states)[0]).tolist())


def stones(text: str) -> list[str]:
    """Returns the board after moves, x for the first player."""
    game = envs.board_game(GO)
    observation, _, to_play = game.look(played(GO, cells(text)))
    planes = observation[0, :2] if to_play[0] == 0 else observation[0, 1::-1]
    return [
        "".join("x" if a else "o" if b else "." for a, b in zip(*row, strict=True)) for row in zip(*planes, strict=True)
    ]


def test_a_ko_may_not_be_taken_back_at_once() -> None:
    #   . x o . .
    #   x o . o .
    #   . x o . .
    ko = "b1 c1 a2 d2 b3 c3 - b2"
    assert stones(ko)[1] == "xo.o."
    taken = ko + " c2"
    assert stones(taken)[1] == "x.xo."
    assert cells("b2")[0] not in legal(taken)
    assert cells("b2")[0] in legal(taken + " e5 d5")  # elsewhere something has changed


def test_two_stones_for_one_may_not_bring_a_position_back() -> None:
    """Sending two and getting one back: the rule of the simple ko does not see it, for the last move takes nothing."""
    sent = "a1 a2 b1 b2 c2 - d1"
    assert stones(sent)[:2] == ["xx.x.", "oox.."]
    assert stones(sent + " c1")[:2] == ["..ox.", "oox.."]
    returned = sent + " c1 b1"
    assert stones(returned)[:2] == [".x.x.", "oox.."]
    assert cells("a1")[0] not in legal(returned + " -")
    assert cells("a1")[0] in legal(returned + " - e5 -")  # elsewhere something has changed


def test_suicide_is_not_allowed_and_taking_is_none() -> None:
    assert cells("a1")[0] not in legal("b1 e5 a2")  # white would have no liberty
    assert cells("a1")[0] in legal("b1 e5 a2 e4")  # black has
    assert cells("a1")[0] in legal("b1 c1 a2 b2 e5 a3 e4")  # both black stones have only this liberty
    assert stones("b1 c1 a2 b2 e5 a3 e4 a1")[:3] == ["o.o..", ".o...", "o...."]


def test_a_snapback_takes_back_more() -> None:
    thrown_in = "a2 a3 b2 b3 c1 c2 - d1 - a1"
    assert stones(thrown_in)[:3] == ["o.xo.", "xxo..", "oo..."]
    assert stones(thrown_in + " b1")[:3] == [".xxo.", "xxo..", "oo..."]
    assert stones(thrown_in + " b1 a1")[:3] == ["o..o.", "..o..", "oo..."]


def test_area_is_stones_and_what_only_they_reach() -> None:
    game = envs.board_game(GO)

    def result(komi: float, text: str) -> float:
        name = f"go(board_size=5, komi={komi})"
        over, found = envs.board_game(name).outcome(played(name, cells(text)))
        assert over[0]
        return float(found[0])  # of who passed last

    assert game.outcome(played(GO, cells("c3 -")))[0].tolist() == [False]
    assert result(0, "c3 - -") == 1  # one stone has the whole board, and black passed last
    assert result(25, "c3 - -") == 0
    assert result(25.5, "c3 - -") == -1
    assert result(24.5, "c3 - -") == 1
    wall = "c1 d1 c2 d2 c3 d3 c4 d4 c5 d5 - -"
    assert result(5, wall) == 0  # 15 to 10
    assert result(4.5, wall) == -1  # black is ahead, white passed last
    assert result(0, "- -") == 0
    assert result(-0.5, "- -") == -1


def test_a_shared_region_counts_for_nobody() -> None:
    assert played(GO, cells("a1 e5 - -"))[0, 1] == 2  # drawn


def test_go_is_counted_after_a_number_of_moves(seed: int) -> None:
    name = "go(board_size=3, komi=0.5)"
    game, rng = envs.board_game(name), np.random.default_rng(seed)
    longest = 0
    for _ in range(30):
        states, plies = game.first_states(1), 0
        while not game.outcome(states)[0][0]:
            mask = game.legal_actions(states)[0]
            mask[9] = not mask[:9].any()
            states = game.play(states, [rng.choice(np.flatnonzero(mask))])
            plies += 1
        longest = max(longest, plies)
    assert longest <= 18 == game.max_plies


@pytest.mark.parametrize("name", ["go", "go(board_size=3, komi=0)"])
def test_go_shows_what_was_the_forbidden_points_whose_turn_and_passes(name: str, seed: int) -> None:
    size = envs.spec(name).observation_shape[1]
    game, rng = envs.board_game(name), np.random.default_rng(seed)
    for _ in range(1 if size == 9 else 20):
        plain, states = Go(size, 7), game.first_states(1)
        while plain.winner is None:
            shown = game.look(states)[0][0]
            before = Go(size, 7)
            before.board, before.to_play = plain.boards[max(0, plain.plies - 1)], plain.to_play
            np.testing.assert_array_equal(shown[2:4], draw(before))
            open_ = {divmod(move, size) for move in plain.legal()}
            for y, x in plain.cells():
                assert shown[4, y, x] == ((y, x) not in plain.board and (y, x) not in open_)
            assert (shown[5] == plain.to_play).all()
            assert (shown[6] == plain.passed).all()
            move = int(rng.choice(plain.legal()))
            plain.play(move)
            states = game.play(states, [move])


@pytest.mark.parametrize("size", [5, 9])
def test_go_is_openspiels_until_a_position_comes_again(size: int, seed: int) -> None:
    """OpenSpiel forbids the simple ko alone, so what it allows more must repeat a position; its count is the same."""
    pyspiel = pytest.importorskip("pyspiel", reason="open_spiel is an oracle of the rules (extra: openspiel)")
    name, theirs = f"go(board_size={size}, komi=0.5)", pyspiel.load_game(f"go(board_size={size},komi=0.5)")
    game, rng, counted = envs.board_game(name), np.random.default_rng(seed), 0
    points = size * size
    # OpenSpiel numbers points from the bottom
    number = {a: (size - 1 - a // size) * size + a % size if a < points else points for a in range(points + 1)}
    for _ in range(10):
        states, state = game.first_states(1), theirs.new_initial_state()
        seen = {draw_row(game, states)}
        while not state.is_terminal() and not game.outcome(states)[0][0]:
            ours = np.flatnonzero(game.legal_actions(states)[0]).tolist()
            allowed = {number[a] for a in state.legal_actions()}
            assert set(ours) <= allowed
            for more in allowed - set(ours):
                again = state.clone()
                again.apply_action(number[more])
                assert again.is_terminal()  # as a repetition
            move = ours[rng.integers(len(ours))]
            state.apply_action(number[move])
            states = game.play(states, [move])
            seen.add(draw_row(game, states))
        assert state.is_terminal() == game.outcome(states)[0][0]
        last = (int(states[0, 0]) - 1) % 2
        assert state.returns()[last] == game.outcome(states)[1][0]
        counted += 1
    assert counted == 10


def draw_row(game: object, states: np.ndarray) -> bytes:
    return game.look(states)[0][0, :2].tobytes()  # type: ignore[attr-defined]


# Symmetries


def turned_planes(observation: np.ndarray, symmetry: Symmetry) -> np.ndarray:
    flat = observation.reshape(*observation.shape[:2], -1)[:, :, symmetry.observation]
    return flat.reshape(observation.shape)


@pytest.mark.parametrize("name", NAMES)
def test_mirrored_moves_give_the_mirrored_position(name: str, seed: int) -> None:
    spec, rng = envs.spec(name), np.random.default_rng(seed)
    square = spec.observation_shape[1] == spec.observation_shape[2]
    assert len(set(spec.symmetries)) == (4 if name.startswith("hex") or not square else 8)
    symmetries = spec.symmetries[:2] if name.startswith("hex") else spec.symmetries
    for symmetry in symmetries:
        renamed = np.argsort(symmetry.action)  # symmetry.action[renamed[a]] == a
        plain, turned = envs.make(name, 16, seed), envs.make(name, 16, seed)
        a, b = plain.reset(), turned.reset()
        if name.startswith("othello"):  # the first four discs change colours in half of the symmetries
            assert isinstance(turned, BoardEnv)
            shown = turned_planes(a.observation, symmetry)[0].reshape(3, -1)
            bits = np.uint64(1) << np.arange(shown.shape[1], dtype=np.uint64)
            moves = a.legal_actions[0, symmetry.action][:-1]
            for entry, which in enumerate((shown[0], shown[1], moves)):
                turned.states[:, 2 + entry] = (bits * which.astype(np.uint64)).sum(dtype=np.uint64).astype(np.int64)
            b = turned.restore(turned.snapshot())[0]
        going = np.ones(16, np.bool_)
        while going.any():
            np.testing.assert_array_equal(turned_planes(a.observation, symmetry)[going], b.observation[going])
            np.testing.assert_array_equal(a.legal_actions[:, symmetry.action][going], b.legal_actions[going])
            actions = random_moves(a.legal_actions, rng)
            others = np.where(going, renamed[actions], b.legal_actions.argmax(axis=1))  # of later games: any
            a, b = plain.step(actions), turned.step(others)
            np.testing.assert_array_equal(a.terminated[going], b.terminated[going])
            np.testing.assert_array_equal(a.reward[going], b.reward[going])
            going &= ~a.terminated


@pytest.mark.parametrize("swap", [False, True])
def test_hex_mirrored_at_a_diagonal_is_the_game_with_the_edges_exchanged(swap: bool, seed: int) -> None:
    """Who moves first keeps the colour and joins the other two edges; what is shown must be what the mirror shows."""
    name = f"hex(board_size=4, swap={str(swap).lower()})"
    game, rng = envs.board_game(name), np.random.default_rng(seed)
    edges = {0: np.zeros((4, 4), np.uint8), 1: np.zeros((4, 4), np.uint8)}
    edges[1][[0, 3]], edges[0][:, [0, 3]] = 1, 1  # of the exchanged game: the first player joins left and right
    for symmetry in game.symmetries[2:]:
        renamed = np.argsort(symmetry.action)
        for _ in range(20):
            states, plain = game.first_states(1), Hex(4, swap, turned=True)
            while plain.winner is None:
                observation = turned_planes(game.look(states)[0], symmetry)[0]
                np.testing.assert_array_equal(observation[:2], draw(plain))
                np.testing.assert_array_equal(observation[3], edges[plain.to_play])
                mask = game.legal_actions(states)[0]
                assert np.flatnonzero(mask[symmetry.action]).tolist() == [
                    move for move in plain.legal() if move < game.num_actions
                ]
                move = int(rng.choice(np.flatnonzero(mask)))
                states = game.play(states, [move])
                plain.play(int(renamed[move]))
            assert game.outcome(states)[0][0]
