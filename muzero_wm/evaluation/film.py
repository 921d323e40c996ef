"""One episode as a film: what the environment shows, and beside it what the agent thought of it.

An environment that draws itself is shown as it draws itself. Of others with boards or images the observation is shown,
as the network sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm import envs
from muzero_wm.basis.errors import UserError, one_line
from muzero_wm.basis.seeding import stream_keys
from muzero_wm.envs import BatchedEnv, EnvSpec
from muzero_wm.envs.registry import as_evaluated, as_rendered
from muzero_wm.evaluation.players import SearchingAgent, positions
from muzero_wm.evaluation.scene import Scene, Shot, shown
from muzero_wm.storage.files import why_no_file

FORMATS = (".mp4", ".gif")
MOST_STEPS = 3000
"""Steps after which a film ends, whether the episode does or not."""
_NEEDS = "pip install 'muzero-wm[video]'"
_USUAL_RATE, _TURNS_RATE = 15.0, 1.5  # pictures a second


class FilmError(UserError):
    """Says why there is no film."""


@dataclass(frozen=True)
class Film:
    """What was filmed.

    Attributes:
        path: the file.
        steps: of the episode, as far as it is shown.
        result: undiscounted return so far, between two players the first one's.
        ended: the episode ended.
    """

    path: Path
    steps: int
    result: float
    ended: bool


def check_film(path: Path) -> None:
    """Checks that a film can be written, before anything is played.

    Raises:
        FilmError: it is of no format that is known, its folder is not there, or a package is missing.
    """
    if reason := why_no_file(path, FORMATS):
        raise FilmError(f"--video {path}: {reason}")
    try:
        import PIL.Image  # noqa: F401

        if path.suffix.lower() == ".mp4":
            import imageio
            import imageio_ffmpeg  # type: ignore[import-untyped]  # noqa: F401

            assert imageio.__version__
    except ImportError as error:
        raise FilmError(f"--video {path}: a film needs {error.name}: {_NEEDS}") from None


def write_film(
    path: Path,
    agent: SearchingAgent,
    simulations: int | None = None,
    seed: int = 0,
    max_steps: int = MOST_STEPS,
    progress: Callable[[int, int], None] | None = None,
) -> Film:
    """Plays an episode with the agent's search and writes it, whole or not at all.

    Args:
        path: the file, .mp4 or .gif.
        agent: who plays; between two players both sides.
        simulations: per move; None for the agent's own number.
        seed: of the environment and of the searches.
        max_steps: where the film ends if the episode does not.
        progress: called as progress(steps, max_steps).

    Returns:
        What was filmed.

    Raises:
        FilmError: the file cannot be written, or there is nothing to see.
        EnvError: the environment failed.
    """
    check_film(path)
    env, source = _made_for_pictures(agent.spec, seed)
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    last: list[Shot] = []

    def pictures() -> Iterator[NDArray[np.uint8]]:
        for moment in _moments(env, source, agent, simulations, seed, max_steps):
            last[:] = [moment]
            if progress is not None:
                progress(moment.step, max_steps)
            yield scene.draw(moment)

    with closing(env):
        scene = Scene(agent.spec)
        try:
            _write(temporary, pictures(), _rate(env))
            temporary.replace(path)
        except (OSError, ValueError) as error:
            reason = one_line(error).partition(" FFMPEG COMMAND")[0]  # what follows is no reason
            raise FilmError(f"--video {path}: cannot be written: {reason[:200]}") from None
        finally:
            temporary.unlink(missing_ok=True)
    return Film(path, last[-1].step, last[-1].result, last[-1].over)


Source = Callable[[BatchedEnv, NDArray[Any], int], NDArray[np.uint8]]


def _made_for_pictures(spec: EnvSpec, seed: int) -> tuple[BatchedEnv, Source]:
    """Returns one environment of a kind after a reset, and what shows it."""
    why = "it draws nothing"
    plain = as_evaluated(spec.name)
    for name in dict.fromkeys((as_rendered(plain), plain)):
        try:
            env = envs.make(name, 1, seed)
        except envs.EnvError as error:
            if name == plain:
                raise
            why = str(error)
            continue
        try:
            env.reset()
            if _drawn(env) is not None:
                return env, lambda env, *_: _present(env)
        except Exception as error:  # what draws may fail in any way
            why = one_line(error)[:200]
        env.close()
    if len(spec.observation_shape) != 3:
        raise FilmError(f"{spec.name}: there is nothing to see: it shows no image, and {why}")
    return envs.make(plain, 1, seed), lambda _, observation, to_play: shown(spec, observation, to_play)


def _drawn(env: BatchedEnv) -> NDArray[np.uint8] | None:
    singles = getattr(env, "envs", None)  # games that are built in are rows of one array
    return None if not singles else singles[0].render()


def _present(env: BatchedEnv) -> NDArray[np.uint8]:
    picture = _drawn(env)
    if picture is None or picture.ndim != 3 or picture.shape[2] != 3:
        raise FilmError(f"{env.spec.name}: expected pictures [H, W, 3], got {getattr(picture, 'shape', None)}")
    return picture


def _rate(env: BatchedEnv) -> float:
    """Returns pictures a second."""
    if env.spec.num_players == 2:
        return _TURNS_RATE
    raw = getattr(getattr(env, "envs", [None])[0], "raw", None)
    told = (getattr(raw, "metadata", None) or {}).get("render_fps")
    return float(told) if isinstance(told, int | float) and 0.0 < told <= 120.0 else _USUAL_RATE


def _moments(
    env: BatchedEnv, source: Source, agent: SearchingAgent, simulations: int | None, seed: int, max_steps: int
) -> Iterator[Shot]:
    """Plays one episode; yields every moment with what the search found there, the last one with nothing."""
    step, result = env.reset(), 0.0
    for count in range(max_steps + 1):
        to_play = int(step.to_play[0])
        picture = source(env, step.observation[0], to_play)
        if count == max_steps:
            yield Shot(picture, count, to_play, result, False)
            return
        keys = stream_keys(seed, "evaluation/search", np.zeros(1, np.int64), count + 1)
        options = positions(agent, env.states)
        found: Any = agent.search(step.observation, step.legal_actions, simulations, rng=keys, **options)
        policy, _ = agent.policy(step.observation, step.legal_actions)
        action = int(found.action[0])
        yield Shot(
            picture, count, to_play, result, False, float(found.root_value[0]), policy[0], found.visit_counts[0], action
        )
        step = env.step(np.array([action]))
        result += float(step.reward[0]) * (1.0 if to_play == 0 else -1.0)
        if (
            step.terminated[0] or step.truncated[0]
        ):  # the next episode has begun: what is left to see of this one is its last observation
            yield _last(env.spec, step.final_observation[0], picture, count + 1, int(step.final_to_play[0]), result)
            return


def _last(
    spec: EnvSpec, observation: NDArray[Any], before: NDArray[np.uint8], count: int, to_play: int, result: float
) -> Shot:
    """Returns the end of an episode: its last observation where that is what is shown, else the picture before it."""
    if len(spec.observation_shape) == 3:
        last = shown(spec, observation, to_play)
        before = last if last.shape == before.shape else before
    return Shot(before, count, to_play, result, True)


def _write(path: Path, pictures: Iterator[NDArray[np.uint8]], rate: float) -> None:
    if path.suffix.lower() == ".gif":
        from PIL import Image

        images = (Image.fromarray(picture) for picture in pictures)
        next(images).save(path, save_all=True, append_images=images, duration=round(1000.0 / rate), loop=0)
        return
    import imageio.v2 as imageio

    writer: Any = imageio.get_writer(path, fps=rate, macro_block_size=None, ffmpeg_log_level="quiet")
    count = 0
    with closing(writer):
        for picture in pictures:
            writer.append_data(picture)
            count += 1
    _check_film_of(path, count)


def _check_film_of(path: Path, count: int) -> None:
    """Reads a film again: that ffmpeg could not write is not told by what calls it, since short films fit a pipe.

    Raises:
        OSError: there are not as many pictures in it.
    """
    import imageio_ffmpeg

    try:
        found = imageio_ffmpeg.count_frames_and_secs(str(path))[0] if path.is_file() and path.stat().st_size else 0
    except RuntimeError:  # no film at all
        found = 0
    if found != count:
        raise OSError(f"ffmpeg left {found} of {count} pictures; is there room on the disk?")
