"""Presets and configuration files: what is read, and one clear line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from muzero_wm.config import Config
from muzero_wm.config.presets import ConfigError, dump_config, load_config, plan_run, preset_names
from muzero_wm.storage.checkpoint import save_checkpoint
from muzero_wm.storage.folder import RunDirError


def test_every_preset_is_valid_and_says_how_to_run_it() -> None:
    assert {"tictactoe", "connect4", "cartpole", "quickstart", "debug"} <= set(preset_names())
    configs = Path(__file__).parents[1] / "configs"
    for name in preset_names():
        load_config(name)
        first = (configs / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith(f"# muzero-wm train {name}")


@pytest.mark.parametrize("name", ["tictactoe", "connect4", "cartpole", "quickstart", "debug"])
def test_dump_and_load_give_the_same_configuration(name: str, tmp_path: Path) -> None:
    config = load_config(name, seed=7, overrides=["search.value_scale=1e-3"])
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config), encoding="utf-8")
    assert load_config(file) == config


def test_layers_are_laid_over_each_other_in_order(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("env: connect4\nmodel: {width: 8, head_width: 9}\n")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\nmodel: {width: 16}\nseed: 1\n")
    config = load_config(tmp_path / "mine.yaml", env="tictactoe", seed=2, overrides=["model.head_width=10"])
    assert (config.env, config.seed, config.model.width, config.model.head_width) == ("tictactoe", 2, 16, 10)
    assert config.model.dynamics_blocks == Config().model.dynamics_blocks


def test_a_budget_replaces_the_budget_below_as_a_whole() -> None:
    below = load_config("tictactoe").learning
    assert below.max_minutes is not None
    assert below.max_updates is None
    updates = load_config("tictactoe", max_updates=5).learning
    assert (updates.max_updates, updates.max_minutes) == (5, None)
    minutes = load_config("debug", max_minutes=0.5).learning
    assert (minutes.max_updates, minutes.max_minutes) == (None, 0.5)
    both = load_config("tictactoe", max_minutes=0.5, max_updates=5).learning
    assert (both.max_updates, both.max_minutes) == (5, 0.5)
    steps = load_config("tictactoe", max_steps=9000).learning
    assert (steps.max_steps, steps.max_updates, steps.max_minutes) == (9000, None, None)
    one_by_one = load_config("tictactoe", overrides=["learning.max_updates=3"]).learning
    assert (one_by_one.max_updates, one_by_one.max_minutes) == (3, None)


def test_settings_of_the_command_line_are_yaml() -> None:
    config = load_config("debug", overrides=["learning.learning_rate=1e-3", "run.tensorboard=no", "seed=3"])
    assert config.learning.learning_rate == 1e-3
    assert config.seed == 3
    assert config.run.tensorboard is False


BAD_SETTINGS = [
    ("model.widht=64", "model.widht: unknown key, did you mean 'width'?"),
    ("modle.width=64", "modle: unknown key, did you mean 'model'?"),
    ("learning.zzz=1", "learning.zzz: unknown key, expected one of batch_size"),
    ("model.value_support.bins=3", "model.value_support.bins: unknown key, did you mean 'num_bins'?"),
    ("model.width=wide", "model.width: expected a valid integer, got 'wide'"),
    ("model.width=64.5", "model.width: expected a valid integer, got 64.5"),
    ("model.width=true", "model.width: expected a valid integer, got True"),
    ("learning.learning_rate=true", "learning.learning_rate: expected a number, got True"),
    ("model.width=3", "model.width: expected greater than or equal to 4, got 3"),
    ("model.width=null", "model.width: expected a valid integer, got None"),
    ("model.width=[1, 2]", "model.width: expected a valid integer, got [1, 2]"),
    ("model.torso=cnov", "model.torso: expected 'auto', 'mlp', 'conv' or 'pixels', got 'cnov', did you mean 'conv'?"),
    ("model.ema_decay=1.5", "model.ema_decay: expected less than or equal to 1, got 1.5"),
    ("model.batch_norm=1", "model.batch_norm: expected a valid boolean, got 1"),
    ("model.value_support.low=9", "model.value_support: low (9.0) must be smaller than high"),
    ("model=3", "model: expected a mapping of settings (torso, width"),
    ("search.num_simulations=0", "search.num_simulations: expected greater than or equal to 1, got 0"),
    ("search.num_simulations=-5", "search.num_simulations: expected greater than or equal to 1, got -5"),
    ("search.algorithm=alphazero", "search.algorithm: expected 'gumbel' or 'puct', got 'alphazero'"),
    ("search.discount=1.01", "search.discount: expected less than or equal to 1, got 1.01"),
    ("search.discount=.nan", "search.discount: expected a finite number, got nan"),
    ("search.value_scale=0", "search.value_scale: expected greater than 0, got 0"),
    ("search.max_depth=0", "search.max_depth: expected greater than or equal to 1, got 0"),
    ("acting.num_envs=0", "acting.num_envs: expected greater than or equal to 1, got 0"),
    ("acting.num_envs=1e3", "acting.num_envs: expected a valid integer, got '1e3'"),
    ("acting.random_openings=2", "acting.random_openings: expected less than or equal to 1, got 2"),
    ("acting.process=maybe", "acting.process: expected a valid boolean, got 'maybe'"),
    ("replay.max_mib=0", "replay.max_mib: expected greater than or equal to 0.1, got 0"),
    ("search.model=rule", "search.model: expected 'learned' or 'rules', got 'rule', did you mean 'rules'?"),
    ("model.dynamics_blocks=0", "model.dynamics_blocks: expected 1 or more with search.model learned, got 0"),
    ("replay.unroll_steps=0", "replay.unroll_steps: expected 1 or more with search.model learned, got 0"),
    ("replay.terminal_fraction=1.0", "replay.terminal_fraction: expected less than 1, got 1.0"),
    ("learning.learning_rate=fast", "learning.learning_rate: expected a valid number, got 'fast'"),
    ("learning.learning_rate=-1", "learning.learning_rate: expected greater than 0, got -1"),
    ("learning.learning_rate=.inf", "learning.learning_rate: expected a finite number, got inf"),
    ("learning.optimizer=adam", "learning.optimizer: expected 'adamw' or 'sgd', got 'adam', did you mean 'adamw'?"),
    ("learning.max_minutes=null", "learning: set max_updates, max_minutes or max_steps: a run needs an end"),
    ("learning.max_steps=4000", "learning.max_steps: expected 4224 or more, or nothing is learnt"),
    ("learning.max_minutes=0", "learning.max_minutes: expected greater than 0, got 0"),
    ("run.keep_checkpoints=0", "run.keep_checkpoints: expected greater than or equal to 1, got 0"),
    ("seed=-1", "seed: expected greater than or equal to 0, got -1"),
    ("env=", "env: expected a valid string, got None"),
    ("env=conect4", "env: unknown environment 'conect4'"),
    ("env=gym:CartPol-v1", "env: "),
    ("width", "--set width: expected path=value"),
    ("=3", "--set =3: expected path=value"),
    ("model..width=3", "--set model..width=3: expected path=value"),
    ("model.width=[1", "--set model.width=[1:1: not plain YAML"),
    ("model.width=!!python/name:os.system", "not plain YAML: could not determine a constructor for the tag"),
]


def test_settings_of_dynamics_beside_rules_are_told_in_one_line() -> None:
    """In whatever order they are said; what a layer below says is put away."""
    for order in (1, -1):
        said = ["replay.unroll_steps=3", "search.model=rules", "replay.reward_fraction=0.5"][::order]
        with pytest.raises(ConfigError) as caught:
            load_config("connect4", overrides=said)
        (line,) = caught.value.lines
        assert "leave out replay.unroll_steps (got 3, expected 0), replay.reward_fraction (got 0.5" in line
    with pytest.raises(ConfigError, match=r"search\.tree: device is for search\.model learned"):
        load_config("connect4", overrides=["search.model=rules", "search.tree=device"])


def test_a_search_by_rules_needs_rules() -> None:
    with pytest.raises(ConfigError, match=r"search\.model: rules needs them: gym:CartPole-v1 is no board game"):
        load_config("cartpole", overrides=["search.model=rules"])


def test_a_file_that_extends_a_preset_may_say_rules(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: connect4\nsearch:\n  model: rules\n")
    assert load_config(tmp_path / "mine.yaml").replay.unroll_steps == 0
    (tmp_path / "mine.yaml").write_text("extends: connect4\nsearch:\n  model: rules\nreplay:\n  unroll_steps: 2\n")
    with pytest.raises(ConfigError, match=r"leave out replay\.unroll_steps"):
        load_config(tmp_path / "mine.yaml")
    assert load_config(tmp_path / "mine.yaml", overrides=["search.model=learned", "model.dynamics_blocks=1"])


@pytest.mark.parametrize(("setting", "expected"), BAD_SETTINGS)
def test_each_bad_setting_is_one_clear_line(setting: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("tictactoe", overrides=[setting])
    assert len(caught.value.lines) == 1
    assert expected in caught.value.lines[0]
    assert "\n" not in caught.value.lines[0]


def test_all_mistakes_are_reported_at_once() -> None:
    settings = ["model.widht=3", "search.num_simulations=0", "env=nowhere", "learning.max_minutes=-1"]
    with pytest.raises(ConfigError) as caught:
        load_config("tictactoe", overrides=settings)
    text = str(caught.value)
    assert len(caught.value.lines) == 4
    assert all(path in text for path in ("model.widht", "search.num_simulations", "env", "learning.max_minutes"))


BAD_FILES = [
    ("", "expected a mapping of settings, got nothing"),
    ("- env\n- seed\n", "expected a mapping of settings, got list"),
    ("just words", "expected a mapping of settings, got str 'just words'"),
    ("env: tictactoe\nseed: 1\nseed: 2\n", "file.yaml:3: not plain YAML: the key 'seed' is given twice"),
    ("model:\n  width: 8\n  width: 9\n", "file.yaml:3: not plain YAML: the key 'width' is given twice"),
    ("env: [tictactoe\n", "not plain YAML"),
    ("env: tictactoe\n\tseed: 1\n", "file.yaml:2: not plain YAML"),
    ("seed: !!python/object/apply:os.getpid []\n", "file.yaml:1: not plain YAML: could not determine a constructor"),
    ("1: 2\n", "1: "),
    ("extends: nowhere\n", "unknown preset 'nowhere'"),
    ("extends: [tictactoe]\n", "extends: expected the name of a preset or a file"),
    ("extends: file.yaml\n", "extends: a circle of presets"),
    ("a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\nmodel: [*c, *c, *c]\n", "model: expected a mapping"),
]


@pytest.mark.parametrize(("text", "expected"), BAD_FILES)
def test_each_bad_file_is_a_clear_error_that_names_it(text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert any(expected in line for line in caught.value.lines)
    assert all(len(line) < 500 for line in caught.value.lines)
    assert file.read_text() == text


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    deep = tmp_path / "deep.yaml"
    deep.write_text("[" * 20_000)
    for path, expected in (
        (tmp_path / "missing.yaml", "no such file"),
        (tmp_path, "cannot be read"),
        (binary, "not a UTF-8 text file"),
        (deep, "nested too deeply"),
    ):
        with pytest.raises(ConfigError, match=expected):
            load_config(path)


def test_unknown_presets_get_a_hint() -> None:
    with pytest.raises(ConfigError, match="unknown preset 'tictacto', did you mean 'tictactoe'"):
        load_config("tictacto")
    with pytest.raises(ConfigError, match="name a preset"):
        load_config()
    with pytest.raises(ConfigError, match="unknown environment"):
        load_config(env="nowhere")


def test_a_run_is_planned_without_touching_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config, first = plan_run("debug")
    assert first == Path("runs/debug-1")
    assert plan_run("debug")[1] == Path("runs/debug-2")
    assert plan_run(env="gym:CartPole-v1")[1] == Path("runs/gym-CartPole-v1-1")
    (first / "config.yaml").write_text(dump_config(config))
    with pytest.raises(RunDirError, match="--resume"):
        plan_run("debug", run_dir=first)
    with pytest.raises(RunDirError, match="no checkpoint"):
        plan_run(run_dir=first, resume=True)
    with pytest.raises(RunDirError, match="no run"):
        plan_run(run_dir=tmp_path / "nowhere", resume=True)
    with pytest.raises(RunDirError, match="run-dir"):
        plan_run("debug", resume=True)
    save_checkpoint(first / "checkpoints", {"config": dump_config(config)}, step=1, keep=1)
    assert plan_run(run_dir=first, resume=True) == (config, first)
    with pytest.raises(RunDirError, match="file"):
        plan_run("debug", run_dir=first / "config.yaml")
    assert yaml.safe_load((first / "config.yaml").read_text()) == config.model_dump(mode="json")


def test_every_setting_has_a_place_in_the_resolved_file() -> None:
    resolved = yaml.safe_load(dump_config(load_config("debug")))
    assert set(resolved) == set(Config.model_fields)
    assert resolved["learning"]["max_updates"] == 20


def test_games_of_two_make_no_random_moves() -> None:
    with pytest.raises(ConfigError, match=r"acting.random_moves: for one player, connect4 has two.*got 0.4"):
        load_config("connect4", overrides=["acting.random_moves=0.4"])
