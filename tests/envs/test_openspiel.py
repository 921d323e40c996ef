"""The OpenSpiel adapter: known results, observations that say everything, and clear refusals."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from muzero_wm import envs
from muzero_wm.envs import EnvError, EnvSpec, Step
from muzero_wm.envs.adapters.openspiel import OpenSpielEnv, make_openspiel
from muzero_wm.envs.adapters.openspiel_view import _OWN_FIRST
from tests.envs.helpers import random_moves

pytest.importorskip("pyspiel", reason="open_spiel is an optional package (extra: openspiel)")

GAMES = (
    "amazons(board_size=6)",
    "antichess",
    "breakthrough(rows=6,columns=6)",
    "checkers",
    "chess",
    "chinese_checkers",
    "clobber",
    "connect_four",
    "connect_four(egocentric_obs_tensor=False)",
    "cursor_go(board_size=5)",
    "dots_and_boxes",
    "go(board_size=5)",
    "gomoku(size=6)",
    "havannah(board_size=4)",
    "hex(board_size=4)",
    "hex(board_size=3,swap=True)",
    "lines_of_action",
    "mancala",
    "mnk(m=5,n=4,k=4)",
    "nim",
    "othello",
    "oware",
    "pentago",
    "tic_tac_toe",
    "twixt",
    "ultimate_tic_tac_toe",
    "xiangqi",
    "y(board_size=5)",
)


def one(name: str) -> OpenSpielEnv:
    """Returns one game after its reset."""
    env = make_openspiel(envs.registry.parse_name(f"openspiel:{name}"))
    env.reset(0)
    return env


def play(name: str, moves: list[int]) -> list[Step]:
    """Returns the steps of one game."""
    env = envs.make(f"openspiel:{name}", 1)
    env.reset()
    return [env.step(np.array([move])) for move in moves]


@pytest.mark.parametrize(("theirs", "ours"), [("connect_four", "connect4"), ("tic_tac_toe", "tictactoe")])
def test_the_same_games_as_our_own_rules(theirs: str, ours: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = envs.make(f"openspiel:{theirs}", 16), envs.make(ours, 16)
    assert (a.spec.num_actions, a.spec.num_players) == (b.spec.num_actions, 2)
    assert (a.spec.max_episode_steps, a.spec.value_bounds) == (b.spec.max_episode_steps, (-1.0, 1.0))
    assert a.spec.alternating
    assert a.spec.observation_dtype == np.uint8
    x, y = a.reset(), b.reset()
    ends = 0
    for _ in range(150):
        _assert_same_board(x.observation, y.observation, x.to_play)
        np.testing.assert_array_equal(x.legal_actions, y.legal_actions)
        np.testing.assert_array_equal(x.to_play, y.to_play)
        moves = random_moves(x.legal_actions, rng)
        x, y = a.step(moves), b.step(moves)
        np.testing.assert_array_equal(x.reward, y.reward)
        np.testing.assert_array_equal(x.terminated, y.terminated)
        np.testing.assert_array_equal(x.final_to_play, y.final_to_play)
        assert not x.truncated.any()
        over = x.terminated
        _assert_same_board(x.final_observation[over], y.final_observation[over], x.final_to_play[over])
        ends += int(over.sum())
    assert ends > 40


def _assert_same_board(theirs: np.ndarray, ours: np.ndarray, to_play: np.ndarray) -> None:
    """Compares up to the order of planes and rows."""
    connect_four = theirs.shape[-1] == 7  # the opponent first, drawn from the bottom row up
    order, rows = ([1, 0, 2], slice(None, None, -1)) if connect_four else ([2, 1, 0], slice(None))
    np.testing.assert_array_equal(theirs[:, order, rows], ours)
    assert (theirs[:, 3] == to_play[:, None, None]).all()


def test_hex_is_won_from_top_to_bottom_by_the_first_and_from_side_to_side_by_the_second() -> None:
    steps = play("hex(board_size=3)", [1, 0, 4, 3, 7])
    assert [bool(step.terminated[0]) for step in steps] == [False] * 4 + [True]
    assert [float(step.reward[0]) for step in steps] == [0, 0, 0, 0, 1]
    assert [int(step.to_play[0]) for step in steps] == [1, 0, 1, 0, 0]
    assert steps[-1].final_to_play[0] == 1
    # The same line turned by a right angle is nothing to the first player and the game to the second.
    assert not play("hex(board_size=3)", [3, 0, 4, 1, 5])[-1].terminated[0]
    steps = play("hex(board_size=3)", [0, 3, 1, 4, 8, 5])
    assert steps[-1].terminated[0]
    assert (steps[-1].reward[0], steps[-1].final_to_play[0]) == (1, 0)


# One row of two boxes; lines are numbered: two on top, two at the bottom, three upright.
@pytest.mark.parametrize(("name", "win"), [("", 1), (",utility_margin=True", 2)])
def test_a_box_keeps_the_turn(name: str, win: int) -> None:
    game = f"dots_and_boxes(num_rows=1,num_cols=2{name})"
    spec = envs.spec(f"openspiel:{game}")
    assert (spec.num_actions, spec.value_bounds, spec.alternating) == (7, (-win, win), False)
    steps = play(game, [0, 2, 4, 5, 1, 3, 6])
    assert [int(step.to_play[0]) for step in steps] == [1, 0, 1, 1, 0, 1, 0]
    assert [float(step.reward[0]) for step in steps] == [0, 0, 0, 0, 0, 0, win]
    # The first player closes the left box, moves on, and the second closes the right one.
    steps = play(game, [0, 1, 2, 4, 5, 3, 6])
    assert [int(step.to_play[0]) for step in steps[:-1]] == [1, 0, 1, 0, 0, 1]
    assert (steps[-1].terminated[0], steps[-1].reward[0]) == (True, 0)


def test_who_loses_by_the_last_move_is_told_so() -> None:
    # Misère Nim with one pile of two: taking both loses. Move 1 + taken - 1 follows OpenSpiel's numbering of one pile.
    steps = play("nim(pile_sizes='2')", [1])
    assert (steps[0].terminated[0], steps[0].reward[0]) == (True, -1)


def test_a_seed_in_the_store_keeps_the_turn() -> None:
    # Pit 3 holds four seeds and the store is four further on.
    assert [int(step.to_play[0]) for step in play("mancala", [3, 1])] == [0, 1]
    assert not envs.spec("openspiel:mancala").alternating


def test_one_player_is_paid_as_he_goes() -> None:
    right, up, down = 0, 1, 3
    steps = play("cliff_walking", [up, *[right] * 7, down])
    assert [float(step.reward[0]) for step in steps] == [-1.0] * 9
    assert [bool(step.terminated[0]) for step in steps] == [False] * 8 + [True]
    assert float(play("cliff_walking", [right])[0].reward[0]) == -100
    spec = envs.spec("openspiel:cliff_walking")
    assert (spec.num_players, spec.observation_shape, spec.max_episode_steps) == (1, (1, 4, 8), 100)
    assert spec.value_bounds == (-199.0, 0.0)


@pytest.mark.parametrize("name", GAMES)
def test_positions_that_look_alike_are_alike(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    env = envs.make(f"openspiel:{name}", 4, seed)
    spec = env.spec
    assert EnvSpec.from_dict(spec.to_dict()) == spec
    known: dict[bytes, tuple[int, bytes]] = {}
    step = env.reset()
    movers: set[int] = set()
    for _ in range(250):
        if spec.observation_dtype == np.uint8:
            assert step.observation.max() <= 1
        assert abs(step.observation).max() < 10
        for shown, seat, legal in zip(step.observation, step.to_play, step.legal_actions, strict=True):
            movers.add(int(seat))
            assert (shown[-1] == seat).all()
            meaning = (int(seat), legal.tobytes())
            assert known.setdefault(shown.tobytes(), meaning) == meaning
        before = step.to_play
        step = env.step(random_moves(step.legal_actions, rng))
        going = ~step.terminated
        if spec.alternating:
            assert (step.to_play[going] == 1 - before[going]).all()
        low, high = spec.value_bounds or (0, 0)
        assert ((step.reward >= low) & (step.reward <= high)).all()
        assert (step.reward[going] == 0).all()
    assert movers == {0, 1}


@pytest.mark.parametrize("kind", _OWN_FIRST)
def test_a_player_sees_his_own_pieces_in_the_planes_of_his_own(kind: str, seed: int) -> None:
    # Whatever is played, the mover gains a piece on a cell and the other one does not: found by looking at each move
    # before and after from the view of the mover.
    name = {"amazons": "amazons(board_size=6)", "go": "go(board_size=5)", "gomoku": "gomoku(size=6)"}.get(kind, kind)
    rng = np.random.default_rng(seed)
    env = one(name)
    state, view = env._state, env._rules.view
    first = _OWN_FIRST[kind]
    exchanged = [plane for plane in range(len(first)) if first[plane] != plane]
    half = len(exchanged) // 2
    groups = np.array([exchanged[:half], exchanged[half:]])
    gains = {seat: np.zeros((2,), int) for seat in (0, 1)}  # of either group, by whoever moved
    for _ in range(300):
        seat = state.current_player()
        before = view(state, seat).astype(int)
        state.apply_action(int(rng.choice(state.legal_actions())))
        after = view(state, seat).astype(int)
        gains[seat] += [(after[group] > before[group]).sum() for group in groups]
        if state.is_terminal():
            env.reset(0)
            state = env._state
    assert (gains[0].argmax(), gains[0].min()) == (gains[1].argmax(), gains[1].min())
    assert gains[0].min() == 0
    assert gains[0].max() > 20


def test_dots_and_boxes_are_drawn_where_they_are() -> None:
    # The second player closes the left box and sees it as his own: an upright line, a flat one and a box at cell 0.
    step = play("dots_and_boxes(num_rows=1,num_cols=2)", [0, 2, 4, 5])[-1]
    flat, upright, box = 0, 1, 2
    free, mine, theirs = (step.observation[0, start : start + 3] for start in (0, 3, 6))
    assert step.observation.shape == (1, 10, 2, 3)
    assert (mine[box, 0, 0], theirs[box].sum(), mine[box].sum()) == (1, 0, 1)
    assert np.argwhere(theirs[flat]).tolist() == [[0, 0]]
    assert np.argwhere(mine[flat]).tolist() == [[1, 0]]
    assert np.argwhere(theirs[upright]).tolist() == [[0, 0]]
    assert np.argwhere(mine[upright]).tolist() == [[0, 1]]
    assert (free + mine + theirs == 1).all()


def test_clones_go_their_own_way(seed: int) -> None:
    rng = np.random.default_rng(seed)
    env = envs.make("openspiel:mancala", 1, seed)
    step = env.reset()
    for _ in range(5):
        step = env.step(random_moves(step.legal_actions, rng))
    original: Any = env.envs[0]  # type: ignore[attr-defined]
    before = str(original._state)
    ends = []
    for _ in range(2):
        copy, legal, draws, rewards = original.clone(), step.legal_actions[0], np.random.default_rng(seed), []
        while True:
            moment = copy.step(int(draws.choice(np.flatnonzero(legal))))
            rewards.append(moment.reward)
            if moment.terminated:
                break
            legal = moment.legal_actions
        ends.append((rewards, str(copy._state)))
    assert ends[0] == ends[1]
    assert str(original._state) == before
    assert abs(ends[0][0][-1]) in (0, 1)


def test_unfinished_games_go_on(seed: int) -> None:
    name = "openspiel:dots_and_boxes(num_rows=3,num_cols=3)"
    rng = np.random.default_rng(seed)
    env = envs.make(name, 3, seed, random_openings=0.5, max_random_plies=4)
    step = env.reset()
    for _ in range(40):
        step = env.step(random_moves(step.legal_actions, rng))
    other = envs.make(name, 3, seed, random_openings=0.5, max_random_plies=4)
    again, goes_on = other.restore(env.snapshot())
    assert goes_on.all()
    np.testing.assert_array_equal(again.observation, step.observation)
    np.testing.assert_array_equal(again.to_play, step.to_play)


def test_the_bot_wins_when_it_can_and_is_reproducible(seed: int) -> None:
    env = one("tic_tac_toe")
    for move in (0, 3, 1, 4):
        env.step(move)
    before = str(env._state)
    assert {env.mcts_move(500, s) for s in range(seed, seed + 5)} == {2}
    assert str(env._state) == before
    start = one("hex(board_size=5)")
    moves = [start.mcts_move(30, s) for s in range(seed, seed + 20)]
    assert moves == [start.mcts_move(30, s) for s in range(seed, seed + 20)]
    assert len(set(moves)) > 3
    assert 0 <= start.mcts_move(1, 2**64 - 1) < 25


REFUSALS = {
    "backgammon": "openspiel:backgammon has chance; supported are games without chance or secrets",
    "2048": "has chance",
    "kuhn_poker": "has chance and hidden information",
    "leduc_poker": "has chance and hidden information",
    "phantom_ttt": "has hidden information",
    "goofspiel": "has chance and simultaneous moves",
    "matching_pennies_3p": "has simultaneous moves and 3 players",
    "chinese_checkers(players=3)": "has 3 players",
    "morpion_solitaire": "has no observation in numbers",
    "quoridor": "does not show the walls",
    "hexx": "knows no game 'hexx', did you mean 'hex'",
    "hex(board_sise=5)": "unknown parameter 'board_sise' .known: board_size, .*did you mean 'board_size'",
    "tic_tac_toe(size=4)": "unknown parameter 'size' .it has none.",
    "hex(board_size=5.5)": "parameter board_size must be of type int, got 5.5",
    "hex(board_size=True)": "must be of type int, got True",
    "hex(board_size=big)": "must be of type int, got 'big'",
    "hex(board_size=-3)": "board_size must be at least 1, got -3",
    "y(board_size=-1)": "board_size must be at least 1, got -1",
    "connect_four(rows=0)": "rows must be at least 1, got 0",
    "go(handicap=-1)": "handicap must be at least 0, got -1",
    "hex(board_size=20000)": "expected 1 to 65536 numbers in an observation and as many actions",
    "go(board_size=100)": "supports board size up to 19. Provided: 100",
    "nim(pile_sizes=a)": "Could not parse size 'a'",
    "breakthrough(rows=1)": "over before the first move",
    "checkers(rows=3)": "over before the first move",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_played_is_said_in_one_line(name: str) -> None:
    with pytest.raises(EnvError, match=REFUSALS[name]) as caught:
        envs.spec(f"openspiel:{name}")
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_whole_numbers_do_for_fractions() -> None:
    assert envs.spec("openspiel:go(board_size=5,komi=7)").num_actions == 26


def test_a_missing_package_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspiel", None)
    with pytest.raises(EnvError, match=r"pip install 'muzero-wm\[openspiel\]'"):
        envs.spec("openspiel:havannah(board_size=3)")


def test_other_environments_do_not_load_it() -> None:
    code = "import sys; from muzero_wm import envs; envs.make('tictactoe', 1); print('pyspiel' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
