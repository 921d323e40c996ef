"""The options of a name that say what is done to images: `resize=96`, `resize=(84, 96)`, `grey=true`."""

from __future__ import annotations

from dataclasses import replace

from muzero_wm.envs.base import EnvError
from muzero_wm.envs.language import Picture
from muzero_wm.envs.naming.naming import EnvName

OPTIONS = ("resize", "grey")


def take_picture(name: EnvName) -> tuple[Picture, EnvName]:
    """Takes the options about images out of a name.

    Args:
        name: of an environment whose observations are read here.

    Returns:
        What is to be done, and the name with the other options.

    Raises:
        EnvError: an option is impossible for any image.
    """
    asked = {key: value for key, value in name.options.items() if key in OPTIONS}
    side = asked.get("resize")
    picture = Picture((side, side) if type(side) is int else side, asked.get("grey", False))
    if problem := picture.problem():
        raise EnvError(f"{name.text}: {problem}")
    return picture, replace(name, options={key: value for key, value in name.options.items() if key not in asked})
