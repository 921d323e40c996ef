"""How an agent plays where the game is solved: which mistakes it makes, and how well it knows what a position is worth.

A mistake is a move after which best play ends otherwise: a win becomes a draw or a loss, a draw a loss. Where the
position is lost anyway, or every move keeps the outcome, none can be made, so shares are told twice: of all positions,
and of the decisive ones, in which some moves keep the outcome and others do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.envs import board_game
from muzero_wm.evaluation.exact import Progress, Solved, exact_game
from muzero_wm.evaluation.intervals import mean_interval, wilson_interval
from muzero_wm.evaluation.players import AgentPlayer, RawPolicyPlayer, SearchingAgent
from muzero_wm.evaluation.positions import draw_positions

STAGES, DIFFICULTIES = ("begin", "middle", "end"), ("easy", "medium", "hard")
BINS = 10
_AT_ONCE = 256

Mask = NDArray[np.bool_]


def grade(
    agent: SearchingAgent,
    positions: int,
    simulations: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measures an agent in positions of a solved game, with its search and by its network alone.

    Args:
        agent: of connect4 or tictactoe.
        positions: how many are drawn, see `draw_positions`.
        simulations: per move, None for the agent's own number.
        seed: of the positions and of the searches.
        progress: called as progress(done, total); every position is solved first and played then, so it counts twice.

    Returns:
        What `grade_solved` returns, after env, seed and `asked_for`, the positions that were wanted.

    Raises:
        UserError: the game is not solved, bitbully is not installed, or `positions` is below 1.
    """
    exact = exact_game(agent.spec.name)
    states = draw_positions(exact.game, positions, seed)
    solved = exact.solve(states, _shifted(progress, 0, 2 * len(states)))
    about = {"env": agent.spec.name, "seed": seed, "asked_for": positions}
    return about | grade_solved(agent, solved, simulations, seed, _shifted(progress, len(states), 2 * len(states)))


def grade_solved(
    agent: SearchingAgent,
    solved: Solved,
    simulations: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measures an agent in positions that are solved.

    Args:
        agent: of the same game.
        solved: positions, n >= 1.
        simulations: per move, None for the agent's own number.
        seed: of the searches.
        progress: called as progress(asked, n).

    Returns:
        Ready for JSON: simulations, positions, undecided (share of positions the solver gave up, 0), stages and
        difficulties (the bounds of `cells`), impossible (those no position can lie in), and the same for search,
        raw_policy and random (a uniformly random move; expected shares, no values). Each has kept (moves that keep the
        outcome) and best (moves of the soonest win or the latest loss): `shares` of all positions, by_ply,
        by_difficulty and by_cell (stage, then difficulty); and value: rmse, bias and bins of the predicted against
        the exact value, which is the outcome times the discount of the moves until then.
    """
    searched, raw = AgentPlayer(agent, simulations, seed), RawPolicyPlayer(agent)
    observations, legal, _ = board_game(agent.spec.name).look(solved.states)
    moves: dict[str, list[NDArray[np.int64]]] = {"search": [], "raw_policy": []}
    values: dict[str, list[NDArray[np.float32]]] = {"search": [], "raw_policy": []}
    for start in range(0, len(legal), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        ids = np.arange(len(legal))[part]
        found = searched.search(observations[part], legal[part], ids, states=solved.states[part])
        moves["search"].append(np.asarray(found.action, np.int64))
        values["search"].append(np.asarray(found.root_value))
        moves["raw_policy"].append(raw.choose(observations[part], legal[part]))
        values["raw_policy"].append(agent.policy(observations[part], legal[part])[1])
        if progress is not None:
            progress(min(start + _AT_ONCE, len(legal)), len(legal))
    exact = solved.outcome * agent.config.search.discount ** (solved.left - 1.0)
    report: dict[str, Any] = {
        "simulations": agent.config.search.num_simulations if simulations is None else simulations,
        "positions": len(legal),
        "undecided": 0.0,
        **scheme(solved.max_plies),
    }
    rows = np.arange(len(legal))
    for name in ("search", "raw_policy"):
        chosen = np.concatenate(moves[name])
        report[name] = _graded(solved, solved.keeps[rows, chosen], solved.best[rows, chosen])
        report[name]["value"] = calibration(np.concatenate(values[name]).astype(np.float64), exact)
    choices = legal.sum(axis=1)
    report["random"] = _graded(solved, solved.keeps.sum(axis=1) / choices, solved.best.sum(axis=1) / choices)
    return report


def scheme(max_plies: int) -> dict[str, Any]:
    """Returns how positions are sorted: by thirds of the longest game, as in the public sets of Connect Four.

    Source: the six sets of Pascal Pons (blog.gamesolver.org, "Test protocol"), with 42 plies: begin up to 14 moves
    played, middle up to 28; easy below 14 moves to the end, medium below 28.

    Args:
        max_plies: length of the longest game.

    Returns:
        stages by name, each the fewest and most moves played; difficulties, each the fewest and most moves left until
        the end of best play; impossible, the pairs of both that no position can lie in, as "middle hard".
    """
    third, two_thirds = max_plies / 3, 2 * max_plies / 3
    played = (0, math.floor(third) + 1, math.floor(two_thirds) + 1, max_plies)
    left = (1, math.ceil(third), math.ceil(two_thirds), max_plies + 1)
    stages = {name: [played[i], played[i + 1] - 1] for i, name in enumerate(STAGES)}
    difficulties = {name: [left[i], left[i + 1] - 1] for i, name in enumerate(DIFFICULTIES)}
    impossible = [
        f"{stage} {difficulty}"
        for stage, (fewest, _) in stages.items()
        for difficulty, (least, _) in difficulties.items()
        if fewest + least > max_plies
    ]
    return {"stages": stages, "difficulties": difficulties, "impossible": impossible}


def calibration(predicted: NDArray[np.float64], exact: NDArray[np.float64]) -> dict[str, Any]:
    """Compares predicted with exact values.

    Args:
        predicted: [n], n >= 1.
        exact: [n] in [-1, 1].

    Returns:
        rmse and bias (predicted minus exact), each with ci95 (normal; None for one position), and bins: equal parts of
        [-1, 1] by the predicted value, what is beyond in the outermost, with low, high, positions and the means
        predicted and exact, the latter with ci95; None in a bin without positions.
    """
    error = predicted - exact
    squares = mean_interval((error**2).tolist())
    edges = np.linspace(-1.0, 1.0, BINS + 1)
    place = np.clip(np.digitize(predicted, edges) - 1, 0, BINS - 1)
    bins = []
    for i in range(BINS):
        mine = place == i
        low, high = edges[i : i + 2].round(9).tolist()
        means = (float(predicted[mine].mean()), float(exact[mine].mean())) if mine.any() else (None, None)
        interval = mean_interval(exact[mine].tolist())
        bins.append(
            {"low": low, "high": high, "positions": int(mine.sum())}
            | {"predicted": means[0], "exact": means[1], "ci95": interval and np.clip(interval, -1.0, 1.0).tolist()}
        )
    bias = mean_interval(error.tolist())
    return {
        "rmse": float(np.sqrt((error**2).mean())),
        "rmse_ci95": squares and [math.sqrt(max(0.0, end)) for end in squares],
        "bias": float(error.mean()),
        "bias_ci95": bias and list(bias),
        "bins": bins,
    }


def _graded(solved: Solved, kept: NDArray[Any], best: NDArray[Any]) -> dict[str, Any]:
    """Returns the shares of all positions and of each group of them."""
    sorting = scheme(solved.max_plies)
    decisive = (solved.legal & ~solved.keeps).any(axis=1)

    def shares(group: Mask) -> dict[str, Any]:
        return {
            "positions": int(group.sum()),
            "kept": _share(kept[group]),
            "best": _share(best[group]),
            "decisive": int((group & decisive).sum()),
            "kept_where_decisive": _share(kept[group & decisive]),
        }

    groups: dict[str, Mask] = dict(_within(sorting["difficulties"], solved.left))
    return {
        **shares(np.ones(len(kept), np.bool_)),
        "by_ply": [{"ply": ply, **shares(solved.plies == ply)} for ply in np.unique(solved.plies).tolist()],
        "by_difficulty": {name: shares(group) for name, group in groups.items()},
        "by_cell": {
            stage: {
                name: None if f"{stage} {name}" in sorting["impossible"] else shares(mine & group)
                for name, group in groups.items()
            }
            for stage, mine in _within(sorting["stages"], solved.plies)
        },
    }


def _within(bounds: dict[str, list[int]], numbers: NDArray[np.int64]) -> Iterator[tuple[str, Mask]]:
    for name, (low, high) in bounds.items():
        yield name, (numbers >= low) & (numbers <= high)


def _share(hits: NDArray[Any]) -> dict[str, Any] | None:
    """Returns a share and its 95 % Wilson interval, None of nothing.

    Expected shares of a random move vary less than hits and misses, so their interval is wider than it need be.
    """
    if not len(hits):
        return None
    return {"share": float(hits.mean()), "ci95": list(wilson_interval(float(hits.sum()), len(hits)))}


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Counts one part of the work among all of it."""
    if progress is None:
        return None
    return lambda done, _: progress(before + done, total)
