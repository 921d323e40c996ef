"""Damages copies of a real run folder in every way we can think of, and loads them.

A variant passes when it is refused in one line, or an older intact checkpoint is loaded with a warning, or what is
loaded is, number by number, what that checkpoint held before (the damage lay elsewhere).
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from muzero_wm.agent import load
from muzero_wm.basis.errors import UserError
from muzero_wm.basis.packs import EpisodePack
from muzero_wm.config.presets import load_config
from muzero_wm.storage.checkpoint import load_checkpoint
from muzero_wm.storage.manifest import read_manifest, steps_in
from muzero_wm.training import train

SETTINGS = [
    "model.width=16", "model.head_width=16", "model.projection_width=16", "search.num_simulations=4",
    "acting.num_envs=32", "acting.process=false", "replay.min_steps=100", "replay.priority_exponent=0.5",
    "replay.reanalyze_fraction=0.1", "learning.batch_size=16", "learning.updates_per_round=4",
    "learning.max_minutes=null", "run.checkpoint_every_minutes=0.0001", "run.tensorboard=false",
]  # fmt: skip

Damage = Callable[[Path], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this campaign."""
    parser.add_argument("--variants", type=int, default=400)
    parser.add_argument("--processes", type=int, default=10, help="variants that are also evaluated by the program")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Runs the campaign.

    Args:
        args: seed, variants, processes.

    Returns:
        Counts by outcome and by kind of damage, and the failures.
    """
    with tempfile.TemporaryDirectory() as name:
        original = Path(name) / "original"
        train(load_config("tictactoe", seed=args.seed, overrides=[*SETTINGS, "learning.max_updates=24"]), original)
        expected = {step: digest(load_checkpoint(original / "checkpoints", step)) for step in steps(original)}
        outcomes: Counter[str] = Counter()
        kinds: Counter[str] = Counter()
        failures: list[str] = []
        each = max(1, args.variants // max(1, args.processes))
        for number, (kind, damage) in enumerate(itertools.islice(variants(original, args.seed), args.variants)):
            folder = Path(name) / "variant"
            shutil.copytree(original, folder, symlinks=True)
            damage(folder)
            outcome = judge(folder, expected)
            if outcome in ("older", "refused", "same") and number % each == 0 and args.processes:
                outcome = judge_program(folder) or outcome
            outcomes[outcome if outcome in ("older", "refused", "same") else "failed"] += 1
            kinds[kind] += 1
            if outcome not in ("older", "refused", "same"):
                failures.append(f"{number} {kind}: {outcome}")
            remove(folder)
    return {
        "campaign": "corrupt",
        "variants": sum(kinds.values()),
        "outcomes": dict(sorted(outcomes.items())),
        "kinds": dict(sorted(kinds.items())),
        "failures": failures,
    }


def steps(run_dir: Path) -> list[int]:
    """Returns the checkpoints of a run, oldest first."""
    return steps_in(run_dir / "checkpoints")


def digest(value: Any) -> str:
    """Returns a digest of every number in a payload, with its type, shape and place."""
    total = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, EpisodePack):
            part = {"pack": part.arrays()}
        if isinstance(part, torch.Tensor):
            part = part.numpy()
        if isinstance(part, dict):
            total.update(f"d{len(part)}".encode())
            for key in part:
                add(key)
                add(part[key])
        elif isinstance(part, list | tuple):
            total.update(f"{type(part).__name__}{len(part)}".encode())
            for item in part:
                add(item)
        elif isinstance(part, np.ndarray):
            total.update(f"{part.dtype}{part.shape}".encode() + part.tobytes())
        else:
            total.update(repr(part).encode())

    add(value)
    return total.hexdigest()


def judge(folder: Path, expected: dict[int, str]) -> str:
    """Returns "refused", "older", "same", or what went wrong."""
    newest = max(expected)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = digest(payload := load_checkpoint(folder / "checkpoints"))
            updates = int(payload["learner"]["updates"])
        except UserError as error:
            return "refused" if one_line(str(error), folder) else f"unclear: {error}"
        except Exception as error:
            return f"{type(error).__name__} while loading: {error}"
    if found not in expected.values():
        return f"LOADED SILENTLY: step {updates} is not what was saved"
    if updates != newest and not told:
        return f"LOADED SILENTLY: step {updates} instead of {newest}"
    if not all(one_line(str(warning.message), folder) for warning in told):
        return f"unclear warning: {told[0].message}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            agent = load(folder)
        except UserError as error:
            return f"weights refused though the checkpoint loads: {error}"
        except Exception as error:
            return f"{type(error).__name__} while loading the agent: {error}"
        weights = digest(dict(agent.model.state_dict()))
        held = load_checkpoint(folder / "checkpoints", agent.updates, episodes_too=False)
        if weights != digest(held["learner"]["teacher"]):
            return "LOADED SILENTLY: other weights"
    return "same" if updates == newest else "older"


def judge_program(folder: Path) -> str | None:
    """Evaluates a variant in a process of its own; returns what went wrong."""
    command = [sys.executable, "-m", "muzero_wm", "evaluate", str(folder), "--games", "1", "--simulations", "1"]
    done = subprocess.run([*command, "--opponent", "random"], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 2) or "Traceback" in done.stderr:
        return f"evaluate ends with {done.returncode}: {done.stderr[-300:]}"
    if not all(line.startswith("muzero-wm: ") for line in done.stderr.splitlines()):
        return f"evaluate says {done.stderr[-300:]}"
    return None


def one_line(text: str, folder: Path) -> bool:
    """Returns whether a message is short enough for each file it names and on one line."""
    return "\n" not in text and len(text.replace(str(folder), "")) < 250 * (1 + text.count(";"))


def remove(folder: Path) -> None:
    """Removes a variant, whatever became of it."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder)


def variants(original: Path, seed: int) -> Iterator[tuple[str, Damage]]:
    """Yields kinds of damage and what does them, endlessly: each kind in turn, at random places.

    Args:
        original: the undamaged run.
        seed: of the places.
    """
    rng = np.random.default_rng(seed)
    checkpoints = original / "checkpoints"
    newest, *older = [read_manifest(checkpoints, step) for step in reversed(steps(original))]
    shared = {file.path.name for manifest in older for file in manifest.files}

    def name_of(which: str) -> str:
        """Returns a file of the newest checkpoint, or another file of the run."""
        match which:
            case "state":
                return f"checkpoints/{newest.state.path.name}"
            case "pack":
                return f"checkpoints/{newest.files[int(rng.integers(1, len(newest.files)))].path.name}"
            case "new pack":
                new = [file.path.name for file in newest.files[1:] if file.path.name not in shared]
                return f"checkpoints/{new[int(rng.integers(len(new)))] if new else newest.files[-1].path.name}"
            case "manifest":
                return f"checkpoints/step_{newest.step:09d}.json"
            case "older manifest":
                return f"checkpoints/step_{older[int(rng.integers(len(older)))].step:09d}.json"
            case "older state":
                return f"checkpoints/{older[int(rng.integers(len(older)))].state.path.name}"
            case _:
                return which

    targets = ["state", "pack", "new pack", "manifest", "older manifest", "older state", "config.yaml", "metrics.jsonl"]
    while True:
        for target, (kind, change) in itertools.product(targets, _BYTES.items()):
            yield f"{kind} in {target}", _of_bytes(name_of(target), change, int(rng.integers(2**31)))
        for target, (kind, action) in itertools.product(targets[:6], _FILES.items()):
            yield f"{kind} {target}", _of_file(name_of(target), action, checkpoints / older[0].state.path.name)
        for first, second in (("state", "older state"), ("manifest", "older manifest"), ("state", "pack"),
                              ("manifest", "state"), ("pack", "older state")):  # fmt: skip
            yield f"swapped {first} and {second}", _swap(name_of(first), name_of(second))
        for manifest in (newest, older[0]):
            for kind, edit in _EDITS.items():
                yield f"manifest with {kind}", _of_text(f"checkpoints/step_{manifest.step:09d}.json", edit)
        for source in older:
            for target_step in (newest.step, newest.step + 8):
                for kind, copy in (("copied", shutil.copy), ("hard-linked", os.link), ("renamed", os.replace)):
                    yield f"older manifest {kind} as newer", _older_as_newer(source.step, target_step, copy)
        yield "all manifests damaged", _every("step_*.json", 1)
        yield "all states damaged", _every("state-*", 1)
        yield "all packs damaged", _every("episodes-*", 1)
        yield "every file empty", _every("*", 0)
        yield "only manifests left", _keep_only("step_")
        yield "only states left", _keep_only("state-")
        yield "checkpoints is a link", _folder_is_a_link
        yield "checkpoints is a file", _folder_is_a_file


_Rng = np.random.Generator


def _flip(content: bytearray, rng: _Rng) -> bytes:
    if content:
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    return bytes(content)


def _block(content: bytearray, rng: _Rng, fill: Callable[[int], bytes]) -> bytes:
    size = min(len(content), int(rng.choice([1, 16, 512, 4096])))
    at = int(rng.integers(len(content) - size + 1))
    content[at : at + size] = fill(size)
    return bytes(content)


def _without(content: bytearray, rng: _Rng) -> bytes:
    at = int(rng.integers(max(1, len(content))))
    return bytes(content[:at] + content[at + 1 + int(rng.integers(100)) :])


_BYTES: dict[str, Callable[[bytearray, _Rng], bytes]] = {
    "flipped bit": _flip,
    "flipped bit at the front": lambda content, rng: _flip(content[:24], rng) + bytes(content[24:]),
    "truncation": lambda content, rng: bytes(content[: int(rng.integers(len(content) or 1))]),
    "last byte missing": lambda content, rng: bytes(content[:-1]),
    "zeros": lambda content, rng: _block(content, rng, bytes),
    "noise": lambda content, rng: _block(content, rng, rng.bytes),
    "missing bytes": _without,
    "more bytes": lambda content, rng: bytes(content) + rng.bytes(1 + int(rng.integers(5000))),
    "halves exchanged": lambda content, rng: bytes(content[len(content) // 2 :] + content[: len(content) // 2]),
}


def _of_bytes(name: str, change: Callable[[bytearray, _Rng], bytes], seed: int) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / name
        path.write_bytes(change(bytearray(path.read_bytes()), np.random.default_rng(seed)))

    return damage


def _as_folder(path: Path, _: Path) -> None:
    path.unlink()
    path.mkdir()


def _as_link(path: Path, other: Path) -> None:
    path.unlink()
    path.symlink_to(other)


def _as_outside_link(path: Path, _: Path) -> None:
    outside = path.parent.parent / f"outside-{path.name}"
    path.rename(outside)
    path.symlink_to(outside)


_FILES: dict[str, Callable[[Path, Path], None]] = {
    "missing": lambda path, _: path.unlink(),
    "empty": lambda path, _: path.write_bytes(b"") and None,
    "foreign": lambda path, _: torch.save({"step": 99}, path),
    "renamed": lambda path, _: path.rename(path.with_name(f"x{path.name}")) and None,
    "replaced by an older": lambda path, other: shutil.copy(other, path) and None,
    "a folder instead of": _as_folder,
    "a link instead of": _as_link,
    "a link to the moved": _as_outside_link,
}


def _of_file(name: str, action: Callable[[Path, Path], None], other: Path) -> Damage:
    return lambda folder: action(folder / name, other)


def _swap(first: str, second: str) -> Damage:
    def damage(folder: Path) -> None:
        one, two = (folder / first).read_bytes(), (folder / second).read_bytes()
        (folder / first).write_bytes(two)
        (folder / second).write_bytes(one)

    return damage


_EDITS: dict[str, Callable[[str], str]] = {
    "another step": lambda text: text.replace('"step": ', '"step": 1'),
    "a negative step": lambda text: text.replace('"step": ', '"step": -'),
    "another serial": lambda text: text.replace('"serial": ', '"serial": 9'),
    "a metric": lambda text: text.replace('"metric": null', '"metric": 1e9'),
    "another format": lambda text: text.replace('"format": 2', '"format": 3'),
    "an old format": lambda text: text.replace('"format": 2', '"format": 1'),
    "another digest": lambda text: text.replace('"sha256": "', '"sha256": "0', 1),
    "a path": lambda text: text.replace('"state-', '"../state-'),
    "an absolute path": lambda text: text.replace('"state-', '"/etc/state-'),
    "a double key": lambda text: text.replace("{", '{"step": 1, "step": 2, ', 1),
    "NaN": lambda text: text.replace('"metric": null', '"metric": NaN'),
    "a huge number": lambda text: text.replace('"bytes": ', '"bytes": ' + "9" * 5000, 1),
    "a comment": lambda text: "// fine\n" + text,
    "no check": lambda text: text.replace('"check"', '"chock"'),
    "an empty check": lambda text: text[: text.rindex(': "')] + ': ""\n}\n',
    "single quotes": lambda text: text.replace('"', "'"),
    "a byte order mark": lambda text: "\ufeff" + text,
    "no files": lambda text: "{}",
}


def _of_text(name: str, edit: Callable[[str], str]) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / name
        path.write_text(edit(path.read_text()))

    return damage


def _older_as_newer(source: int, target: int, copy: Callable[[Any, Any], Any]) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "checkpoints" / f"step_{target:09d}.json"
        if copy is not os.replace:
            path.unlink(missing_ok=True)
        copy(folder / "checkpoints" / f"step_{source:09d}.json", path)

    return damage


def _every(pattern: str, keep: int) -> Damage:
    def damage(folder: Path) -> None:
        for path in (folder / "checkpoints").glob(pattern):
            path.write_bytes(path.read_bytes()[:keep])

    return damage


def _keep_only(prefix: str) -> Damage:
    def damage(folder: Path) -> None:
        for path in (folder / "checkpoints").iterdir():
            if not path.name.startswith(prefix):
                path.unlink()

    return damage


def _folder_is_a_link(folder: Path) -> None:
    (folder / "checkpoints").rename(folder / "elsewhere")
    (folder / "checkpoints").symlink_to(folder / "elsewhere")


def _folder_is_a_file(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints")
    (folder / "checkpoints").write_bytes(b"")
