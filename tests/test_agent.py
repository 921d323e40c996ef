"""`agent.act` in an ordinary loop: it takes what the environment shows and gives what the environment takes."""

from __future__ import annotations

import copy
import functools
from collections import deque
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from muzero_wm import envs
from muzero_wm.agent import Agent, load
from muzero_wm.basis.errors import CheckpointError
from muzero_wm.config.presets import dump_config, load_config
from muzero_wm.envs.base import EnvError, EnvSpec
from muzero_wm.envs.registry import maker
from muzero_wm.envs.translate import Translator
from muzero_wm.model.world_model import WorldModel
from muzero_wm.storage.checkpoint import load_checkpoint, save_checkpoint
from tests.model.models import make_model

SMALL = ["model.torso=mlp", "model.width=8", "model.head_width=8", "model.projection_width=8"]
SMALL += ["search.num_simulations=4", "inference.backend=eager"]

SEEN: dict[str, spaces.Space[Any]] = {
    "Image": spaces.Box(0, 255, (9, 8, 3), np.uint8),
    "Frames": spaces.Box(0, 255, (2, 9, 8, 3), np.uint8),
    "Number": spaces.Discrete(5, start=-2),
    "Numbers": spaces.MultiDiscrete([3, 4], start=[7, -1]),
    "Bits": spaces.MultiBinary(4),
    "Dict": spaces.Dict(b=spaces.Box(-1, 1, (3,)), a=spaces.Discrete(3), c=spaces.Box(0, 255, (4, 2), np.uint8)),
    "Tuple": spaces.Tuple((spaces.Discrete(3), spaces.Box(-1, 1, (2,)))),
    "Inside": spaces.Dict(camera=spaces.Dict(view=spaces.Box(0, 1, (9, 8, 3)))),
}
TAKEN: dict[str, spaces.Space[Any]] = {
    "From": spaces.Discrete(3, start=-1),
    "Grid": spaces.MultiDiscrete([[2, 2], [1, 3]], start=[[0, 5], [1, -1]]),
    "Buttons": spaces.MultiBinary(3),
}


class Draws(gymnasium.Env):
    """Shows samples of its space and takes nothing that its action space does not hold; `mask`: where it tells it."""

    def __init__(self, seen: str, taken: str, mask: str = "") -> None:
        self.observation_space, self.action_space = copy.deepcopy((SEEN[seen], TAKEN[taken]))  # each draws its own
        self._mask = mask
        if mask == "observation":
            self.observation_space = spaces.Dict(action_mask=spaces.MultiBinary(3), view=self.observation_space)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        self.t = 0
        return self.look()

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        assert not self._mask or action + 1 == self.t % 3
        self.t += 1
        observation, info = self.look()
        return observation, 1.0, self.t == 6, False, info

    def look(self) -> Any:
        observation, mask = self.observation_space.sample(), (np.arange(3) == self.t % 3).astype(np.int8)
        if self._mask == "observation":
            observation["action_mask"] = mask
        return observation, {"action_mask": mask} if self._mask == "info" else {}


def draws(seen: str = "Image", taken: str = "From", mask: str = "") -> gymnasium.Env:
    return Draws(seen, taken, mask)


HERE = "tests.test_agent:draws"
NAMES = [f"{HERE}(seen={seen})" for seen in SEEN] + [f"{HERE}(seen=Number, taken={taken})" for taken in TAKEN]


@functools.lru_cache
def agent_of(name: str) -> Agent:
    config = load_config("quickstart", env=name, overrides=SMALL)
    return Agent(config, envs.spec(name), WorldModel(config.model, envs.spec(name)), 0)


def saved(agent: Agent, folder: Path, change: Any = None) -> Path:
    """A run folder whose checkpoint holds what an agent is made of."""
    described = agent.spec.to_dict()
    if change is not None:
        change(described)
    payload = {
        "config": dump_config(agent.config),
        "env": described,
        "learner": {"teacher": agent.model.state_dict(), "updates": 0},
    }
    save_checkpoint(folder / "checkpoints", payload, step=0, keep=1)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_an_agent_plays_in_an_ordinary_loop_after_it_was_loaded(name: str, tmp_path: Path) -> None:
    agent = load(saved(agent_of(name), tmp_path))
    assert agent.spec == envs.spec(name)
    options = dict(pair.split("=") for pair in name.partition("(")[2][:-1].split(", "))
    env = draws(**options)
    observation, info = env.reset(seed=0)
    over = False
    while not over:
        action = agent.act(observation, info=info)
        assert env.action_space.contains(action)
        observation, _, terminated, truncated, info = env.step(action)
        over = terminated or truncated


@pytest.mark.parametrize("name", NAMES)
def test_the_search_sees_what_it_saw_in_training(name: str, seed: int) -> None:
    """The oracle is the environment as the actor steps it, beside the same one in its own words."""
    slots, translator = envs.make(name, 1, seed), Translator(EnvSpec.from_dict(envs.spec(name).to_dict()))
    step, single = slots.reset(), maker(name)()
    reset_seed = slots._episode_seed(0)  # type: ignore[attr-defined]
    observation, _ = single.raw.reset(seed=reset_seed)
    for number in range(5):
        encoded = translator.observation(observation)
        assert np.array_equal(encoded, step.observation[0])
        assert (encoded.shape, encoded.dtype) == (slots.spec.observation_shape, slots.spec.observation_dtype)
        number %= slots.spec.num_actions
        step = slots.step(np.array([number]))
        observation, *_ = single.raw.step(translator.action(number))


@pytest.mark.parametrize("mask", ["info", "observation"])
def test_the_mask_of_the_environment_is_obeyed(mask: str) -> None:
    name = f"{HERE}(seen=Number, mask={mask})"
    agent, env = agent_of(name), draws("Number", mask=mask)
    observation, info = env.reset(seed=0)
    for t in range(5):
        assert agent.act(observation, info=info) == t % 3 - 1
        assert agent.act(observation, [0, 0, 1], info=info) == 1
        observation, *_, info = env.step(t % 3 - 1)


def test_masks_of_the_parts_of_an_action_are_understood() -> None:
    agent = agent_of(f"{HERE}(seen=Number, taken=Grid)")
    assert agent.act(0, [0, 1, 1, 0, 1, 0, 0, 1]).tolist() == [[1, 5], [1, 1]]


def test_a_mask_that_does_not_fit_is_named() -> None:
    agent = agent_of(f"{HERE}(seen=Number)")
    with pytest.raises(ValueError, match=r"legal_actions: expected shape \(1, 3\), got \(1, 2\)"):
        agent.act(0, info={"action_mask": [1, 0]})
    with pytest.raises(ValueError, match="has no legal action"):
        agent.act(0, [0, 0, 0])


def test_what_envs_make_shows_is_taken_too() -> None:
    for name in ("tictactoe", "gym:CartPole-v1", "gym:FrozenLake-v1", f"{HERE}(seen=Image, taken=From)"):
        agent, step = agent_of(name), envs.make(name, 2).reset()
        action = agent.act(step.observation[0], step.legal_actions[0])
        first = int(agent.search(step.observation, step.legal_actions).action[0])
        assert action == (first - 1 if "From" in name else first)


def test_an_observation_of_another_kind_is_named() -> None:
    with pytest.raises(ValueError, match=r"observation must be in Discrete\(5, start=-2\), got 3"):
        agent_of(f"{HERE}(seen=Number)").act(3)
    with pytest.raises(ValueError, match=r"observation\['a'\] is missing"):
        agent_of(f"{HERE}(seen=Dict)").act({"b": [0, 0, 0]})
    with pytest.raises(ValueError, match=r"observation must have shape \(9, 8, 3\), got \(3, 9, 7\)"):
        agent_of(f"{HERE}(seen=Image)").act(np.zeros((3, 9, 7), np.uint8))
    with pytest.raises(ValueError, match=r"observation: expected numbers of shape \(3, 3, 3\), got .*\(2, 3\)"):
        agent_of("tictactoe").act(np.zeros((2, 3)))


@pytest.mark.parametrize("seen", ["Image", "Dict"])
def test_stacked_frames_are_the_last_observations(seen: str, seed: int) -> None:
    name = f"{HERE}(seen={seen}, frame_stack=3)"
    translator = Translator(envs.spec(name))
    slots, env, frames = envs.make(name, 1, seed), draws(seen), deque[Any](maxlen=3)
    step = slots.reset()
    observation, _ = env.reset(seed=slots._episode_seed(0))  # type: ignore[attr-defined]
    for _ in range(5):
        frames.append(observation)
        assert np.array_equal(translator.observation(frames), step.observation[0])
        step, (observation, *_) = slots.step(np.array([0])), env.step(-1)


def test_the_wrapper_of_gymnasium_that_stacks_frames_fits(seed: int) -> None:
    agent = agent_of(f"{HERE}(seen=Image, frame_stack=3)")
    env = gymnasium.wrappers.FrameStackObservation(draws(), 3)
    observation, _ = env.reset(seed=seed)
    assert env.action_space.contains(agent.act(observation))
    with pytest.raises(ValueError, match=r"the last 3 of frame_stack=3, oldest first .* got"):
        agent.act({"a": 1})
    with pytest.raises(ValueError, match=r"the last 3 of frame_stack=3, .*must have shape \(9, 8, 3\), got \(8, 3\)"):
        agent.act(np.zeros((3, 8, 3)))


def test_pictures_that_do_not_fit_are_told_by_their_shape_in_one_line() -> None:
    agent = agent_of(f"{HERE}(seen=Image, frame_stack=3)")
    frame = np.zeros((9, 8, 3), np.uint8)
    for wrong, told in ((frame, r"an array of shape \(9, 8, 3\)"), ([frame] * 4, r"4 of them"), ([], r"\[\]")):
        with pytest.raises(ValueError, match=rf"^observation: expected the last 3 of frame_stack=3, .* got {told}$"):
            agent.act(wrong)
    inside = agent_of(f"{HERE}(seen=Inside)")
    with pytest.raises(ValueError, match=r"^observation\['camera'\].* is missing, got an array of shape \(9, 8, 3\)$"):
        inside.act(frame)


def test_pictures_of_other_numbers_are_refused_by_an_agent(seed: int) -> None:
    """Scaled to [0, 1] all of them would be 0 or 1 for a network that has learnt from uint8."""
    frame = np.random.default_rng(seed).integers(2, 256, (9, 8, 3), np.uint8)
    expected = r"observation: expected whole numbers from 0 to 255 \(uint8\), got"
    plain, stacked = agent_of(f"{HERE}(seen=Image)"), agent_of(f"{HERE}(seen=Image, frame_stack=3)")
    assert plain.act(frame) == plain.act(frame.astype(np.float32)) == plain.act(frame.astype(int))
    for wrong in (frame / 255.0, frame.astype(int) + 300, frame.astype(int) - 256, np.full(frame.shape, np.nan)):
        for agent, given in ((plain, wrong), (plain, np.moveaxis(wrong, -1, 0)), (stacked, [wrong])):
            with pytest.raises(ValueError, match=expected):
                agent.act(given)


def test_pettingzoo_and_minatar_are_spoken_too() -> None:
    aec = pytest.importorskip("pettingzoo").make("aec", "classic/connect_four_v3")
    agent = agent_of("pettingzoo:classic/connect_four_v3")
    aec.reset(seed=0)
    for _ in range(3):
        observation, _, _, _, info = aec.last()
        mask = np.zeros(7, np.int8)
        mask[observation["action_mask"].argmax()] = 1
        assert agent.act(observation | {"action_mask": mask}, info=info) == mask.argmax()
        aec.step(agent.act(observation, info=info))
    pytest.importorskip("minatar")
    agent = agent_of("minatar:breakout")
    assert agent.act(np.zeros((10, 10, 4), bool)) in range(3)


def test_an_agent_of_an_earlier_version_speaks_the_language_of_the_model(tmp_path: Path) -> None:
    agent = load(saved(agent_of(f"{HERE}(seen=Image)"), tmp_path, lambda spec: spec.pop("language")))
    assert agent.spec.language is None
    assert agent.act(np.zeros((3, 9, 8), np.uint8), [0, 0, 1]) == 2
    with pytest.raises(ValueError, match=r"observation: expected numbers of shape \(3, 9, 8\)"):
        agent.act(np.zeros((9, 8, 3), np.uint8))


def bent(path: str, value: Any) -> Any:
    """Puts a value somewhere into the description of an environment."""

    def change(spec: dict[str, Any]) -> None:
        *way, last = path.split(".")
        there: Any = spec
        for key in way:
            there = there[int(key)] if key.isdigit() else there[key]
        there[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("language", 3),
        ("language", {}),
        ("language.observed", []),
        ("language.observed.parts", []),
        ("language.observed.parts", [3]),
        ("language.observed.mask", "action_mask"),
        ("language.observed.frames", 2),
        ("language.observed.frames", "many"),
        ("language.observed.parts.0.path", [None]),
        ("language.observed.parts.0.space", 3),
        ("language.observed.parts.0.dtype", "object"),
        ("language.observed.parts.0.raw", [9, 8, 4]),
        ("language.observed.parts.0.raw", [2**40, 2**40, 0]),
        ("language.observed.parts.0.axes", [0, 0, 1]),
        ("language.observed.parts.0.shape", [9, 8, 3]),
        ("language.observed.parts.0.sizes", [216]),
        ("language.observed.parts.0.more", 1),
        ("language.acted.sizes", [2]),
        ("language.acted.sizes", [-3]),
        ("language.acted.sizes", []),
        ("language.acted.start", [0, 0]),
        ("language.acted.start", ["a"]),
        ("language.acted.shape", [7]),
        ("language.acted.dtype", "object"),
    ],
)
def test_a_language_that_makes_no_sense_is_refused(path: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="environment in the checkpoint: ") as caught:
        load(saved(agent_of(f"{HERE}(seen=Image)"), tmp_path, bent(path, value)))
    assert "\n" not in str(caught.value)


def test_the_language_is_plain_data(tmp_path: Path) -> None:
    """And comes back from the file as it was."""
    for name in NAMES:
        save_checkpoint(tmp_path, {"env": envs.spec(name).to_dict()}, step=1, keep=1)
        assert EnvSpec.from_dict(load_checkpoint(tmp_path)["env"]) == envs.spec(name)
    assert EnvSpec.from_dict(envs.spec("tictactoe").to_dict()).language is None
    stacked = envs.spec("gym:CartPole-v1(frame_stack=3)").to_dict()
    assert EnvSpec.from_dict(stacked).frame_shape == (4,)
    del stacked["frames"]  # as earlier versions saved it
    assert EnvSpec.from_dict(stacked).frame_shape == (12,)
    with pytest.raises(EnvError):
        EnvSpec.from_dict(envs.spec(NAMES[0]).to_dict() | {"language": "french"})


def test_the_move_that_is_played_is_the_best_of_the_most_visited() -> None:
    """As `play` lists them; of all moves the weights may prefer another."""
    config = load_config("connect4", overrides=[*SMALL[:-1], "inference.backend=eager", "search.num_simulations=16"])
    spec = envs.spec("connect4")
    model = make_model("mlp")  # a policy that differs from position to position
    agent = Agent(config, spec, model, 0)
    observations = np.random.default_rng(0).integers(0, 2, (64, *spec.observation_shape)).astype(np.uint8)
    result = agent.search(observations, np.ones((64, 7), np.bool_))
    most = result.visit_counts == result.visit_counts.max(1, keepdims=True)
    np.testing.assert_array_equal(result.action, np.where(most, result.action_weights, -1.0).argmax(1))
    assert (result.action != result.action_weights.argmax(1)).any()  # else this shows nothing
