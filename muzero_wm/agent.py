"""A trained agent: what `train` returns, `load` reads and everybody plays with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.overrides import TorchFunctionMode

from muzero_wm.agents import shipped
from muzero_wm.basis.errors import CheckpointError, UserError
from muzero_wm.config import Config
from muzero_wm.config.presets import parse_config
from muzero_wm.envs.base import EnvSpec
from muzero_wm.envs.translate import Translator
from muzero_wm.inference.inference import InferenceModel
from muzero_wm.model.device import resolve_device
from muzero_wm.model.world_model import WorldModel
from muzero_wm.planning.planner import Planner, SearchResult
from muzero_wm.planning.shards import SHARD_ROOTS, resolve_workers
from muzero_wm.storage.checkpoint import SaveError, Which, load_checkpoint
from muzero_wm.storage.exported import ABOUT, read_agent, write_agent

FEW, MANY = 8, SHARD_ROOTS


class Agent:
    """Chooses moves with the learned model, with or without search.

    `act` speaks the language of the environment; `search` and `policy` speak that of the model, which is what
    `envs.make` shows and takes: arrays [n, *observation_shape], and numbers of actions in [0, A).

    Args:
        config: the run's configuration.
        spec: the environment's shapes.
        model: trained weights (the EMA teacher's).
        updates: updates the weights have seen.

    Example:
        >>> agent = muzero_wm.load("runs/quickstart")     # doctest: +SKIP
        >>> observation, info = env.reset()               # doctest: +SKIP
        >>> agent.act(observation, info=info)             # doctest: +SKIP
    """

    def __init__(self, config: Config, spec: EnvSpec, model: WorldModel, updates: int) -> None:
        """Keeps the arguments; the backend that evaluates the network is chosen at the first use."""
        self.config, self.spec, self.model, self.updates = config, spec, model.eval(), updates
        self._translator = Translator(spec)
        self._planners: dict[int, Planner] = {}

    def __repr__(self) -> str:
        """Returns what it plays, what its network is, how long it has learnt and how it searches."""
        weights = sum(weight.numel() for weight in self.model.parameters())
        search = f"{self.config.search.algorithm}, {self.config.search.num_simulations} simulations"
        search += " by the rules" if self.config.search.model == "rules" else ""
        network = f"{self.model.torso.name} with {weights:,} weights"
        return f"<Agent of {self.spec.name}: {network}, {self.updates:,} updates; {search}>"

    def _planner(self, rows: int) -> Planner:
        """Returns the planner for a number of observations: what is fastest for one is not for a hundred."""
        size = FEW if rows <= FEW else MANY
        if size not in self._planners:
            inference = self.config.inference
            network = InferenceModel(
                self.model,
                backend=inference.backend,
                precision=inference.precision,
                batch_size=1 if size == FEW else size,
                frozen=True,
                stored=True,
            )
            workers = resolve_workers(inference.workers)
            self._planners[size] = Planner(network, self.spec, self.config.search, workers)
        return self._planners[size]

    def search(
        self,
        observations: ArrayLike,
        legal_actions: ArrayLike | None = None,
        num_simulations: int | None = None,
        *,
        states: ArrayLike | None = None,
        rng: int | np.random.Generator | NDArray[np.uint64] = 0,
        gumbel_scale: float = 0.0,
        leaves_per_step: int | Literal["auto"] = 1,
        tree: bool = True,
    ) -> SearchResult:
        """Searches one tree per observation, greedily unless `gumbel_scale` says otherwise.

        Args:
            observations: [n, *observation_shape].
            legal_actions: [n, A] bool; all actions when None.
            num_simulations: per root; the trained number when None.
            states: [n, W] int64, the true positions that the observations show: what a search by the rules begins with
                (`search.model`; `env.states` of a board game). Else they are not read.
            rng: seed, generator, or [n] uint64 with one stream per root.
            gumbel_scale: noise of the Gumbel root, 0 is deterministic.
            leaves_per_step: simulations of one root that are evaluated together, faster but each a little less
                informed; "auto" takes several for few roots with many simulations.
            tree: the result's trees are wanted; without, those that grew on a GPU stay there, and its tree is empty.

        Returns:
            mcts.SearchResult over the n roots. A Gumbel search's `action` is the survivor of its halving: without noise
            the one of the most visited actions that `action_weights` prefer. It loses less than the one that they
            prefer of all (docs/LOG.md).

        Raises:
            ValueError: shapes do not fit the environment, or a row has no legal action.
            UserError: the agent searches by the rules, and the states are missing, over, or not what is observed.
        """
        observations, legal = self._check(observations, legal_actions)
        return self._planner(len(observations)).search(
            observations,
            legal,
            rng,
            states=None if states is None else np.asarray(states),
            num_simulations=num_simulations,
            gumbel_scale=gumbel_scale,
            leaves_per_step=leaves_per_step,
            tree=tree,
        )

    def policy(
        self, observations: ArrayLike, legal_actions: ArrayLike | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns the raw network's opinion, without search.

        Args:
            observations: [n, *observation_shape].
            legal_actions: [n, A] bool; all actions when None.

        Returns:
            Probabilities [n, A] over the legal actions and values [n], seen by the player to move.
        """
        observations, legal = self._check(observations, legal_actions)
        out = self._planner(len(observations)).network.initial(observations)
        logits = np.where(legal, out.prior_logits, -np.inf)
        weights = np.exp(logits - logits.max(1, keepdims=True))
        return (weights / weights.sum(1, keepdims=True)).astype(np.float32), out.value

    def act(
        self,
        observation: Any,
        legal_actions: ArrayLike | None = None,
        *,
        info: Any = None,
        state: ArrayLike | None = None,
    ) -> Any:
        """Returns the searched, greedy action for one observation, in the language of the environment.

        Args:
            observation: what `reset` or `step` of the environment returned (of a name with frame_stack=k the last k of
                them, oldest first; fewer as an episode begins). An array of the model's shape, as `envs.make` shows it,
                is taken too.
            legal_actions: the environment's mask: [A], or of combined actions the masks of the parts one behind the
                other. When None, the mask in the observation, else `info["action_mask"]`, else all actions.
            info: what the environment returned beside the observation.
            state: [W] int64, the true position, for a search by the rules; see `search`.

        Returns:
            What its `step` takes: an integer, or an array for MultiDiscrete and MultiBinary. Agents whose checkpoint
            says nothing of the language answer with the number of the action.

        Raises:
            ValueError: the observation or the mask does not fit the environment, or no action is legal.
        """
        legal = self._translator.legal_actions(observation, info, legal_actions)
        encoded = self._translator.observation(observation)[None]
        states = None if state is None else np.asarray(state)[None]
        found = self.search(encoded, None if legal is None else legal[None], states=states)
        return self._translator.action(int(found.action[0]))

    def by_rules(self) -> Agent:
        """Returns an agent with the same network that searches by the rules of its game, whatever it was trained with.

        What it plays better is what the learned dynamics cost. It is there to be compared, and cannot be saved.
        """
        search = self.config.search.model_copy(update={"model": "rules", "tree": "auto"})
        return Agent(self.config.model_copy(update={"search": search}), self.spec, self.model, self.updates)

    def save(self, folder: str | Path, *, half: bool = False) -> None:
        """Writes the agent as two files that `load` reads, wherever they are: weights, and what they are.

        Args:
            folder: made when missing. model.safetensors is what others know, model.json is plain.
            half: round the weights to half precision, which halves the file.

        Raises:
            SaveError: the folder is one of a run, which has its own, or cannot be written; or this agent is one of
                `by_rules`.
        """
        path = Path(os.path.expanduser(folder))
        if self.config.search.model == "rules" and self.model.imagines:
            raise SaveError(f"{path}: an agent of `by_rules` is for comparisons; save the one it was made from")
        if (path / "checkpoints").exists():
            raise SaveError(f"{path}: is a run folder, which has the files of its newest checkpoint; name another")
        try:
            path.mkdir(parents=True, exist_ok=True)
            write_agent(path, self.model.state_dict(), about(self.config, self.spec, self.updates), half=half)
        except OSError as error:
            raise SaveError(f"{path}: cannot be saved to: {error.strerror or error}") from error

    def _check(self, observations: ArrayLike, legal_actions: ArrayLike | None) -> tuple[NDArray, NDArray[np.bool_]]:
        array = np.asarray(observations)
        expected = self.spec.observation_shape
        if array.shape[1:] != expected or array.ndim != len(expected) + 1 or not len(array):
            raise ValueError(f"observations: expected shape [n, {', '.join(map(str, expected))}], got {array.shape}")
        actions = (len(array), self.spec.num_actions)
        legal = np.ones(actions, np.bool_) if legal_actions is None else np.asarray(legal_actions)
        if legal.shape != actions:
            raise ValueError(f"legal_actions: expected shape {actions}, got {legal.shape}")
        legal = legal.astype(np.bool_)
        empty = np.flatnonzero(~legal.any(1))
        if len(empty):
            raise ValueError(f"legal_actions: row {empty[0]} has no legal action, every row needs at least one")
        return array, legal


def about(config: Config, spec: EnvSpec, updates: int) -> dict[str, Any]:
    """Returns what must be said of weights so that they are an agent, in plain JSON.

    Args:
        config: of the run.
        spec: of its environment.
        updates: they have seen.
    """
    return {"updates": updates, "environment": spec.to_json(), "config": config.model_dump(mode="json")}


def load(run_dir: str | Path, checkpoint: Which = "last", *, device: str = "auto") -> Agent:
    """Loads an agent: numbers only, no code, and no environment is imported.

    Args:
        run_dir: a run folder as `train` leaves it, or one with the two files of an agent (`Agent.save`); or the name of
            a shipped agent, such as "connect4", where no such folder is there. "shipped:connect4" is always the shipped
            one, "./connect4" and a `Path` always the folder.
        checkpoint: "last" for the newest intact one, "best" by `run.keep_best`, or a number of updates.
        device: where the network computes, wherever it was trained: "auto", "cpu", "cuda" or "cuda:N".

    Returns:
        The agent with the EMA weights.

    Raises:
        DeviceError: there is no such device.
        CheckpointError: the folder is neither, or no checkpoint in it can be read.
    """
    name = None if isinstance(run_dir, Path) else shipped.named(run_dir)
    if name is not None and checkpoint != "last":
        raise CheckpointError(shipped.without_a_run(name, f"no checkpoint {checkpoint}"))
    folder = Path(run_dir) if name is None else shipped.folder(name)
    try:
        weights, settings, env, updates = _read(folder, checkpoint)
        config = parse_config(settings, where=f"{folder}: configuration in the checkpoint")
        spec = EnvSpec.from_dict(env)
        model = _build(config, spec, weights)
    except CheckpointError:
        raise
    except UserError as error:
        raise CheckpointError("; ".join(str(error).splitlines()[:5])) from None
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise CheckpointError(f"{folder}: its checkpoint holds no agent ({type(error).__name__}: {error})") from None
    torch.set_num_threads(config.run.threads)
    return Agent(config, spec, model.to(resolve_device(device, model.torso.spatial)), updates)


def _read(folder: Path, checkpoint: Which) -> tuple[dict[str, torch.Tensor], Any, dict[str, Any], int]:
    """Returns weights, configuration, environment and updates of a run folder, or of an agent's two files."""
    if (folder / "checkpoints").is_dir():
        state = load_checkpoint(folder / "checkpoints", checkpoint, episodes_too=False)
        learner = state["learner"]
        return learner["teacher"], state["config"], state["env"], int(learner["updates"])
    if not (folder / ABOUT).exists():
        raise CheckpointError(
            f"{folder}: not a run folder, checkpoints/ is missing (train one with `muzero-wm train`), and no agent, "
            f"{ABOUT} is missing{shipped.hint(str(folder))}"
        )
    if checkpoint != "last":
        raise CheckpointError(f"{folder}: holds one agent and no checkpoints, so there is no {checkpoint!r}")
    weights, about = read_agent(folder)
    return weights, json.dumps(about["config"]), about["environment"], int(about["updates"])


class _Unfilled(TorchFunctionMode):
    """Leaves weights alone that have no memory: to fill them PyTorch would import its compiler, for a second."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.Tensor.normal_, torch.nn.init.normal_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _build(config: Config, spec: EnvSpec, weights: dict[str, torch.Tensor]) -> WorldModel:
    """Returns the model with its weights; nothing large is allocated before all shapes were compared."""
    with torch.device("meta"), _Unfilled():
        expected = WorldModel(config.model, spec).state_dict()
    if wrong := sorted(expected.keys() ^ weights.keys()):
        raise CheckpointError(f"weights: {wrong[0]} is {'missing' if wrong[0] in expected else 'not of this model'}")
    for name, tensor in expected.items():
        got = weights[name]
        if got.shape != tensor.shape or got.dtype != tensor.dtype:
            raise CheckpointError(
                f"weights: {name}: expected {tensor.dtype} {tuple(tensor.shape)}, got {got.dtype} {tuple(got.shape)}"
            )
        if got.is_floating_point() and not bool(got.isfinite().all()):
            raise CheckpointError(f"weights: {name}: expected finite numbers")
    model = WorldModel(config.model, spec)
    model.load_state_dict(weights)
    return model
