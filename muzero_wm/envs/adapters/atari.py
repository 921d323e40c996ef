"""Atari 2600 games as the 100k protocol plays them: `ale:Pong`, `ale:MsPacman(size=84)`.

A step is four frames of one action; what is shown is the maximum of the last two, in grey (each frame is made grey
first, as in DeepMind's preprocessing and Gymnasium's `AtariPreprocessing`), shrunk by area. A game begins with 1 to 30
no-ops, as many as `AtariPreprocessing` draws from the same seed. A life lost ends an episode, and the next one goes on
in the same game; rewards are raw.

The emulator has some habits that are dealt with here:

- Loading a ROM takes 0.2 s, so a new game is a restored state. That of the very first frame is not complete in some
  games (Qbert), and `reset_game` depends on what was played before in others (PrivateEye): what is restored is the
  state after one no-op on a fresh emulator.
- A state does not hold the picture, and in some games a part of the next one is drawn already when it is taken. So
  pictures are looked at from the second frame on; the first two of a game are kept.
- With `repeat_action_probability` it would draw from a generator that is seeded when the ROM is loaded; so sticky
  actions are drawn here, frame by frame, as it does it.
- A ROM that it has no rules for ends the process, so it is asked first.

ale-py is GPL and imported only when one of its games is asked for.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import io
import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.basis.errors import did_you_mean, one_line
from muzero_wm.basis.seeding import stream_keys
from muzero_wm.envs.base import EnvError, EnvSpec
from muzero_wm.envs.language import Acted, Language, Observed, Part
from muzero_wm.envs.naming.naming import EnvName
from muzero_wm.envs.slots.single import Moment, SingleEnv
from muzero_wm.envs.translate import opencv

SIZES = (36, 256)
"""Smallest and largest side of what is shown."""

_FIRST_PICTURES = 2


class AtariEnv(SingleEnv):
    """One game of Atari.

    The state that it saves is the emulator's, with lives, frames and what sticky actions are drawn from.

    Attributes:
        game: one of `games()`.
        emulator: the `ALEInterface`; another one after every game without no-ops.
    """

    saves_state = True

    def __init__(
        self,
        name: str,
        game: str,
        *,
        size: int = 96,
        grey: bool = True,
        frame_skip: int = 4,
        sticky: float = 0.0,
        noop_max: int = 30,
        life_loss: bool = True,
        full_actions: bool = False,
        max_frames: int = 108_000,
        mode: int | None = None,
        difficulty: int | None = None,
    ) -> None:
        """Loads the ROM.

        Args:
            name: what the environment is called.
            game: one of `games()`.
            size: side of what is shown.
            grey: one channel; False: three, of colours.
            frame_skip: frames of a step.
            sticky: probability, in every frame, that the action of the frame before is played again.
            noop_max: a game begins with 1 to this many no-ops; 0: none, and every game loads its ROM.
            life_loss: a life lost ends an episode, unless it was the last; False: only the end of the game does.
            full_actions: all 18 actions; False: those that do something in this game.
            max_frames: a game of so many frames, no-ops included, is cut.
            mode: of the game, as on the console; None: the first.
            difficulty: the same.

        Raises:
            EnvError: a package or the ROM is missing, or an option is impossible.
        """
        _check_whole(name, "size", size, *SIZES)
        _check_whole(name, "frame_skip", frame_skip, 1, 1000)
        _check_whole(name, "noop_max", noop_max, 0, 1000)
        _check_whole(name, "max_frames", max_frames, noop_max + 1, 10**9)
        for option, flag in (("grey", grey), ("life_loss", life_loss), ("full_actions", full_actions)):
            if type(flag) is not bool:
                raise EnvError(f"{name}: {option} must be true or false, got {flag!r}")
        if isinstance(sticky, bool) or not isinstance(sticky, int | float) or not 0.0 <= sticky <= 1.0:
            raise EnvError(f"{name}: sticky must be a probability in [0, 1], got {sticky!r}")
        self._cv2, self.game = opencv(f"{name} needs", "atari"), game
        self._size, self._grey, self._skip, self._sticky = size, grey, frame_skip, float(sticky)
        self._noop_max, self._life_loss, self._max_frames = noop_max, life_loss, max_frames
        self._mode, self._difficulty = mode, difficulty
        self._use(self._loaded(name))
        self._actions = self.emulator.getLegalActionSet() if full_actions else self.emulator.getMinimalActionSet()
        self._noop = _package(name).Action.NOOP
        height, width = self.emulator.getScreenDims()
        raw = (height, width) if grey else (height, width, 3)
        self._picture, self._before = np.zeros(raw, np.uint8), np.zeros(raw, np.uint8)
        self._first_pictures: list[NDArray[np.uint8]] = []
        self._first = self._begun() if noop_max else None
        self._seed = self._frames = self._lives = 0
        self._held = self._noop  # what a sticky action plays again
        self._life_lost = False  # the next episode goes on in this game
        self._shown = np.zeros((1 if grey else 3, size, size), np.uint8)
        self.spec = EnvSpec(
            name=name,
            observation_shape=self._shown.shape,
            observation_dtype=np.dtype(np.uint8),
            num_actions=len(self._actions),
            num_players=1,
            max_episode_steps=-(-max_frames // frame_skip),
            observation_bounds=(0.0, 255.0),
            language=_language(size, grey, len(self._actions)),
        )

    def reset(self, seed: int) -> Moment:
        """Goes on in the game after a life was lost, else begins one."""
        if not self._life_lost:
            return self.new_game(seed)
        self._life_lost = False
        return Moment(self._shown)

    def new_game(self, seed: int) -> Moment:
        """Begins a game."""
        self._seed, self._held, self._life_lost = seed, self._noop, False
        # the first number that AtariPreprocessing draws after reset(seed=seed) of Gymnasium's environment
        numbers = np.random.SeedSequence(seed).generate_state(1)
        noops = int(np.random.default_rng(int(numbers[0])).integers(1, self._noop_max + 1)) if self._noop_max else 0
        if self._first is None:
            self._use(self._loaded(self.spec.name))
        else:
            self.emulator.restoreSystemState(self._first)
        self._frames = min(noops, 1)
        while self._frames < noops:
            self.emulator.act(self._noop)
            self._frames += 1
            if self.emulator.game_over(with_truncation=False):
                self.emulator.restoreSystemState(self._first)
                self._frames = noops = 1
        if 0 < self._frames <= _FIRST_PICTURES:
            self._picture[:] = self._first_pictures[self._frames - 1]
        else:
            self._look(self._picture)
        self._lives = self.emulator.lives()
        return Moment(self._observe())

    def step(self, action: int) -> Moment:
        """Plays an action for `frame_skip` frames, or until the game is over or cut."""
        ale, played = self.emulator, self._actions[action]
        held = self._held_frames() if self._sticky else ()
        reward, over, seen_before = 0.0, False, False
        for t in range(self._skip):
            if not (held and held[t]):
                self._held = played
            reward += ale.act(self._held)
            self._frames += 1
            over = ale.game_over(with_truncation=False)
            if over or self._frames >= self._max_frames:
                break
            if t == self._skip - 2:
                self._look(self._before)
                seen_before = True
        self._look(self._picture)
        if seen_before:
            np.maximum(self._picture, self._before, out=self._picture)
        cut = self._frames >= self._max_frames and not over
        lives, before = ale.lives(), self._lives
        self._lives = lives
        # some games show no life for a while before they are over (Qbert): that is no life lost, the end is near
        lost = self._life_loss and not over and 0 < lives < before
        self._life_lost = lost and not cut
        return Moment(self._observe(), reward=reward, terminated=over or lost, truncated=cut)

    def save(self) -> bytes:
        """Returns the state of emulator and game."""
        state = self.emulator.cloneSystemState().serialize()
        held = int(self._held.value)
        head = {
            "ale": _package(self.spec.name).__version__,
            "game": self.game,
            "numbers": [self._seed, self._frames, self._lives, held, int(self._life_lost)],
            "check": zlib.crc32(state),
        }
        return json.dumps(head).encode() + b"\n" + state

    def load(self, state: bytes, shown: NDArray[Any]) -> Moment:
        """Goes on where a game was saved.

        Raises:
            EnvError: the state is of another game or another version of ale-py, or damaged.
        """
        package = _package(self.spec.name)
        head, _, emulator = state.partition(b"\n")
        try:
            said = json.loads(head)
            version, game, check = said["ale"], said["game"], said["check"]
            seed, frames, lives, held, lost = map(int, said["numbers"])
        except (ValueError, KeyError, TypeError, UnicodeDecodeError):
            raise EnvError(f"{self.spec.name}: what was saved is no state of an Atari game") from None
        if (version, game) != (package.__version__, self.game):
            raise EnvError(
                f"{self.spec.name}: what was saved is a state of {str(game)[:40]} and ale-py {str(version)[:20]}, "
                f"here are {self.game} and {package.__version__}"
            )
        if zlib.crc32(emulator) != check:
            raise EnvError(f"{self.spec.name}: what was saved is damaged")
        self.emulator.restoreSystemState(package.ALEState(emulator))
        self._seed, self._frames, self._lives, self._life_lost = seed, frames, lives, bool(lost)
        self._held = package.Action(held)
        self._shown = np.array(shown, np.uint8)
        return Moment(self._shown)

    def clone(self) -> AtariEnv:
        """Returns an independent copy with an emulator of its own, which takes 0.2 s."""
        twin = copy.copy(self)
        twin._use(self._loaded(self.spec.name))
        twin.emulator.restoreSystemState(self.emulator.cloneSystemState())
        twin._picture, twin._before = self._picture.copy(), self._before.copy()
        return twin

    def stir(self, seed: int) -> bool:
        """Draws anew which actions stick; there is no other chance within a game."""
        self._seed = seed
        return self._sticky > 0.0

    def render(self) -> NDArray[np.uint8]:
        """Returns the screen as it is, [210, 160, 3] in most games."""
        picture: NDArray[np.uint8] = self.emulator.getScreenRGB()
        return picture

    def _use(self, ale: Any) -> None:
        self.emulator, self._look = ale, ale.getScreenGrayscale if self._grey else ale.getScreenRGB

    def _loaded(self, name: str) -> Any:
        """Returns an emulator that stands at the very beginning of the game."""
        package = _package(name)
        package.ALEInterface.setLoggerMode(package.LoggerMode.Error)
        ale = package.ALEInterface()
        ale.setFloat("repeat_action_probability", 0.0)
        ale.setInt("random_seed", 0)
        ale.loadROM(_rom(name, self.game))
        for option, value, known, write in (
            ("mode", self._mode, ale.getAvailableModes(), ale.setMode),
            ("difficulty", self._difficulty, ale.getAvailableDifficulties(), ale.setDifficulty),
        ):
            if value is None:
                continue
            if type(value) is not int or value not in known:
                raise EnvError(f"{name}: {option} must be one of {', '.join(map(str, known))}, got {value!r}")
            write(value)
        ale.reset_game()
        return ale

    def _begun(self) -> Any:
        """Returns the state after one no-op, and keeps the first pictures of the game."""
        states = []
        for _ in range(_FIRST_PICTURES):
            self.emulator.act(self._noop)
            states.append(self.emulator.cloneSystemState())
            self._look(self._picture)
            self._first_pictures.append(self._picture.copy())
        return states[0]

    def _held_frames(self) -> list[bool]:
        """Returns for every frame of a step whether the action of the frame before is played again."""
        keys = stream_keys(self._seed, "sticky", np.arange(self._skip), self._frames)
        held: list[bool] = ((keys >> np.uint64(11)) * 2.0**-53 < self._sticky).tolist()
        return held

    def _observe(self) -> NDArray[np.uint8]:
        """Returns the picture as it is shown, in a new array."""
        image = self._cv2.resize(self._picture, (self._size, self._size), interpolation=self._cv2.INTER_AREA)
        self._shown = image[None] if self._grey else image.transpose(2, 0, 1)
        return self._shown


def make_atari(name: EnvName) -> AtariEnv:
    """Makes a game of Atari.

    Args:
        name: "ale:MsPacman(option=value)"; capitals and underscores in the game's name do not matter.

    Returns:
        The environment.

    Raises:
        EnvError: there is no such game or option, or ale-py, OpenCV or the ROM is missing.
    """
    _package(name.text)
    found = {_plain(game): game for game in games()}
    if _plain(name.target) not in found:
        close = [*map(gymnasium_name, games()), *games()]
        raise EnvError(
            f"Atari has no game {name.target!r} for one player{did_you_mean(name.target, close)}; "
            f"muzero-wm envs ale lists the {len(found)} there are"
        )
    known = [option for option in inspect.signature(AtariEnv).parameters if option not in ("name", "game")]
    for option in name.options:
        if option not in known:
            raise EnvError(
                f"{name.text}: there is no option {option!r} (known: {', '.join([*known, 'frame_stack'])})"
                f"{did_you_mean(option, known)}"
            )
    return AtariEnv(name.text, found[_plain(name.target)], **name.options)


def games() -> tuple[str, ...]:
    """Returns the games for one player as ale-py writes them, such as "ms_pacman", sorted.

    Raises:
        EnvError: ale-py is not installed.
    """
    folder = os.environ.get("ALE_ROMS_DIR") or Path(_package("ale:").__file__).parent / "roms"
    return _games(Path(folder))


@functools.cache
def _games(folder: Path) -> tuple[str, ...]:
    from ale_py import roms

    files = ((rom, folder / f"{rom}.bin") for rom in roms.get_all_rom_ids())
    # those without rules for one player (Combat) would end the process; one that is not there is told later
    supported = _package("ale:").ALEInterface.isSupportedROM
    return tuple(sorted(rom for rom, file in files if not file.is_file() or supported(file)))


def gymnasium_name(game: str) -> str:
    """Returns what Gymnasium calls a game, "MsPacman" for "ms_pacman"."""
    return game.title().replace("_", "")


def _package(name: str) -> Any:
    try:
        import ale_py
    except ImportError:
        raise EnvError(f'{name} needs ale-py: pip install "muzero-wm[atari]"') from None
    return ale_py


def _rom(name: str, game: str) -> Path:
    from ale_py import roms

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it tells where it looks when ALE_ROMS_DIR is set
            path: Any = roms.get_rom_path(game)
    except OSError as error:
        remedy = "install ale-py again, or look at the environment variable ALE_ROMS_DIR"
        raise EnvError(f"{name}: the ROM {game}.bin cannot be used ({one_line(error)[:200]}): {remedy}") from None
    return Path(path)


def _plain(game: str) -> str:
    return game.lower().replace("_", "").replace("-", "")


def _language(size: int, grey: bool, num_actions: int) -> Language:
    """Returns the language of `AtariPreprocessing`: [size, size] in grey or [size, size, 3] in colour."""
    raw, axes = ((size, size), (0, 1)) if grey else ((size, size, 3), (2, 0, 1))
    seen = Part((), f"Box of {raw} uint8", raw, "uint8", axes, (1 if grey else 3, size, size))
    return Language(Observed((seen,)), Acted(f"Discrete({num_actions})", (num_actions,), (0,)))


def _check_whole(name: str, option: str, value: Any, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise EnvError(f"{name}: {option} must be a whole number in [{low}, {high}], got {value!r}")
