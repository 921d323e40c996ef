"""Films of episodes: what is in the file, and what is said where there can be none."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from muzero_wm.agent import Agent
from muzero_wm.config.presets import load_config
from muzero_wm.envs.registry import as_rendered, spec
from muzero_wm.evaluation.film import FilmError, check_film, write_film
from muzero_wm.evaluation.scene import HEIGHT, PANEL, Scene, Shot, shown
from muzero_wm.model.world_model import WorldModel


def agent(env: str, *overrides: str) -> Agent:
    small = ["model.width=8", "model.head_width=8", "model.projection_width=8", "search.num_simulations=3"]
    config = load_config("debug", env=env, overrides=[*small, *overrides])
    return Agent(config, spec(env), WorldModel(config.model, spec(env)), 0)


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_a_board_is_shown_from_the_first_move_to_the_last(suffix: str, tmp_path: Path) -> None:
    film = write_film(tmp_path / f"game{suffix}", agent("tictactoe"))
    assert film.ended and 5 <= film.steps <= 9 and film.result in (-1.0, 0.0, 1.0)
    assert [path.name for path in tmp_path.iterdir()] == [f"game{suffix}"]
    if suffix == ".gif":
        with Image.open(film.path) as image:
            count, size = image.n_frames, image.size  # type: ignore[attr-defined]
    else:
        import imageio.v2 as imageio

        with imageio.get_reader(film.path) as reader:  # type: ignore[attr-defined]
            count, size = reader.count_frames(), reader.get_meta_data()["size"]
    assert count == film.steps + 1
    assert size[0] > PANEL and size[1] == HEIGHT


def test_an_environment_that_draws_itself_is_shown_as_it_does(tmp_path: Path) -> None:
    film = write_film(tmp_path / "pole.gif", agent("gym:CartPole-v1"), max_steps=4)
    assert (film.steps, film.ended, film.result) == (4, False, 4.0)
    with Image.open(film.path) as image:
        assert image.n_frames == 5 and image.size[0] > 500  # type: ignore[attr-defined]


def test_the_same_seed_gives_the_same_film(tmp_path: Path) -> None:
    player = agent("tictactoe")
    one, two = (write_film(tmp_path / name, player, seed=5) for name in ("a.gif", "b.gif"))
    assert (one.steps, one.result) == (two.steps, two.result)


def test_what_shows_nothing_cannot_be_filmed(tmp_path: Path) -> None:
    with pytest.raises(FilmError, match="nothing to see"):
        write_film(tmp_path / "x.gif", agent("tests.envs.toys:Counting"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["film.avi", "film", "missing/film.gif", "."])
def test_a_file_that_cannot_be_is_refused_before_anything_is_played(name: str, tmp_path: Path) -> None:
    with pytest.raises(FilmError, match=r"--video .*: expected a file"):
        check_film(tmp_path / name)


def test_a_folder_that_takes_no_file_is_told_before_anything_is_played() -> None:
    for name in ("film.gif", "film.mp4"):  # whoever runs this, root too, may make no file in /proc
        with pytest.raises(FilmError, match=rf"^--video /proc/{name}: .* cannot be written to"):
            check_film(Path("/proc") / name)


def test_a_full_disk_is_one_line_and_leaves_no_film(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".film.tmp.mp4").symlink_to("/dev/full")
    with pytest.raises(FilmError, match=r"^--video .*film\.mp4: cannot be written: .*") as told:
        write_film(tmp_path / "film.mp4", agent("tictactoe"))
    assert "FFMPEG COMMAND" not in str(told.value) and "\n" not in str(told.value)
    assert capfd.readouterr().err == "" and not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(FilmError, match=r"imageio_ffmpeg: pip install 'muzero-wm\[video\]'"):
        check_film(tmp_path / "film.mp4")
    check_film(tmp_path / "film.gif")


def test_what_was_there_stays_where_a_film_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "film.gif"
    path.write_bytes(b"an earlier one")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(FilmError, match=r"cannot be written: .*No space left"):
        write_film(path, agent("tictactoe"))
    assert path.read_bytes() == b"an earlier one" and len(list(tmp_path.iterdir())) == 1


def test_only_those_that_are_asked_are_named_anew() -> None:
    assert as_rendered("gym:CartPole-v1") == "gym:CartPole-v1(render_mode='rgb_array')"
    assert as_rendered("gym:X-v0(frame_stack=2,channels=last)") == (
        "gym:X-v0(frame_stack=2, channels='last', render_mode='rgb_array')"
    )
    for name in ("connect4", "minatar:breakout", "gym:X-v0(render_mode=human)"):
        assert as_rendered(name) == name


def test_planes_have_colours_and_images_stay_as_they_are() -> None:
    board = spec("tictactoe")
    planes = np.zeros(board.observation_shape, np.uint8)
    planes[0, 0, 0] = planes[1, 2, 2] = 1
    picture = shown(board, planes)
    assert picture.shape == (3, 3, 3) and len({tuple(picture[i, i]) for i in range(3)}) == 3
    planes[:2] = planes[1::-1].copy()
    assert np.array_equal(shown(board, planes, to_play=1), picture)


def test_every_picture_of_a_film_has_the_same_size() -> None:
    scene = Scene(spec("connect4"))
    policy, visits = np.full(7, 1 / 7, np.float32), np.arange(7, dtype=np.int32)
    first = scene.draw(Shot(np.zeros((6, 7, 3), np.uint8), 0, 0, 0.0, False, 0.1, policy, visits, 3))
    second = scene.draw(Shot(np.zeros((12, 11, 3), np.uint8), 1, 1, 0.0, True))
    assert first.shape == second.shape and first.dtype == np.uint8
