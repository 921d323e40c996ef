"""Every setting of a run, with its default, its range and one line of help.

Presets (`configs/*.yaml`) are short diffs from these defaults; `presets.py` reads them and turns mistakes into one
clear line each. What an environment already says (shapes, number of actions, players) is never repeated here.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt, field_validator, model_validator

from muzero_wm.basis.registry import ENGINES, OPPONENTS, opponent_forms
from muzero_wm.config.sections import (
    Count,
    Fraction,
    ModelConfig,
    Positive,
    SearchConfig,
    Section,
    Simulations,
    Size,
    Weight,
)

WITHOUT_DYNAMICS: dict[str, dict[str, Any]] = {
    "model": {"dynamics_blocks": 0, "continues": False},
    "replay": {"unroll_steps": 0, "terminal_fraction": 0.0, "reward_fraction": 0.0},
    "learning": {"reward_weight": 0.0, "self_prediction_weight": 0.0},
}
"""What `search.model: rules` leaves of the settings of learned dynamics."""


class ActingConfig(Section):
    """Self-play: games in lockstep, in a process of its own."""

    num_envs: Size = Field(256, description="games played side by side")
    steps_per_round: Size = Field(8, description="moves of every game between two weight hand-overs")
    process: StrictBool = Field(True, description="play in a second process beside the learner (same results)")
    random_openings: Fraction = Field(0.0, description="boards: share of games that start from random moves")
    max_random_plies: Count = Field(0, description="boards: most random moves of such a start")
    full_search_share: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0, description="share of moves searched in full; the others quickly, and no policy is learnt from them"
    )
    quick_simulations: Simulations = Field(8, description="simulations of those others")
    ema_weights: StrictBool = Field(True, description="play with the EMA weights")
    random_moves: Annotated[float, Field(ge=0.0, le=0.9)] = Field(
        0.0, description="one player: share of random moves in the last environment; 0.4 falls to 0.0007 in the first"
    )
    min_noise: Fraction = Field(
        1.0, description="the noise of moves (gumbel: its scale, puct: temperature) rises from this share to all of it"
    )
    env_workers: Annotated[StrictInt, Field(ge=0, le=1024)] = Field(
        0, description="processes that step the environments (same results); 0: the acting process; not for boards"
    )
    env_timeout_seconds: Annotated[float, Field(gt=0.0)] | None = Field(
        None, description="a reset or step that takes longer ends the run with its seed; implies env_workers 1"
    )
    timeout_seconds: Annotated[float, Field(gt=0.0)] | None = Field(
        None, description="the acting process hangs when a round takes longer, and is restarted; null: wait for ever"
    )
    max_restarts: Count = Field(5, description="restarts of an acting process that crashes, hangs or leaks")
    max_memory_mib: Annotated[float, Field(gt=0.0)] | None = Field(
        None, description="restart the acting process between two rounds when it holds more"
    )


class ReplayConfig(Section):
    """Stored experience and the targets made from it."""

    max_mib: Annotated[float, Field(ge=0.1, le=2**24)] = Field(
        512.0, description="memory bound in MiB of what is stored, unfinished episodes included"
    )
    max_steps: Positive = Field(400_000, description="most recent steps kept")
    window: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0, description="share of all steps played that is kept, the newest; never fewer than min_steps"
    )
    min_steps: Positive = Field(4_000, description="steps played before updates are due")
    unroll_steps: Annotated[StrictInt, Field(ge=0, le=1000)] = Field(
        3, description="K, steps the model is unrolled in training; 0 with search.model rules"
    )
    n_step: Count = Field(
        0, description="bootstrap horizon; 0: until the end of the episode, which is waited for (long ones: set it)"
    )
    bootstrap: Literal["search", "teacher"] = Field(
        "search", description="value after n_step steps: the search's when it was played, or the EMA teacher's of now"
    )
    outcome_weight: Fraction = Field(1.0, description="share of the n-step return; the rest is the search's value")
    priority_exponent: Fraction = Field(0.0, description="alpha of prioritised sampling; 0: uniform")
    priority_beta: Fraction = Field(0.4, description="beta at the start, 1 at the end")
    terminal_fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0, description="share of a batch that starts within unroll_steps of an episode's end"
    )
    reward_fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0,
        description="share of a batch drawn evenly among the steps that a reward follows within unroll_steps; weights "
        "undo it, but for the rewards",
    )
    reanalyze_fraction: Fraction = Field(0.0, description="share of a batch whose targets are searched afresh")
    symmetries: StrictBool = Field(True, description="boards: random mirror and rotation of each sample")


class LearningConfig(Section):
    """Losses, optimiser and budget."""

    batch_size: Size = 128
    updates_per_round: Size = Field(16, description="updates for every round of acting (the enforced ratio)")
    policy_weight: Weight = 1.0
    value_weight: Weight = 1.0
    reward_weight: Weight = 1.0
    turn_weight: Weight = Field(1.0, description="whose turn follows a move, where two players do not alternate")
    self_prediction_weight: Weight = 0.3
    continues_weight: Weight = Field(1.0, description="whether the episode goes on, with model.continues")
    terms: dict[str, Weight] = Field(
        {}, description="losses of your own and their weights: name, or package.module:name (docs/own-losses.md)"
    )
    clip_rewards: StrictBool = Field(
        False,
        description="one player: learn the signs of rewards, as in Atari; values, bins and floors are in these units",
    )
    terminal_weight: Weight = Field(1.0, description="factor on reward and value losses at an episode's end")
    random_shift: Annotated[StrictInt, Field(ge=0, le=128)] = Field(
        0, description="images of one player: pixels by which each is moved at random in training, edges repeated"
    )
    random_intensity: Annotated[float, Field(ge=0.0, le=0.4)] = Field(
        0.0, description="the same: how much brighter or darker; SPR has 0.05"
    )
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0.0)] = 4e-3
    weight_decay: Annotated[float, Field(ge=0.0)] = 1e-4
    momentum: Fraction = Field(0.9, description="sgd momentum, adamw beta1")
    beta2: Fraction = Field(0.98, description="adamw beta2")
    warmup_updates: Count = 100
    decay_from: Fraction = Field(0.3, description="share of the budget after which the rate falls linearly")
    final_rate: Fraction = Field(0.05, description="share of the learning rate left at the end")
    clip_norm: Annotated[float, Field(gt=0.0)] = 5.0
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 for conv where the CPU has it")
    on_nonfinite: Literal["stop", "skip", "rollback"] = Field(
        "stop", description="a NaN or infinity while training: stop, leave out the update, or go back to recent weights"
    )
    max_updates: Positive | None = Field(None, description="stop after this many updates")
    max_minutes: Annotated[float, Field(gt=0.0)] | None = Field(None, description="stop after this much time")
    max_steps: Positive | None = Field(
        None, description="stop after this many steps of all environments together, in whole moves of each"
    )
    stop_at_score: float | None = Field(
        None, description="stop where an evaluation finds this: share of points for two players (0 to 1), else return"
    )

    @model_validator(mode="after")
    def _bounded(self) -> LearningConfig:
        if self.max_updates is None and self.max_minutes is None and self.max_steps is None:
            raise ValueError("set max_updates, max_minutes or max_steps: a run needs an end")
        return self


class InferenceConfig(Section):
    """The network as the search calls it, while acting and afterwards."""

    backend: str = Field("auto", description="auto measures; or eager, torch, fused, native, onnxruntime, openvino")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 where it is allowed to win, for conv on CPUs that have it"
    )
    workers: Positive | Literal["auto"] = Field("auto", description="threads that share the roots of large searches")
    shard_roots: Positive = Field(256, description="training: about how many roots a worker searches together")


class RunConfig(Section):
    """Logging, checkpoints and threads."""

    log_every_seconds: Annotated[float, Field(gt=0.0)] = 2.0
    checkpoint_every_minutes: Annotated[float, Field(gt=0.0)] = 5.0
    keep_checkpoints: Annotated[StrictInt, Field(ge=1, le=10_000)] = Field(3, description="newest checkpoints kept")
    keep_best: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="metric by which the best checkpoint is kept too, larger is better (see docs/checkpoints.md)"
    )
    evaluate_every_minutes: Annotated[float, Field(gt=0.0)] | None = Field(
        None, description="evaluate the teacher this often while training; takes seconds beside the budget; null: never"
    )
    evaluate_games: Annotated[StrictInt, Field(ge=1, le=10_000)] = Field(20, description="games of such an evaluation")
    evaluate_max_steps: Positive = Field(
        5000,
        description="steps after which a game or an episode of such an evaluation is cut, if its limit is not nearer",
    )
    evaluate_opponent: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="random, perfect, mcts:N or your own; null: mcts:100 for built-in boards, else random",
    )
    on_save_error: Literal["continue", "stop"] = Field(
        "continue", description="when a checkpoint cannot be written (disk full); at the end it is always an error"
    )
    threads: Annotated[StrictInt, Field(ge=1, le=1024)] = Field(
        1, description="torch threads of the learner (the actor has one of its own)"
    )
    device: str = Field(
        "auto",
        description="of learner, teacher and the backends eager and torch: cpu, cuda or cuda:N; auto: cuda for a conv "
        "torso where there is one, else cpu",
    )
    tensorboard: StrictBool = True

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if value.partition(":")[0] == "mps":
            raise ValueError("mps is not supported; use cpu")
        if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,4})?", value):
            raise ValueError(f"expected auto, cpu, cuda or cuda:N, got {value!r:.40}")
        return value

    @field_validator("evaluate_opponent")
    @classmethod
    def _known_opponent(cls, value: str | None) -> str | None:
        if value is None or re.fullmatch("random|perfect|mcts:[1-9][0-9]{0,6}", value):
            return value
        if value.partition(":")[0] in ENGINES:
            raise ValueError(
                f"expected an opponent that is no program, got {value!r:.40}; a configuration, which may be a "
                "stranger's, starts none: meet it with muzero-wm evaluate --opponent"
            )
        if value.partition(":")[0] not in OPPONENTS.own:
            *known, last = opponent_forms()
            raise ValueError(f"expected {', '.join(known)} or {last}, got {value!r:.40}")
        return value


class Config(Section):
    """A whole run."""

    env: str = Field("tictactoe", min_length=1, description="environment name, see `muzero-wm envs`")
    seed: Count = 0
    model: ModelConfig = ModelConfig()
    search: SearchConfig = SearchConfig()
    acting: ActingConfig = ActingConfig()
    replay: ReplayConfig = ReplayConfig()
    learning: LearningConfig = LearningConfig(max_minutes=10.0)
    inference: InferenceConfig = InferenceConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _fits_the_model(self) -> Config:
        rules = self.search.model == "rules"
        kept = [
            f"{section}.{name} (got {got}, expected {value})"
            for section, settings in WITHOUT_DYNAMICS.items()
            for name, value in settings.items()
            if (got := getattr(getattr(self, section), name)) != value
        ]
        if rules and kept:
            raise ValueError(f"search.model: rules leaves no steps to imagine; leave out {', '.join(kept)}")
        if rules and self.search.tree == "device":
            raise ValueError("search.tree: device is for search.model learned, rules are played on the CPU; use auto")
        for name, count in (
            ("model.dynamics_blocks", self.model.dynamics_blocks),
            ("replay.unroll_steps", self.replay.unroll_steps),
        ):
            if not rules and count == 0:
                raise ValueError(f"{name}: expected 1 or more with search.model learned, got 0")
        return self

    @model_validator(mode="after")
    def _enough_steps(self) -> Config:
        steps, envs, replay = self.learning.max_steps, self.acting.num_envs, self.replay
        if steps is None:
            return self
        round_steps = envs * self.acting.steps_per_round
        ahead = envs * (replay.unroll_steps + replay.n_step + 1) if replay.n_step else 0
        rounds = -(-max(replay.min_steps, ahead) // round_steps)
        least = rounds * round_steps + envs  # what is played in a round is learnt from in the next one
        if steps < least:
            raise ValueError(
                f"learning.max_steps: expected {least} or more, or nothing is learnt: updates begin behind {rounds} "
                f"rounds of {round_steps} steps, for replay.min_steps and what targets look ahead; got {steps}"
            )
        return self

    @model_validator(mode="after")
    def _evaluated(self) -> Config:
        if self.run.evaluate_every_minutes is None:
            for name, needs in (
                ("learning.stop_at_score", self.learning.stop_at_score is not None),
                (f"run.keep_best={self.run.keep_best}", (self.run.keep_best or "").startswith("evaluation/")),
                ("run.evaluate_opponent", self.run.evaluate_opponent is not None),
            ):
                if needs:
                    raise ValueError(f"{name} needs evaluations: set run.evaluate_every_minutes")
        return self
