"""Everything `muzero-wm evaluate` reports about an agent."""

from __future__ import annotations

from functools import partial
from typing import Any

from muzero_wm.envs import EnvSpec
from muzero_wm.errors import UserError
from muzero_wm.evaluation.arena import Progress, play_match
from muzero_wm.evaluation.episodes import play_episodes, summary
from muzero_wm.evaluation.exhaustive import play_every_reply
from muzero_wm.evaluation.opponents import opponent_from_name
from muzero_wm.evaluation.players import AgentPlayer, RawPolicyPlayer, SearchingAgent

EXHAUSTIVE_ENVS = ("tictactoe",)


def default_opponent(env_name: str) -> str:
    """Returns the opponent that a two-player agent meets when none is named."""
    return "perfect" if env_name == "tictactoe" else "mcts:1000"


def evaluate(
    agent: SearchingAgent,
    opponent: str | None = None,
    games: int = 100,
    simulations: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measures an agent with its search and, under "raw_policy", by its network alone.

    Args:
        agent: the agent.
        opponent: two players: "random", "perfect" or "mcts:N"; None for the usual one of the game.
        games: games of the match, or episodes for one player.
        simulations: simulations per move, None for the agent's own number.
        seed: seed of games, opponents and searches.
        progress: called as progress(finished, total) with the games of search and raw policy together.

    Returns:
        Ready for JSON: env, games, seed, simulations; for two players opponent, wins, draws, losses, score, ci95
        (Wilson), seats, for tic-tac-toe exhaustive; for one player mean_return, ci95 (normal, None for one episode),
        returns. raw_policy holds the same results for the network alone.

    Raises:
        UserError: the opponent is unknown or not available, or an argument is impossible.
    """
    if agent.spec.num_players == 1 and opponent is not None:
        raise UserError(f"opponent {opponent!r}: {agent.spec.name} is for one player")
    searched = AgentPlayer(agent, simulations, seed)
    raw = RawPolicyPlayer(agent)
    report = {
        "env": agent.spec.name,
        "games": games,
        "seed": seed,
        "simulations": agent.config.search.num_simulations if simulations is None else simulations,
    }
    if agent.spec.num_players == 1:
        measure = _measure_returns
    else:
        opponent = default_opponent(agent.spec.name) if opponent is None else opponent
        report["opponent"] = opponent
        measure = partial(_measure_match, opponent)
    report |= measure(agent.spec, searched, games, seed, _shifted(progress, 0, 2 * games))
    report["raw_policy"] = measure(agent.spec, raw, games, seed, _shifted(progress, games, 2 * games))
    return report


def _measure_returns(
    spec: EnvSpec, player: AgentPlayer | RawPolicyPlayer, games: int, seed: int, progress: Progress | None
) -> dict[str, Any]:
    return summary(play_episodes(spec.name, player, games, seed, progress=progress))


def _measure_match(
    opponent: str,
    spec: EnvSpec,
    player: AgentPlayer | RawPolicyPlayer,
    games: int,
    seed: int,
    progress: Progress | None,
) -> dict[str, Any]:
    other = opponent_from_name(opponent, spec, seed)
    results = play_match(spec.name, player, other, games, seed, progress).to_dict()
    if spec.name in EXHAUSTIVE_ENVS:
        results["exhaustive"] = play_every_reply(spec.name, player.choose)
    return results


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Counts one part of the games among all of them."""
    if progress is None:
        return None
    return lambda done, _: progress(before + done, total)
