"""A picture of one moment: what is seen on the left, what the agent makes of it on the right."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muzero_wm.envs import EnvSpec, is_built_in

HEIGHT, PANEL = 416, 288  # even, as films want them
_MOST_BARS = 18
_WIDEST = 640
_BACKGROUND, _TEXT, _FAINT = (24, 26, 31), (225, 228, 232), (120, 126, 136)
_PRIOR, _VISITS, _VALUE = (86, 110, 150), (240, 170, 60), (110, 200, 140)
_HUES = ((238, 200, 70), (80, 180, 230), (230, 110, 100), (120, 200, 120), (190, 130, 220), (235, 150, 60))


@dataclass(frozen=True)
class Shot:
    """What there is to draw.

    Attributes:
        picture: [H, W, 3] uint8.
        step: number of the step, from 0.
        to_play: seat to move.
        result: undiscounted return so far, between two players the first one's.
        over: the episode has ended.
        value: of the search, seen by the player to move; None at the end.
        policy: [A] of the network.
        visits: [A] of the search.
        action: the one that is played.
    """

    picture: NDArray[np.uint8]
    step: int
    to_play: int
    result: float
    over: bool
    value: float | None = None
    policy: NDArray[np.float32] | None = None
    visits: NDArray[np.int32] | None = None
    action: int | None = None


def shown(spec: EnvSpec, observation: NDArray[Any], to_play: int = 0) -> NDArray[np.uint8]:
    """Returns an observation [C, H, W] as a picture [H, W, 3]: images as they are, planes in a colour each.

    Args:
        spec: of the environment; of frames that stand one behind the other the newest is shown.
        observation: of the model's shape.
        to_play: who sees it so; on a built-in board mine and yours keep their colours.
    """
    planes = observation.astype(np.float64)
    low, high = spec.observation_bounds or (float(planes.min()), float(planes.max()))
    newest = planes[-spec.frame_shape[0] :]
    bright = np.clip((newest - low) / max(high - low, 1e-9), 0.0, 1.0)
    if len(bright) in (1, 3) and spec.observation_bounds is not None and high > 1.0:
        return np.moveaxis(np.broadcast_to(bright, (3, *bright.shape[1:])) * 255.0, 0, -1).astype(np.uint8)
    picture = np.full((*bright.shape[1:], 3), 40.0)
    if is_built_in(spec.name):  # stones of mine and of yours; what else there is says nothing more
        bright = bright[1::-1] if to_play == 1 else bright[:2]
    for plane, level in enumerate(bright):
        picture += level[..., None] * (np.array(_HUES[plane % len(_HUES)]) - picture)
    return picture.astype(np.uint8)


class Scene:
    """Draws the moments of an episode, one after the other.

    Args:
        spec: of the environment.
    """

    def __init__(self, spec: EnvSpec) -> None:
        """Remembers no value yet."""
        self._spec = spec
        self._values: deque[float] = deque(maxlen=PANEL - 32)
        self._size: tuple[int, int] | None = None

    def draw(self, moment: Shot) -> NDArray[np.uint8]:
        """Returns the next picture [H, W, 3] uint8, always of the same size."""
        from PIL import Image, ImageDraw

        left = self._enlarged(moment.picture)
        canvas = Image.new("RGB", (left.width + PANEL, HEIGHT), _BACKGROUND)
        canvas.paste(left, (0, (HEIGHT - left.height) // 2))
        pen = ImageDraw.Draw(canvas)
        x, y = left.width + 16, 14
        pen.text((x, y), self._spec.name[:42], fill=_FAINT)
        turn = f"   seat {moment.to_play}" if self._spec.num_players == 2 else ""
        pen.text((x, y + 18), f"step {moment.step}   return {moment.result:g}{turn}", fill=_TEXT)
        if moment.value is None:
            pen.text((x, y + 36), "the end" if moment.over else "the film ends here", fill=_TEXT)
            return np.asarray(canvas)
        seen = moment.value if moment.to_play == 0 else -moment.value
        self._values.append(seen)
        whose = " (of seat 0)" if self._spec.num_players == 2 else ""
        pen.text((x, y + 36), f"value {seen:.3g}{whose}", fill=_VALUE)
        self._curve(pen, x, y + 56, 56)
        self._bars(pen, moment, x, y + 128)
        return np.asarray(canvas)

    def _enlarged(self, picture: NDArray[np.uint8]) -> Any:
        """Returns a picture as large as there is room, small ones by whole numbers so that their cells stay sharp."""
        from PIL import Image

        image = Image.fromarray(np.ascontiguousarray(picture))
        factor = min(HEIGHT / image.height, _WIDEST / image.width)
        factor = float(int(factor)) if factor >= 2.0 else factor
        size = [max(2, int(side * factor) // 2 * 2) for side in image.size]
        self._size = self._size or (size[0], size[1])  # a window that is resized in the middle changes no film
        return image.resize(self._size, Image.Resampling.NEAREST if factor >= 2.0 else Image.Resampling.BOX)

    def _curve(self, pen: Any, x: int, y: int, height: int) -> None:
        low, high = min(self._values), max(self._values)
        span = max(high - low, 1e-6)
        points = [(x + i, y + height - (value - low) / span * height) for i, value in enumerate(self._values)]
        if len(points) > 1:
            pen.line(points, fill=_VALUE)

    def _bars(self, pen: Any, moment: Shot, x: int, y: int) -> None:
        assert moment.policy is not None and moment.visits is not None
        share = moment.visits / max(int(moment.visits.sum()), 1)
        actions = np.arange(len(share))
        if len(actions) > _MOST_BARS:  # those that matter most, by their number
            actions = np.sort(np.lexsort((-moment.policy, -share))[:_MOST_BARS])
        pen.text((x, y - 16), "action  ", fill=_FAINT)
        pen.text((x + 48, y - 16), "policy", fill=_PRIOR)
        pen.text((x + 96, y - 16), "visits", fill=_VISITS)
        step, width = min(20, (HEIGHT - y - 8) // len(actions)), PANEL - 88
        for row, action in enumerate(actions):
            top, half = y + row * step, max((step - 4) // 2, 1)
            pen.text((x, top - 1), str(action), fill=_TEXT if action == moment.action else _FAINT)
            pen.rectangle((x + 28, top, x + 28 + round(width * float(moment.policy[action])), top + half), fill=_PRIOR)
            pen.rectangle(
                (x + 28, top + half, x + 28 + round(width * float(share[action])), top + 2 * half), fill=_VISITS
            )
            if action == moment.action:
                pen.text((x + 16, top - 1), ">", fill=_TEXT)
