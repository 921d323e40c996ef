"""What is done to images before a model sees them; OpenCV does it."""

from __future__ import annotations

from typing import Any

from muzero_wm.envs.base import EnvError


def opencv(name: str) -> Any:
    """Imports OpenCV.

    Args:
        name: of the environment that needs it, for the message.

    Returns:
        The module `cv2`.

    Raises:
        EnvError: it is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise EnvError(f'{name} needs OpenCV: pip install "muzero-wm[atari]"') from None
    return cv2
