"""How good an agent is: matches, episodes, exhaustive checks, solved positions."""

from muzero_wm.evaluation.arena import MatchResult, Tally, play_match, plies_for
from muzero_wm.evaluation.episodes import Episodes, play_episodes
from muzero_wm.evaluation.evaluate import evaluate
from muzero_wm.evaluation.exhaustive import play_every_reply
from muzero_wm.evaluation.grading import grade
from muzero_wm.evaluation.opponents import opponent_from_name, register_opponent
from muzero_wm.evaluation.players import AgentPlayer, Player, RawPolicyPlayer
from muzero_wm.evaluation.solved import share_kept

__all__ = [
    "AgentPlayer",
    "Episodes",
    "MatchResult",
    "Player",
    "RawPolicyPlayer",
    "Tally",
    "evaluate",
    "grade",
    "opponent_from_name",
    "play_episodes",
    "play_every_reply",
    "play_match",
    "plies_for",
    "register_opponent",
    "share_kept",
]
