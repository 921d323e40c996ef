"""The replay on the disk: written once, in few files, and back bit for bit."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muzero_wm.basis.errors import CheckpointError
from muzero_wm.basis.packs import EpisodePack
from muzero_wm.config import ReplayConfig
from muzero_wm.replay.buffer import ReplayBuffer
from muzero_wm.replay.packs import contents
from muzero_wm.storage.checkpoint import load_checkpoint, save_checkpoint
from tests.replay.helpers import assert_same, make_episode, make_spec, random_games

CONFIG = ReplayConfig(max_steps=300, priority_exponent=0.7, n_step=2, unroll_steps=2)


def empty(config: ReplayConfig = CONFIG) -> ReplayBuffer:
    return ReplayBuffer(make_spec(2), config, 1.0)


def work(buffer: ReplayBuffer, rng: np.random.Generator, episodes: int) -> None:
    """Does to a ring what a run does: new episodes and parts of them, new priorities, renewed targets."""
    for _ in range(episodes):
        length = int(rng.integers(5, 20))
        episode = make_episode(list(rng.normal(size=length)), players=2, tag=int(rng.integers(1000)))
        episode.cut[:] = rng.random() < 0.3
        buffer.extend(episode)
        slots = buffer.sample_slots(6, rng).slot
        buffer.update_priorities(slots, rng.normal(size=6).astype(np.float32))
        slots = np.unique(buffer.sample_slots(4, rng).slot)
        buffer.renew(slots, rng.random((len(slots), 3)).astype(np.float32), rng.random(len(slots)).astype(np.float32))


@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["save", "resume", "lose", "peek"])), max_size=12),
    st.integers(0, 2**31),
)
@settings(max_examples=25, deadline=None)
def test_any_sequence_of_saves_comes_back_bit_for_bit(sequence: list[tuple[int, str]], number: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        _check_sequence(Path(name), [*sequence, (3, "resume")], np.random.default_rng(number))


def _check_sequence(folder: Path, sequence: list[tuple[int, str]], rng: np.random.Generator) -> None:
    buffer = empty()
    for step, (episodes, then) in enumerate(sequence):
        work(buffer, rng, episodes)
        state = buffer.state_dict()
        if then == "peek":
            copy = empty()
            copy.load_state_dict(state)
            assert_same(buffer, copy)
        if then in ("save", "resume"):
            save_checkpoint(folder, {"replay": state}, step=step, keep=2)
        if then == "resume":
            copy = empty()
            copy.load_state_dict(load_checkpoint(folder)["replay"])
            assert_same(buffer, copy)
            twin = np.random.default_rng(step)
            work(buffer, np.random.default_rng(step), 5)
            work(copy, twin, 5)
            assert_same(buffer, copy)
            buffer = copy


def test_what_is_stored_is_not_written_again(tmp_path: Path, seed: int) -> None:
    rng, buffer = np.random.default_rng(seed), empty(ReplayConfig(max_steps=200_000))
    written = 0
    seen: set[str] = set()
    for step in range(64):
        work(buffer, rng, 10)
        save_checkpoint(tmp_path, {"replay": buffer.state_dict()}, step=step, keep=1)
        packs = list(tmp_path.glob("episodes-*"))
        assert len(packs) <= 2 + np.log2(step + 1)
        written += sum(path.name not in seen for path in packs)
        seen |= {path.name for path in packs}
    assert written == 64, "one new pack for each checkpoint"
    copy = empty(ReplayConfig(max_steps=200_000))
    copy.load_state_dict(load_checkpoint(tmp_path)["replay"])
    assert_same(buffer, copy)


def test_packs_go_when_their_episodes_are_evicted(tmp_path: Path, seed: int) -> None:
    rng, buffer = np.random.default_rng(seed), empty()
    for step in range(60):
        work(buffer, rng, 8)
        save_checkpoint(tmp_path, {"replay": buffer.state_dict()}, step=step, keep=1)
    in_files = sum(len(pack.arrays()["action"]) for pack in load_checkpoint(tmp_path)["replay"]["packs"])
    assert len(list(tmp_path.glob("episodes-*"))) < 12
    assert buffer._used <= in_files < 2 * buffer.capacity


def test_the_split_into_packs_says_nothing_about_the_content(tmp_path: Path, seed: int) -> None:
    often, once = empty(), empty()
    for step in range(20):
        work(often, np.random.default_rng(step), 4)
        work(once, np.random.default_rng(step), 4)
        save_checkpoint(tmp_path, {"replay": often.state_dict()}, step=step, keep=1)
    first, second = contents(load_checkpoint(tmp_path)["replay"]), contents(once.state_dict())
    assert first.keys() == second.keys()
    for name in first:
        assert np.array_equal(first[name], second[name]), name


def test_a_failed_save_keeps_no_second_copy_in_memory(tmp_path: Path, seed: int) -> None:
    rng, buffer = np.random.default_rng(seed), empty()
    for _ in range(5):
        work(buffer, rng, 2)
        state = buffer.state_dict()
        assert len(state["packs"]) == 1, "packs that were never written become one"
    save_checkpoint(tmp_path, {"replay": state}, step=1, keep=1)
    assert state["packs"][0]._arrays is None


def test_a_ring_that_forgot_what_is_stored_stores_all_of_it(tmp_path: Path, seed: int) -> None:
    rng, buffer = np.random.default_rng(seed), empty()
    for step in (1, 2):
        work(buffer, rng, 20)
        save_checkpoint(tmp_path, {"replay": buffer.state_dict()}, step=step, keep=1)
    for path in tmp_path.glob("episodes-*"):
        path.unlink()
    buffer._packs.forget(buffer._used)
    save_checkpoint(tmp_path, {"replay": buffer.state_dict()}, step=3, keep=1)
    copy = empty()
    copy.load_state_dict(load_checkpoint(tmp_path)["replay"])
    assert_same(buffer, copy)


def test_a_ring_of_another_size_takes_what_fits(seed: int) -> None:
    buffer = empty()
    work(buffer, np.random.default_rng(seed), 50)
    larger = empty(ReplayConfig(max_steps=500, priority_exponent=0.7))
    larger.load_state_dict(buffer.state_dict())
    for name in buffer.ring:
        assert np.array_equal(buffer.ring[name][buffer._order()], larger.ring[name][larger._order()])
    with pytest.raises(CheckpointError, match="raise max_mib or max_steps"):
        empty(ReplayConfig(max_steps=50)).load_state_dict(buffer.state_dict())


def test_real_games_are_much_smaller_on_the_disk(tmp_path: Path, seed: int) -> None:
    buffer = random_games("connect4", ReplayConfig(max_steps=4000), 150, seed)
    save_checkpoint(tmp_path, {"replay": buffer.state_dict()}, step=1, keep=1)
    raw = sum(array[buffer._order()].nbytes for array in buffer.ring.values())
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < raw / 8


def _pack_with(**arrays: Any) -> Callable[[dict[str, Any]], Any]:
    def change(state: dict[str, Any]) -> None:
        state["packs"] = [EpisodePack({**state["packs"][0].arrays(), **arrays}), *state["packs"][1:]]

    return change


def _field(name: str, position: int, value: Any) -> Callable[[dict[str, Any]], Any]:
    def change(state: dict[str, Any]) -> None:
        arrays = state["packs"][0].arrays()
        arrays[name] = arrays[name].copy()
        arrays[name][position] = value
        state["packs"] = [EpisodePack(arrays)]

    return change


HOSTILE: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda s: s.update(priority=np.full_like(s["priority"], -1.0)), "priorities"),
    (lambda s: s.update(priority=s["priority"] * np.nan), "priorities"),
    (lambda s: s.update(priority=s["priority"].astype(np.float32)), "float64 priorities"),
    (lambda s: s.update(priority=s["priority"][:-1]), "do not fit together"),
    (lambda s: s.update(priority=np.append(s["priority"], 1.0)), "slots"),
    (lambda s: s.update(priority=np.ones_like(s["priority"])), "a final slot has a priority"),
    (lambda s: s.update(priority=None), "makes no sense"),
    (lambda s: s.update(priority=np.float64(3)), "makes no sense"),
    (lambda s: s.update(head=-1), "head -1"),
    (lambda s: s.update(head=10**30), "head 10000"),
    (lambda s: s.update(counters=[-5, -5]), "counters -5, -5 are smaller"),
    (lambda s: s.update(counters=[10**6]), "makes no sense"),
    (lambda s: s.update(counters=["a", "b"]), "makes no sense"),
    (lambda s: s.update(evicted=-3), "-3 evicted slots"),
    (lambda s: s.update(evicted=1), "do not fit together"),
    (lambda s: s.update(evicted=10**9), "do not fit together"),
    (lambda s: s.update(packs=[]), "the packs hold 0 slots"),
    (lambda s: s.update(packs=[*s["packs"], *s["packs"]]), "do not fit together"),
    (lambda s: s.update(packs=["x"]), "is none"),
    (lambda s: s.update(packs=7), "makes no sense"),
    (lambda s: s["renewed"].update(index=np.array([10**12])), "indices of stored slots"),
    (lambda s: s["renewed"].update(index=np.array([-1])), "indices of stored slots"),
    (lambda s: s["renewed"].update(index=np.array([0.5])), "indices of stored slots"),
    (lambda s: s["renewed"].update(index=np.arange(2)), "a policy and a value for each"),
    (lambda s: s.pop("renewed"), "makes no sense"),
    (_pack_with(lengths=np.array([10**9])), "larger than the ring"),
    (_pack_with(lengths=np.array([-4, 8])), "two slots or more"),
    (_pack_with(lengths=np.zeros(0, np.int64)), "two slots or more"),
    (_pack_with(lengths=np.array([2.5])), "two slots or more"),
    (_pack_with(more=np.zeros(3)), "a pack of episodes holds"),
    (_pack_with(value=np.zeros(3, np.float32)), "value: expected float32"),
    (_pack_with(reward=np.zeros((3, 4), np.int64)), "reward: expected float32"),
    (_field("action", 0, 77), "actions: expected 0 .. 2"),
    (_field("action", 0, -1), "actions: expected 0 .. 2"),
    (_field("to_play", 0, 5), "to_play: expected 0 or 1"),
    (_field("policy", 0, np.nan), "policy: expected finite"),
    (_field("value", 0, np.inf), "value: expected finite"),
    (_field("reward", 0, -np.inf), "reward: expected finite"),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE)
def test_states_that_make_no_sense_are_one_line(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    buffer = empty()
    for tag in range(6):
        buffer.extend(make_episode([0.5] * 5, players=2, tag=tag))
    state = buffer.state_dict()
    change(state)
    with pytest.raises(CheckpointError, match=message) as caught:
        empty().load_state_dict(state)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_packs_of_an_earlier_version_hold_whole_episodes() -> None:
    buffer = empty()
    for tag in range(6):
        buffer.extend(make_episode([0.5] * 5, players=2, tag=tag))
    state = buffer.state_dict()
    arrays = state["packs"][0].arrays()
    del arrays["cut"]
    state["packs"] = [EpisodePack(arrays)]
    copy = empty()
    copy.load_state_dict(state)
    assert_same(buffer, copy)
    assert contents(state)["cut"].sum() == 0


def test_tensors_are_as_good_as_arrays() -> None:
    buffer = empty()
    buffer.extend(make_episode([0.5] * 5, players=2))
    state = buffer.state_dict()
    state["priority"] = torch.from_numpy(state["priority"])
    copy = empty()
    copy.load_state_dict(state)
    assert_same(buffer, copy)
