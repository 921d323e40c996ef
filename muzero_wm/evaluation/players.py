"""Whoever can choose moves for a batch of games: the agent with its search, its raw policy, opponents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from muzero_wm.basis.seeding import stream_keys
from muzero_wm.config import Config
from muzero_wm.envs import BatchedEnv, EnvSpec, Step

Rows = NDArray[np.int64]


class SearchOutcome(Protocol):
    """The part of `mcts.SearchResult` that playing needs."""

    @property
    def action(self) -> NDArray[np.int32]:
        """[n] the moves to play."""

    @property
    def root_value(self) -> NDArray[np.float32]:
        """[n] the means of all values the searches found, seen by the player to move."""


class SearchingAgent(Protocol):
    """The part of `muzero_wm.Agent` that evaluation needs."""

    spec: EnvSpec
    config: Config

    def search(
        self,
        observations: NDArray[Any],
        legal_actions: NDArray[np.bool_],
        num_simulations: int | None = None,
        *,
        rng: Any = 0,
        gumbel_scale: float = 0.0,
        states: NDArray[np.int64] | None = None,
    ) -> SearchOutcome:
        """Plans a move for every observation."""

    def policy(
        self, observations: NDArray[Any], legal_actions: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns the network's move probabilities [n, A] and values [n]."""


GIVEN_UP = -1
"""In place of a move: the player gives this game up."""


@dataclass(frozen=True)
class Forfeit:
    """Why a player gave a game up.

    Attributes:
        row: the game.
        ply: moves that had been played in it.
        reason: in a few words.
    """

    row: int
    ply: int
    reason: str


class Player(Protocol):
    """Chooses moves in some of the games of a batch.

    Two more attributes are asked for where a player has them: `forfeits: list[Forfeit]`, why it gave games up, and
    `close()`, which ends what it holds (a process, say) when its games are over.
    """

    def actions(self, env: BatchedEnv, step: Step, rows: Rows) -> NDArray[np.int64]:
        """Returns one legal move for each of the games `rows`, or `GIVEN_UP`, which loses the game whatever was won.

        Args:
            env: the games; a player of the true rules may read them and copy them, but not change them.
            step: the latest step of all games.
            rows: [k] indices of the games to move in.

        Returns:
            [k] moves.
        """


def positions(agent: SearchingAgent, states: NDArray[np.int64] | None) -> dict[str, Any]:
    """Returns true positions as an argument of `search`, for an agent that searches by the rules; else nothing."""
    return {"states": states} if agent.config.search.model == "rules" else {}


class AgentPlayer:
    """Plays what the agent's search prefers, without noise."""

    def __init__(self, agent: SearchingAgent, num_simulations: int | None = None, seed: int = 0) -> None:
        """Seats an agent.

        Args:
            agent: the agent.
            num_simulations: simulations per move, None for the agent's own number.
            seed: seed of the search's random streams, one for each game and move.
        """
        self._agent = agent
        self._num_simulations = num_simulations
        self._seed = seed
        self._moves = 0

    def choose(
        self,
        observations: NDArray[Any],
        legal_actions: NDArray[np.bool_],
        ids: ArrayLike = 0,
        counter: int = 0,
        states: NDArray[np.int64] | None = None,
    ) -> NDArray[np.int64]:
        """Returns the moves [n] of `search`, which has the same arguments."""
        return np.asarray(self.search(observations, legal_actions, ids, counter, states).action, np.int64)

    def search(
        self,
        observations: NDArray[Any],
        legal_actions: NDArray[np.bool_],
        ids: ArrayLike = 0,
        counter: int = 0,
        states: NDArray[np.int64] | None = None,
    ) -> SearchOutcome:
        """Returns what the search finds, without noise.

        Args:
            observations: [n, ...].
            legal_actions: [n, A] bool.
            ids: [n] or scalar, which random stream each search takes; the same observation on the same stream always
                gives the same move.
            counter: the part of those streams to take.
            states: [n, W] int64, the true positions, which an agent wants that searches by the rules.

        Returns:
            Moves and values [n].
        """
        keys = stream_keys(self._seed, "evaluation/search", np.broadcast_to(ids, len(observations)), counter)
        options = positions(self._agent, states)
        return self._agent.search(
            observations, legal_actions, self._num_simulations, rng=keys, gumbel_scale=0.0, **options
        )

    def actions(self, env: BatchedEnv, step: Step, rows: Rows) -> NDArray[np.int64]:
        """Returns the searched move for each of the games `rows`."""
        self._moves += 1
        states = None if env.states is None else env.states[rows]
        return self.choose(step.observation[rows], step.legal_actions[rows], rows, self._moves, states)


class RawPolicyPlayer:
    """Plays the most probable move of the network, without search."""

    def __init__(self, agent: SearchingAgent) -> None:
        """Seats an agent's network."""
        self._agent = agent

    def choose(
        self,
        observations: NDArray[Any],
        legal_actions: NDArray[np.bool_],
        states: NDArray[np.int64] | None = None,
    ) -> NDArray[np.int64]:
        """Returns the most probable legal moves [n] for observations [n, ...] and legal_actions [n, A]."""
        probs, _ = self._agent.policy(observations, legal_actions)
        return np.where(legal_actions, probs, -1.0).argmax(axis=1)

    def actions(self, env: BatchedEnv, step: Step, rows: Rows) -> NDArray[np.int64]:
        """Returns the most probable legal move for each of the games `rows`."""
        return self.choose(step.observation[rows], step.legal_actions[rows])


def release(player: Player) -> None:
    """Ends what a player holds, a process for example; most hold nothing."""
    if (close := getattr(player, "close", None)) is not None:
        close()
