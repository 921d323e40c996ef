"""Symmetries turn board, policy and actions together; images are moved and made brighter, each in its own way."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from muzero_wm import envs
from muzero_wm.basis.errors import UserError
from muzero_wm.bench.learner import made_up_games
from muzero_wm.config import Config, LearningConfig, ReplayConfig
from muzero_wm.envs.base import EnvSpec
from muzero_wm.learning.augment import Changes, apply_symmetries, change_images, check_images, draw_changes
from muzero_wm.learning.batches import lay_out
from muzero_wm.learning.learner import Learner
from muzero_wm.model.device import CPU
from muzero_wm.replay.batch import Batch
from muzero_wm.replay.buffer import ReplayBuffer
from tests.replay.helpers import random_games

CONFIG = ReplayConfig(max_steps=500, unroll_steps=2)


@pytest.mark.parametrize("name", ["tictactoe", "connect4"])
def test_turned_samples_still_follow_the_rules(name: str, seed: int) -> None:
    """The cell that differs between a turned board and the next one is where the turned action puts its stone."""
    buffer = random_games(name, CONFIG, 20, seed)
    rng = np.random.default_rng(seed)
    slots = buffer.sample_slots(400, rng).slot
    plain, turned = buffer.batch(slots, 0.0, rng), buffer.batch(slots, 0.0, rng)
    symmetries = envs.spec(name).symmetries
    apply_symmetries(turned, symmetries, rng)
    changed = (plain.observation != turned.observation).any((1, 2, 3))
    assert changed.mean() > 0.3, "hardly anything was turned"
    for b in np.flatnonzero(turned.targets.next_mask[:, 0]):
        own_before, other_after = turned.observation[b, 0], turned.next_observation[b, 0, 1]
        placed = np.argwhere(own_before != other_after)
        assert len(placed) == 1
        row, column = placed[0]
        action = turned.targets.action[b, 0]
        assert action == (row * 3 + column if name == "tictactoe" else column)
        assert np.argmax(turned.targets.policy[b, 0]) == action


def test_without_symmetries_nothing_changes(seed: int) -> None:
    buffer = random_games("tictactoe", CONFIG, 20, seed)
    rng = np.random.default_rng(seed)
    batch = buffer.batch(buffer.sample_slots(50, rng).slot, 0.0, rng)
    before = batch.observation.copy()
    apply_symmetries(batch, (), rng)
    assert np.array_equal(batch.observation, before)


IMAGE = EnvSpec("image", (2, 22, 21), np.dtype(np.uint8), 3, 1, 30, observation_bounds=(0.0, 255.0))


def learning_from_images(device: torch.device = CPU, **learning: Any) -> tuple[Learner, ReplayBuffer]:
    config = Config.model_validate(
        {
            "model": {"torso": "pixels", "width": 8, "head_width": 8, "projection_width": 8},
            "replay": {"max_steps": 200, "unroll_steps": 2, "n_step": 2, "symmetries": False, "max_mib": 64.0},
            "learning": {"batch_size": 6, "max_updates": 100, **learning},
            "inference": {"backend": "eager"},
        }
    )
    buffer = ReplayBuffer(IMAGE, config.replay, 0.99)
    games = made_up_games(IMAGE, 100, 0)
    noise = np.random.default_rng(0).integers(0, 256, games.observation.shape).astype(np.uint8)
    buffer.extend(dataclasses.replace(games, observation=noise))
    return Learner(config, IMAGE, device=device), buffer


def batch_of(learner: Learner, buffer: ReplayBuffer, updates: int = 1) -> list[Any]:
    draws = buffer.sample_slots(6 * updates, np.random.default_rng(0))
    draws, rng = draws.by_update(updates), np.random.default_rng(1)
    learning, device = learner.config.learning, learner.device
    return lay_out(buffer, draws, 0.5, rng, model=learner.model, config=learning, device=device)


def padded_and_cut(images: np.ndarray, offset: np.ndarray, pad: int) -> np.ndarray:
    """Does the same as the paper: repeats the edges, and cuts a window out."""
    wide = np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="edge")
    height, width = images.shape[2:]
    return np.stack(
        [
            one[:, pad + y : pad + y + height, pad + x : pad + x + width]
            for one, (y, x) in zip(wide, offset, strict=True)
        ]
    )


def changed(batch: Batch[Any], offset: Any = None, factor: Any = None) -> Batch[Any]:
    tensors = (None if array is None else torch.from_numpy(array) for array in (offset, factor))
    return change_images(batch, Changes(*tensors))


def test_a_shift_moves_the_inside_and_repeats_the_edge() -> None:
    learner, buffer = learning_from_images()
    (laid,) = batch_of(learner, buffer)
    offset = np.zeros((6, 3, 2), np.int64)
    offset[0, 0], offset[1, 1] = (2, -3), (-1, 0)
    found = changed(laid.batch, offset)
    before, after = laid.samples.observation[0], found.observation[0].numpy()
    assert np.array_equal(after[:, :-2, 3:], before[:, 2:, :-3])
    assert np.array_equal(after[:, -2:, 3:], np.repeat(before[:, -1:, :-3], 2, 1))
    assert np.array_equal(after[:, :-2, :3], np.repeat(before[:, 2:, :1], 3, 2))
    following = found.next_observation.numpy()
    assert np.array_equal(following[1, 0, :, 1:], laid.samples.next_observation[1, 0, :, :-1])
    assert np.array_equal(following[1, 1], laid.samples.next_observation[1, 1])
    assert found.observation.dtype == torch.uint8 and found.targets is laid.batch.targets


def test_shifts_are_those_of_the_paper(seed: int) -> None:
    learner, buffer = learning_from_images(random_shift=4)
    (laid,) = batch_of(learner, buffer)
    changes = draw_changes(learner.config.learning, (6, 3), np.random.default_rng(seed))
    assert changes is not None and changes.factor is None and np.abs(changes.offset).max() <= 4
    found = changed(laid.batch, changes.offset)
    expected = padded_and_cut(laid.samples.observation, changes.offset[:, 0], 4)
    assert np.array_equal(found.observation, expected)
    for k in range(2):
        expected = padded_and_cut(laid.samples.next_observation[:, k], changes.offset[:, 1 + k], 4)
        assert np.array_equal(found.next_observation[:, k], expected)


def test_brighter_is_brighter_to_the_first_layer() -> None:
    learner, buffer = learning_from_images()
    (laid,) = batch_of(learner, buffer)
    factor = np.linspace(0.9, 1.1, 18, dtype=np.float32).reshape(6, 3)
    prepared = learner.model.observation(changed(laid.batch, factor=factor).observation)
    expected = laid.samples.observation / 255.0 * factor[:, 0, None, None, None]
    np.testing.assert_allclose(prepared, expected, rtol=1e-5)


def test_every_image_is_changed_in_its_own_way() -> None:
    config = LearningConfig(max_updates=1, random_shift=4, random_intensity=0.05)
    changes = draw_changes(config, (400, 4), np.random.default_rng(0))
    assert changes is not None
    offset, factor = changes.offset.reshape(-1, 2), changes.factor.ravel()
    assert set(offset[:, 0]) == set(offset[:, 1]) == set(range(-4, 5))
    assert np.abs(factor - 1.0).max() == pytest.approx(0.1) and factor.std() == pytest.approx(0.05, rel=0.2)
    for column in range(1, 4):  # what follows is seen through other draws than the root
        assert (changes.offset[:, 0] == changes.offset[:, column]).all(1).mean() < 0.05
        assert abs(np.corrcoef(changes.factor[:, 0], changes.factor[:, column])[0, 1]) < 0.2


def test_nothing_is_drawn_where_nothing_is_changed() -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert draw_changes(LearningConfig(max_updates=1), (8, 3), rng) is None and rng.bit_generator.state == before


@pytest.mark.parametrize("learning", [{"random_shift": 3}, {"random_intensity": 0.1}, {}])
def test_how_many_batches_are_laid_out_at_once_changes_nothing(learning: dict[str, Any]) -> None:
    ends = []
    for looks in (True, False):
        learner, buffer = learning_from_images(**learning)
        for group in learner.optimizer.param_groups:
            group["fused"] = True
        learner._stepper.looks = looks
        learner.run_round(buffer, 0, 3, 0.0)
        ends.append(learner.model.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_the_loss_sees_changed_images_and_the_replay_keeps_its_own() -> None:
    ends = []
    for shift in (0, 3):
        learner, buffer = learning_from_images(random_shift=shift)
        before = buffer.ring["observation"].copy()
        seen: list[torch.Tensor] = []
        learner.model.observation.register_forward_hook(lambda _, inputs, __, seen=seen: seen.append(inputs[0]))
        learner.run_round(buffer, 0, 1, 0.0)
        assert np.array_equal(buffer.ring["observation"], before)
        ends.append(seen[0])
    assert ends[0].shape == ends[1].shape and not torch.equal(*ends)


@pytest.mark.parametrize(
    ("spec", "learning", "problem"),
    [
        (
            envs.spec("connect4"),
            {"random_shift": 2},
            r"random_shift: expected images .* connect4 has two players and \[3",
        ),
        (
            EnvSpec("vector", (4,), np.dtype(np.float32), 2, 1),
            {"random_intensity": 0.1},
            r"random_intensity: expected im",
        ),
        (IMAGE, {"random_shift": 21}, "random_shift: expected less than 21, a side of the image, got 21"),
    ],
)
def test_what_is_no_image_is_not_changed(spec: EnvSpec, learning: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=rf"^learning\.{problem}"):
        Learner(Config.model_validate({"learning": {"max_updates": 1, **learning}}), spec)
    check_images(LearningConfig(max_updates=1), spec)


@pytest.mark.parametrize("shift", [0, 3])
def test_what_an_image_shows_is_learnt(shift: int, seed: int) -> None:
    """A step pays where a spot is in the left half; what is moved a little is there all the same."""
    learner, buffer = learning_from_images(random_shift=shift, learning_rate=1e-2, warmup_updates=0, batch_size=32)

    def spots(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        images = rng.integers(0, 60, (count, *IMAGE.observation_shape)).astype(np.uint8)
        left = rng.random(count) < 0.5
        columns, rows = np.where(left, 2, 14) + rng.integers(0, 3, count), rng.integers(3, 16, count)
        for image, row, column in zip(images, rows, columns, strict=True):
            image[:, row : row + 3, column : column + 3] = 255
        return images, left

    for number in range(4):
        games = made_up_games(IMAGE, 40, seed + number)
        games.observation[:], left = spots(len(games.reward), np.random.default_rng(seed + number))
        games.reward[:] = left
        games.reward[np.cumsum(games.lengths + 1) - 1] = 0.0
        buffer.extend(games)
    for index in range(6):
        learner.run_round(buffer, index, 10, 0.0)
    images, left = spots(200, np.random.default_rng(seed + 100))
    with torch.no_grad():
        latent = learner.model.step(
            learner.model.represent(torch.from_numpy(images)), torch.zeros(200, dtype=torch.int64)
        )
        reward = learner.model.reward_support.decode(learner.model.predict(latent).reward_logits).numpy()
    assert ((reward > 0.5) == left).mean() > 0.9
