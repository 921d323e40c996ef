"""Everything `muzero-wm evaluate` reports about an agent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from muzero_wm.basis.errors import UserError
from muzero_wm.envs import EnvSpec
from muzero_wm.evaluation.affordable import default_opponent
from muzero_wm.evaluation.arena import Progress, play_match, plies_for
from muzero_wm.evaluation.episodes import play_episodes
from muzero_wm.evaluation.exhaustive import play_every_reply
from muzero_wm.evaluation.normalised import reference
from muzero_wm.evaluation.opponents import opponent_from_name
from muzero_wm.evaluation.players import AgentPlayer, RawPolicyPlayer, SearchingAgent, release

EXHAUSTIVE_ENVS = ("tictactoe",)


def default_openings(env_name: str, games: int) -> int:
    """Returns the random plies a match begins with when none are asked for: 0 where every reply is played anyway."""
    return 0 if env_name in EXHAUSTIVE_ENVS else plies_for(env_name, games)


def evaluate(
    agent: SearchingAgent,
    opponent: str | None = None,
    games: int = 100,
    simulations: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    opening_plies: int | None = None,
    max_steps: int | None = None,
) -> dict[str, Any]:
    """Measures an agent with its search and, under "raw_policy", by its network alone.

    Args:
        agent: the agent.
        opponent: two players: "random", "perfect", "mcts:N", "gtp:COMMAND" or "uci:COMMAND" (docs/engines.md), or a
            registered one; None for the usual one of the game.
        games: games of the match, or episodes for one player.
        simulations: simulations per move, None for the agent's own number.
        seed: seed of games, opponents and searches.
        progress: called as progress(finished, total) with the games of search and raw policy together.
        opening_plies: two players: random moves that each pair of games begins with; None for as many as give the
            games beginnings of their own.
        max_steps: where an episode or a game is cut; None for the environment's own limit, or 5000 where it states
            none.

    Returns:
        Ready for JSON: env, games, seed, simulations; for two players opponent, wins, draws, losses, score, ci95
        (Wilson, of as many games as are distinct), distinct_games, opening_plies, cut, forfeits (games that were given
        up), seats, for tic-tac-toe exhaustive; for one player mean_return, ci95 (normal, None for one episode),
        returns, mean_length, cut, max_steps, and for the games of the Atari-100k benchmark human_normalised (score and
        ci95 on the scale on which the scores random and human are 0 and 1). raw_policy holds the same results for the
        network alone.

    Raises:
        UserError: the opponent is unknown or not available, or an argument is impossible.
    """
    if agent.spec.num_players == 1:
        for name, value in (("opponent", opponent), ("opening_plies", opening_plies)):
            if value is not None:
                raise UserError(f"{name} {value!r}: {agent.spec.name} is for one player")
    if opening_plies is not None and opening_plies < 0:
        raise UserError(f"opening_plies must be at least 0, got {opening_plies}")
    searched = AgentPlayer(agent, simulations, seed)
    raw = RawPolicyPlayer(agent)
    report = {
        "env": agent.spec.name,
        "games": games,
        "seed": seed,
        "simulations": agent.config.search.num_simulations if simulations is None else simulations,
    }
    measure: Callable[[AgentPlayer | RawPolicyPlayer, Progress | None], dict[str, Any]]
    if agent.spec.num_players == 1:
        measure = partial(_measure_returns, agent.spec, games, seed, max_steps)
    else:
        opponent = default_opponent(agent.spec.name) if opponent is None else opponent
        report["opponent"] = opponent
        plies = default_openings(agent.spec.name, games) if opening_plies is None else opening_plies
        measure = partial(_measure_match, agent.spec, opponent, games, seed, plies, max_steps)
    report |= measure(searched, _shifted(progress, 0, 2 * games))
    report["raw_policy"] = measure(raw, _shifted(progress, games, 2 * games))
    return report


def _measure_returns(
    spec: EnvSpec,
    games: int,
    seed: int,
    max_steps: int | None,
    player: AgentPlayer | RawPolicyPlayer,
    progress: Progress | None,
) -> dict[str, Any]:
    found = play_episodes(spec.name, player, games, seed, max_steps=max_steps, progress=progress).summary()
    if (scale := reference(spec.name)) is not None:
        interval = found["ci95"] and [scale.normalised(end) for end in found["ci95"]]
        found["human_normalised"] = {
            "score": scale.normalised(found["mean_return"]),
            "ci95": interval,
            "random": scale.random,
            "human": scale.human,
        }
    return found


def _measure_match(
    spec: EnvSpec,
    opponent: str,
    games: int,
    seed: int,
    opening_plies: int,
    max_steps: int | None,
    player: AgentPlayer | RawPolicyPlayer,
    progress: Progress | None,
) -> dict[str, Any]:
    other = opponent_from_name(opponent, spec, seed)
    try:
        results = play_match(
            spec.name, player, other, games, seed, progress, opening_plies=opening_plies, max_steps=max_steps
        ).to_dict()
    finally:
        release(other)
    if spec.name in EXHAUSTIVE_ENVS:
        results["exhaustive"] = play_every_reply(spec.name, player.choose)
    return results


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Counts one part of the games among all of them."""
    if progress is None:
        return None
    return lambda done, _: progress(before + done, total)
