"""The two files that hold an agent: what others read, what comes back, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from muzero_wm.agent import Agent, load
from muzero_wm.basis.errors import CheckpointError, UserError
from muzero_wm.cli import main as cli
from muzero_wm.config.presets import load_config
from muzero_wm.storage.checkpoint import SaveError
from muzero_wm.storage.exported import ABOUT, WEIGHTS, read_agent, write_agent
from muzero_wm.training import train

CONV = ["model.torso=conv", "model.batch_norm=true"]
ACTING = ["acting.random_openings=0", "search.discount=0.99", "replay.n_step=5"]


def trained(folder: Path, env: str = "tictactoe", *overrides: str) -> Agent:
    return train(load_config("debug", env=env, overrides=overrides, max_updates=3), folder)


@pytest.mark.parametrize(("env", "overrides"), [("tictactoe", CONV), ("gym:CartPole-v1", ACTING)])
def test_two_files_are_the_agent_wherever_they_lie(env: str, overrides: list[str], tmp_path: Path) -> None:
    agent = trained(tmp_path / "run", env, *overrides)
    (tmp_path / "elsewhere").mkdir()
    for name in (WEIGHTS, ABOUT):
        shutil.move(tmp_path / "run" / name, tmp_path / "elsewhere" / name)
    found = load(tmp_path / "elsewhere")
    assert (found.config, found.updates) == (agent.config, agent.updates)
    assert found.spec.to_json() == agent.spec.to_json() and found.spec.symmetries == agent.spec.symmetries
    for name, tensor in agent.model.state_dict().items():
        assert torch.equal(tensor, found.model.state_dict()[name]), name
    shape = (4, *agent.spec.observation_shape)
    observations = np.random.default_rng(0).integers(0, 2, shape).astype(agent.spec.observation_dtype)
    visits = [each.search(observations).visit_counts for each in (agent, found, load(tmp_path / "run"))]
    assert np.array_equal(visits[0], visits[1]) and np.array_equal(visits[0], visits[2])


def test_others_read_them_without_us(tmp_path: Path) -> None:
    agent = trained(tmp_path)
    arrays, about = load_file(tmp_path / WEIGHTS), json.loads((tmp_path / ABOUT).read_text())
    assert arrays.keys() == agent.model.state_dict().keys()
    assert all(np.array_equal(array, agent.model.state_dict()[name].numpy()) for name, array in arrays.items())
    assert about["updates"] == 3 and about["config"]["env"] == about["environment"]["name"] == "tictactoe"


def test_an_agent_is_saved_where_one_wants_it(tmp_path: Path) -> None:
    agent = trained(tmp_path / "run")
    agent.save(tmp_path / "a" / "b")
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == [ABOUT, WEIGHTS]
    assert load(tmp_path / "a" / "b").updates == 3
    with pytest.raises(SaveError, match="is a run folder"):
        agent.save(tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError, match="file: cannot be saved to"):
        agent.save(tmp_path / "file")


def test_weights_that_a_network_uses_twice_are_written_twice(tmp_path: Path) -> None:
    once = torch.arange(6.0).view(2, 3)
    write_agent(tmp_path, {"first": once, "second": once, "part": once[1:]}, {"updates": 1})
    found, _ = read_agent(tmp_path)
    assert torch.equal(found["first"], once) and torch.equal(found["second"], once)
    assert torch.equal(found["part"], once[1:])


def test_reading_takes_no_more_memory_than_there_is_to_read(tmp_path: Path, little_memory: None) -> None:
    write_agent(tmp_path, {"weight": torch.ones(3)}, {"updates": 1})
    assert torch.equal(read_agent(tmp_path)[0]["weight"], torch.ones(3))


def test_an_agent_is_evaluated_like_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path / "run").save(tmp_path / "agent")
    assert cli.main(["evaluate", str(tmp_path / "agent"), "--opponent", "random", "--games", "2"]) == 0
    assert cli.main(["evaluate", str(tmp_path / "agent"), "--checkpoint", "best"]) == 2
    assert "holds one agent and no checkpoints, so there is no 'best'" in capsys.readouterr().err


def break_text(folder: Path) -> None:
    (folder / ABOUT).write_text("{")


def break_entry(folder: Path) -> None:
    (folder / ABOUT).write_text(json.dumps(json.loads((folder / ABOUT).read_text()) | {"weights": [1]}))


def break_format(folder: Path) -> None:
    (folder / ABOUT).write_text(json.dumps(json.loads((folder / ABOUT).read_text()) | {"format": 99}))


def break_format_beyond(folder: Path) -> None:
    (folder / ABOUT).write_text((folder / ABOUT).read_text().replace('"format": 1', '"format": 1e999'))


def break_updates(folder: Path) -> None:
    (folder / ABOUT).write_text((folder / ABOUT).read_text().replace('"updates": 3', '"updates": 1e999', 1))


def break_config(folder: Path) -> None:
    (folder / ABOUT).write_text(json.dumps(json.loads((folder / ABOUT).read_text()) | {"config": [3]}))


def break_environment(folder: Path) -> None:
    (folder / ABOUT).write_text(json.dumps(json.loads((folder / ABOUT).read_text()) | {"environment": 3}))


def flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-3] ^= 1
    (folder / WEIGHTS).write_bytes(data)


def exchange(folder: Path) -> None:
    save_file({"x": np.zeros(3, np.float32)}, folder / WEIGHTS)


def take_away(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def link(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "there")
    (folder / WEIGHTS).symlink_to(folder / "there")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [(break_text, "model.json: is damaged"), (break_entry, "model.json: is damaged"),
     (break_format, "newer muzero-wm (format 99"), (break_config, "configuration in the checkpoint"),
     (break_format_beyond, "model.json: is damaged"), (break_updates, "holds no agent (OverflowError"),
     (break_environment, "makes no sense"), (flip_a_bit, "is not the file that model.json describes"),
     (exchange, "is not the file that model.json describes"), (take_away, "model.safetensors: is missing"),
     (link, "model.safetensors: is not readable")],
)  # fmt: skip
def test_what_is_damaged_is_one_line(damage, expected: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    trained(tmp_path / "run").save(tmp_path / "agent")
    damage(tmp_path / "agent")
    with pytest.raises(UserError) as caught:
        load(tmp_path / "agent")
    assert isinstance(caught.value, CheckpointError) and expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    small, large = trained(tmp_path / "a"), trained(tmp_path / "b", "tictactoe", "model.width=24")
    small.save(tmp_path / "agent")
    large.save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / WEIGHTS, tmp_path / "agent" / WEIGHTS)
    about = json.loads((tmp_path / "agent" / ABOUT).read_text())
    about["weights"] = json.loads((tmp_path / "other" / ABOUT).read_text())["weights"]
    (tmp_path / "agent" / ABOUT).write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match=r"weights: .* expected torch.float32"):
        load(tmp_path / "agent")
