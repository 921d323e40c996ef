"""Runs from strangers: nothing in them is executed, nothing is allocated beyond reason, one line says what is wrong."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from muzero_wm.agent import load
from muzero_wm.basis.errors import UserError
from muzero_wm.cli import main as cli
from muzero_wm.config.presets import load_config, plan_run
from muzero_wm.envs import EnvError, EnvSpec, spec
from muzero_wm.storage.checkpoint import load_checkpoint, save_checkpoint
from muzero_wm.training import train

ROOT = Path(__file__).parents[1]
TINY = [
    "model.width=8", "model.head_width=8", "model.projection_width=8", "search.num_simulations=2",
    "acting.num_envs=8", "acting.process=false", "replay.min_steps=20", "learning.batch_size=8",
    "learning.max_minutes=null", "learning.max_updates=4", "run.tensorboard=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "run"
    train(load_config("tictactoe", overrides=TINY), folder)
    return folder


@pytest.fixture
def payload(run: Path) -> dict[str, Any]:
    return load_checkpoint(run / "checkpoints")


def rewritten(folder: Path, payload: dict[str, Any]) -> Path:
    """A run folder whose digests are all right: its author meant what it says."""
    save_checkpoint(folder / "checkpoints", payload, step=4, keep=1)
    (folder / "config.yaml").write_text(str(payload.get("config", "env: tictactoe\n")))
    return folder


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def _pickled(mark: Path) -> bytes:
    return pickle.dumps(Bomb(mark))


def _torch_zip(mark: Path) -> bytes:
    stream = io.BytesIO()
    torch.save({"learner": Bomb(mark)}, stream)
    return stream.getvalue()


def _torch_legacy(mark: Path) -> bytes:
    stream = io.BytesIO()
    torch.save({"learner": Bomb(mark)}, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def _npy_object(mark: Path) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    return stream.getvalue()


def _behind_our_magic(mark: Path) -> bytes:
    return b"MuZeroW\x02" + _pickled(mark)


def _zip_of_zeros(mark: Path) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", _pickled(mark))
        archive.writestr("archive/data/0", bytes(50_000_000))
    return stream.getvalue()


FOREIGN = [_pickled, _torch_zip, _torch_legacy, _npy_object, _behind_our_magic, _zip_of_zeros]


def replace_state(folder: Path, content: bytes) -> None:
    """Puts content in the place of the state, with a manifest that agrees."""
    import hashlib

    manifest = next(folder.glob("*.json"))
    entry = json.loads(manifest.read_text())
    entry["files"].pop(entry["state"])
    digest = hashlib.sha256(content).hexdigest()
    entry["state"] = f"state-{digest[:32]}.mzw"
    entry["files"][entry["state"]] = {"sha256": digest, "bytes": len(content)}
    entry.pop("check")
    entry["check"] = hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()
    manifest.write_text(json.dumps(entry))
    (folder / entry["state"]).write_bytes(content)


@pytest.mark.parametrize("make", FOREIGN, ids=lambda make: make.__name__)
def test_pickles_are_never_executed(
    make: Callable[[Path], bytes], payload: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "executed"
    folder = rewritten(tmp_path / "run", payload)
    replace_state(folder / "checkpoints", make(mark))
    for name in ("step_000000004.pt", "model.pkl", "conftest.py", "sitecustomize.py"):
        (folder / name).write_bytes(make(mark))
    for call in (["evaluate", str(folder)], ["play", str(folder)], ["train", "--resume", "--run-dir", str(folder)]):
        assert cli.main(call) == 2
        err = capsys.readouterr().err
        assert "cannot be read: it" in err and len(err.splitlines()) == 1
    assert not mark.exists()


def test_the_bombs_would_go_off(tmp_path: Path) -> None:
    for make in (_pickled, _torch_legacy):
        mark = tmp_path / make.__name__
        pickle.loads(make(mark)) if make is _pickled else torch.load(io.BytesIO(make(mark)), weights_only=False)
        assert mark.exists()


def _config(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(payload: dict[str, Any]) -> None:
        config = yaml.safe_load(payload["config"])
        for path, value in changes.items():
            section, name = path.split("__")
            config[section][name] = value
        payload["config"] = yaml.safe_dump(config)

    return change


def _env(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda payload: payload["env"].update(changes)


def _weight(change: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], None]:
    def apply(payload: dict[str, Any]) -> None:
        teacher = payload["learner"]["teacher"]
        name = "heads.output.weight"
        teacher[name] = change(teacher[name])

    return apply


def _laughs(levels: int) -> str:
    rows = ["a0: &a0 [ha, ha]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join([*rows, f"model: {{<<: {{width: *a{levels - 1}}}}}"])


PAYLOADS: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda p: p.clear(), "holds no agent"),
    (lambda p: p.pop("config"), "holds no agent"),
    (lambda p: p.update(config=3), "expected YAML, got int"),
    (lambda p: p.update(config=b"env: x"), "expected YAML, got bytes"),
    (lambda p: p.update(config="x" * (1 << 21)), "longer than"),
    (lambda p: p.update(config="!!python/object/apply:os.system ['true']"), "could not determine a constructor"),
    (lambda p: p.update(config="!!python/name:os.system"), "could not determine a constructor"),
    (lambda p: p.update(config=_laughs(40)), "unknown key"),
    (lambda p: p.update(config="[" * 50_000), "nested too deeply"),
    (lambda p: p.update(config="env: a\nenv: b\n"), "given twice"),
    (lambda p: p.update(config="seed: " + "9" * 6000), "not plain YAML"),
    (lambda p: p.update(config="&a [*a]"), "expected a mapping"),
    (_config(model__width=10**9), "less than or equal to 4096"),
    (_config(model__width=16), "expected"),
    (_config(model__representation_blocks=10**9), "less than or equal to"),
    (_config(model__dynamics_blocks=10**9), "less than or equal to"),
    (_config(model__head_width=10**12), "less than or equal to"),
    (_config(model__projection_width=10**12), "less than or equal to"),
    (_config(run__threads=10**9), "less than or equal to"),
    (_config(search__num_simulations=10**12), "less than or equal to"),
    (lambda p: p.pop("env"), "holds no agent"),
    (_env(name=""), "expected a name"),
    (_env(name=7), "expected a name"),
    (_env(observation_shape=[10**6, 10**6]), "at most"),
    (_env(observation_shape=[0]), "positive"),
    (_env(observation_shape="333"), "makes no sense"),
    (_env(observation_shape=[1] * 99), "at most"),
    (_env(frames=0), "expected frames in 1 .. 64 that divide 3, got 0"),
    (_env(frames=2), "expected frames in 1 .. 64 that divide 3, got 2"),
    (_env(frames=True), "expected frames in 1 .. 64"),
    (_env(frames=3), "expected 1 frame between two players"),
    (_env(observation_dtype="object"), "makes no sense"),
    (_env(num_actions=-1), "positive"),
    (_env(num_actions=10**15), "at most"),
    (_env(num_actions=10), "expected"),
    (_env(num_players=3), "1 or 2 players"),
    (_env(max_episode_steps=2.5), "positive"),
    (_env(value_bounds=[1, -1]), "value bounds"),
    (_env(value_bounds=[float("nan"), 1]), "value bounds"),
    (_env(symmetries=[[np.arange(9), np.arange(9)]]), "permutations"),
    (_env(symmetries=[[np.zeros(9, np.int32), np.arange(9, dtype=np.int32)]]), "permutations"),
    (_env(symmetries=[[np.arange(9, dtype=np.int32) - 1, np.arange(9, dtype=np.int32)]]), "permutations"),
    (_env(symmetries=[[1]]), "makes no sense"),
    (lambda p: p.pop("learner"), "holds no agent"),
    (lambda p: p["learner"].pop("teacher"), "holds no agent"),
    (lambda p: p["learner"].update(teacher=[]), "holds no agent"),
    (lambda p: p["learner"].update(updates="many"), "holds no agent"),
    (lambda p: p["learner"]["teacher"].popitem(), "missing"),
    (lambda p: p["learner"]["teacher"].update(more=torch.zeros(3)), "more is not of this model"),
    (_weight(lambda w: w[:-1]), r"expected torch.float32 \("),
    (_weight(lambda w: w.double()), "expected torch.float32"),
    (_weight(lambda w: w.long()), "expected torch.float32"),
    (_weight(lambda w: w * float("nan")), "finite"),
    (_weight(lambda w: "weights"), "holds no agent"),
]


@pytest.mark.parametrize(("change", "message"), PAYLOADS)
def test_agents_that_make_no_sense(
    change: Callable[[dict[str, Any]], Any], message: str, payload: dict[str, Any], tmp_path: Path, little_memory: None
) -> None:
    change(payload)
    folder = rewritten(tmp_path / "run", payload)
    with pytest.raises(UserError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 2500


RESUMED: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda p: p.pop("replay"), "holds no replay"),
    (lambda p: p.update(learner=3), "does not fit"),
    (lambda p: p["learner"].update(optimizer={}), "does not fit"),
    (lambda p: p["learner"].update(updates=-5), "expected a count"),
    (lambda p: p["learner"].update(updates=float("nan")), "does not fit"),
    (lambda p: p["learner"]["model"].popitem(), "does not fit"),
    (lambda p: p["progress"].update(rounds=-1), "expected counters"),
    (lambda p: p["progress"].update(steps=float("inf")), "does not fit"),
    (lambda p: p["progress"].update(elapsed=float("nan")), "expected counters"),
    (lambda p: p["replay"].update(counters=[-1, -1]), "counters"),
    (_config(replay__max_steps=10), "max_steps"),
]


@pytest.mark.parametrize(("change", "message"), RESUMED)
def test_runs_that_cannot_be_resumed(
    change: Callable[[dict[str, Any]], Any], message: str, payload: dict[str, Any], tmp_path: Path
) -> None:
    change(payload)
    folder = rewritten(tmp_path / "run", payload)
    before = sorted(path.name for path in (folder / "checkpoints").iterdir())
    with pytest.raises(UserError, match=message) as caught:
        train(plan_run(run_dir=folder, resume=True)[0], folder, resume=True)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == before


@pytest.mark.parametrize("name", ["tictactoe", "connect4", "gym:CartPole-v1"])
def test_a_spec_comes_back_from_a_checkpoint(name: str, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {"env": spec(name).to_dict()}, step=1, keep=1)
    assert EnvSpec.from_dict(load_checkpoint(tmp_path)["env"]) == spec(name)
    with pytest.raises(EnvError):
        EnvSpec.from_dict({})


def test_loading_imports_no_environment(payload: dict[str, Any], tmp_path: Path) -> None:
    """Not even the one it was trained on: the run may name what is not installed, or what should not be imported."""
    mark = tmp_path / "imported"
    folder = tmp_path / "run"
    payload["env"]["name"] = "gym:evil:Evil-v0"
    payload["config"] = payload["config"].replace("env: tictactoe", "env: gym:evil:Evil-v0")
    rewritten(folder, payload)
    for place in (folder, tmp_path):
        (place / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()")
    code = (
        "import sys, numpy, muzero_wm; agent = muzero_wm.load(sys.argv[1]);"
        "print(agent.act(numpy.zeros((3, 3, 3), numpy.uint8)),"
        "[name for name in sys.modules if name in ('gymnasium', 'evil', 'muzero_wm.envs.games.tictactoe')])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env=environment,
        cwd=folder,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(maxsplit=1)[1].strip() == "[]"
    assert not mark.exists()


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("command", ["evaluate", "train --resume --run-dir"])
def test_an_environment_is_never_imported_from_the_run_folder(
    command: str, safe: bool, payload: dict[str, Any], tmp_path: Path
) -> None:
    """`python -m` puts the current folder first on the path, and somebody may put it on PYTHONPATH."""
    mark = tmp_path / "imported"
    folder = tmp_path / "run"
    payload["env"]["name"] = "gym:evil:Evil-v0"
    payload["config"] = payload["config"].replace("env: tictactoe", "env: gym:evil:Evil-v0")
    rewritten(folder, payload)
    for name in ("evil", "torch", "yaml", "gymnasium", "rich"):
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()")
    if not safe:
        for name in ("torch", "yaml", "gymnasium", "rich"):
            (folder / f"{name}.py").unlink()  # whoever puts a folder on PYTHONPATH asks for its torch
    environment = {**os.environ, "PYTHONPATH": str(ROOT) + ("" if safe else f":{folder}")}
    done = subprocess.run(
        [sys.executable, "-m", "muzero_wm", *command.split(), str(folder)],
        env=environment, cwd=folder, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert not mark.exists(), done.stderr
    assert done.returncode == 2, done.stderr
    assert "evil" in done.stderr and len(done.stderr.splitlines()) == 1
