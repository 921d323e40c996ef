"""Images made smaller and grey: against averages by hand, in the environment and in an agent used outside."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from muzero_wm import envs
from muzero_wm.envs.base import EnvSpec
from muzero_wm.envs.translate import Translator

cv2 = pytest.importorskip("cv2", reason="OpenCV (extra: images)")

CAMERA = "tests.envs.test_images:camera"
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601


class Camera(gymnasium.Env):
    """Shows noise that follows from the seed and the number of the step; `end` steps are an episode."""

    action_space = spaces.Discrete(2)

    def __init__(self, shape: tuple[int, ...] = (24, 32, 3), dtype: str = "uint8", inside: bool = False) -> None:
        box = spaces.Box(0, 255 if dtype == "uint8" else 1, shape, np.dtype(dtype).type)
        self.observation_space = spaces.Dict(view=box) if inside else box
        self._box, self._inside, self._steps = box, inside, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return self._show(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        return self._show(), 0.0, self._steps == 5, False, {}

    def _show(self) -> Any:
        image = (self.np_random.random(self._box.shape) * self._box.high).astype(self._box.dtype)
        return {"view": image} if self._inside else image


def camera(**options: Any) -> gymnasium.Env:
    return Camera(**options)


def vector() -> gymnasium.Env:
    return gymnasium.make("CartPole-v1")


def walk(**options: Any) -> Any:
    from tests.envs.toys import Walk

    return Walk(**options)


def averaged(image: Any, factor: int) -> Any:
    """Returns the means of squares of pixels, [H, W, C]."""
    h, w, c = image.shape
    return image.reshape(h // factor, factor, w // factor, factor, c).astype(np.float64).mean((1, 3))


def raw_and_shown(options: str, seed: int) -> tuple[Any, Any, EnvSpec]:
    name = f"{CAMERA}({options})"
    plain = ", ".join(part for part in options.split(", ") if not part.startswith(("resize", "grey")))
    raw = envs.make(f"{CAMERA}({plain})", 2, seed).reset().observation
    env = envs.make(name, 2, seed)
    return raw.transpose(0, 2, 3, 1), env.reset().observation, env.spec


@pytest.mark.parametrize(("dtype", "off"), [("uint8", 0.51), ("float32", 1e-5)])
def test_a_smaller_image_is_the_average_of_its_areas(dtype: str, off: float, seed: int) -> None:
    raw, shown, spec = raw_and_shown(f"dtype={dtype}, resize=(12,16)", seed)
    assert (spec.observation_shape, spec.observation_dtype) == ((3, 12, 16), np.dtype(dtype)) and shown.dtype == dtype
    for image, small in zip(raw, shown, strict=True):
        np.testing.assert_allclose(small.transpose(1, 2, 0), averaged(image, 2), atol=off)


@pytest.mark.parametrize(("dtype", "off"), [("uint8", 1.01), ("float32", 1e-5)])
def test_grey_is_the_luma_of_itu_601(dtype: str, off: float, seed: int) -> None:
    raw, shown, spec = raw_and_shown(f"dtype={dtype}, grey=true", seed)
    assert spec.observation_shape == (1, 24, 32) and shown.dtype == dtype
    np.testing.assert_allclose(shown[:, 0], raw @ LUMA, atol=off)
    assert spec.observation_bounds == (0.0, 255.0 if dtype == "uint8" else 1.0)


def test_grey_comes_first_and_each_of_several_images_has_its_own(seed: int) -> None:
    env = envs.make(f"{CAMERA}(shape=(2,24,24,3), grey=true, resize=12)", 1, seed)
    raw = envs.make(f"{CAMERA}(shape=(2,24,24,3))", 1, seed).reset().observation[0]
    shown = env.reset().observation[0]
    assert shown.shape == (2, 12, 12)
    for k in range(2):
        grey = cv2.cvtColor(np.ascontiguousarray(raw[3 * k : 3 * k + 3].transpose(1, 2, 0)), cv2.COLOR_RGB2GRAY)
        np.testing.assert_array_equal(shown[k], cv2.resize(grey, (12, 12), interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("options", ["inside=true, ", "channels=last, ", "shape=(24,20), "])
def test_dicts_channels_and_single_planes_work_too(options: str, seed: int) -> None:
    grey = "" if "shape" in options else ", grey=true"
    env = envs.make(f"{CAMERA}({options}resize=10{grey}, frame_stack=3)", 2, seed)
    assert env.spec.observation_shape == (3, 10, 10)
    step = env.reset()
    for _ in range(7):
        step = env.step(np.zeros(2, int))
    assert step.observation.any()


@pytest.mark.parametrize("workers", [0, 1])
def test_an_agent_prepares_what_the_environment_shows(workers: int, seed: int) -> None:
    """The spec as a checkpoint holds it, with raw observations from outside: one, or the last of several."""
    for stack in (1, 3):
        env = envs.make(
            f"{CAMERA}(inside=true, grey=true, resize=(12,9), frame_stack={stack})", 1, seed, workers=workers
        )
        plain = envs.make(CAMERA, 1, seed)  # what is in the dict
        translator = Translator(EnvSpec.from_dict(env.spec.to_dict()))
        try:
            step, raw = env.reset(), [{"view": plain.reset().observation[0].transpose(1, 2, 0)}]
            for _ in range(4):
                given = raw[-1] if stack == 1 else raw[-stack:]
                np.testing.assert_array_equal(translator.observation(given), step.observation[0])
                step = env.step(np.zeros(1, int))
                raw.append({"view": plain.step(np.zeros(1, int)).observation[0].transpose(1, 2, 0)})
            np.testing.assert_array_equal(translator.observation(step.observation[0]), step.observation[0])
        finally:
            env.close()


def test_what_is_done_is_told() -> None:
    language = envs.spec(f"{CAMERA}(grey=true, resize=16)").language
    assert language is not None
    assert language.told()[:2] == [
        "Box of (24, 32, 3) uint8: 3 planes of 24 x 32, channels last",
        "made grey, then 16 x 16 by area",
    ]
    language = envs.spec(f"{CAMERA}(resize=(16,9))").language
    assert language is not None and language.told()[1] == "made 16 x 9 by area"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tests.envs.test_images:vector(resize=16)", "resize and grey are for an image, the observation is Box"),
        ("gym:CartPole-v1(grey=true)", "resize and grey are for an image, the observation is Box"),
        (f"{CAMERA}(resize=7)", r"resize must be a side or \(height, width\) in \[8, 256\], got \(7, 7\)"),
        (f"{CAMERA}(resize=(64, 257))", r"in \[8, 256\], got \(64, 257\)"),
        (f"{CAMERA}(resize=(9, 9, 9))", "resize must be"),
        (f"{CAMERA}(resize=9.5)", "resize must be"),
        (f"{CAMERA}(resize=true)", "resize must be"),
        (f"{CAMERA}(grey=1)", "grey must be true or false, got 1"),
        (f"{CAMERA}(shape=(24,24), grey=true)", "grey needs red, green and blue, the image has 1 channel"),
        (f"{CAMERA}(shape=(24,24,4), grey=true)", "grey needs red, green and blue, the image has 4 channels"),
        ("tests.envs.test_images:walk(resize=16)", "resize and grey are for Gymnasium's environments"),
        ("tictactoe(resize=16)", "resize and grey are for gym: and factories"),
        ("minatar:breakout(grey=true)", "resize and grey are for gym: and factories"),
        ("ale:Pong(resize=84)", "there is no option 'resize'.*did you mean 'size'"),
    ],
)
def test_mistakes_are_said_in_one_line(name: str, message: str) -> None:
    if name.startswith("ale:"):
        pytest.importorskip("ale_py")
    with pytest.raises(envs.EnvError, match=message) as caught:
        envs.make(name, 1)
    assert "\n" not in str(caught.value)


def test_opencv_is_needed_to_make_one_and_not_to_load_one() -> None:
    code = f"""
import sys
import numpy as np
from muzero_wm import envs
from muzero_wm.envs.translate import Translator
spec = envs.spec("{CAMERA}(resize=16)")
sys.modules["cv2"] = None
translator = Translator(spec)
assert translator.observation(np.zeros((3, 16, 16), np.uint8)).shape == (3, 16, 16)
for call in (lambda: translator.observation(np.zeros((24, 32, 3), np.uint8)), lambda: envs.make(spec.name, 1)):
    try:
        call()
    except envs.EnvError as error:
        print(error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    first, second = out.stdout.splitlines()
    assert first == 'observation: resize and grey need OpenCV: pip install "muzero-wm[images]"', out.stderr
    assert second == f'{CAMERA}(resize=16): resize and grey need OpenCV: pip install "muzero-wm[images]"'


def damaged(**changes: Any) -> dict[str, Any]:
    state = envs.spec(f"{CAMERA}(grey=true, resize=16)").to_dict()
    state["language"]["observed"]["picture"].update(changes)
    return state


@pytest.mark.parametrize(
    "changes",
    [{"size": [16]}, {"size": [1 << 20, 16]}, {"size": "ab"}, {"grey": 2}, {"grey": None}, {"size": [16, 17]}],
)
def test_a_checkpoint_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    assert EnvSpec.from_dict(damaged()).observation_shape == (1, 16, 16)
    with pytest.raises(envs.EnvError, match="environment in the checkpoint"):
        EnvSpec.from_dict(damaged(**changes))


def test_checkpoints_of_earlier_versions_have_no_pictures() -> None:
    state = envs.spec(CAMERA).to_dict()
    del state["language"]["observed"]["picture"]
    assert EnvSpec.from_dict(state) == envs.spec(CAMERA)
