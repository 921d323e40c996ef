"""World models of many shapes with every part awake, for the tests of inference."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from typing import Any

import numpy as np
import pytest
import torch

from muzero_wm import envs
from muzero_wm.config import ModelConfig, SupportConfig
from muzero_wm.envs.base import EnvSpec
from muzero_wm.model.world_model import WorldModel

TRANSFORMED = SupportConfig(low=-5.0, high=25.0, num_bins=31, transform=True)
WIDE = {
    "value_support": SupportConfig(low=-12.0, high=12.0, num_bins=81, transform="symlog"),
    "reward_support": SupportConfig(low=-7.0, high=7.0, num_bins=40, transform="symlog"),
}

CASES: dict[str, tuple[str, dict]] = {
    "mlp": ("connect4", {"torso": "mlp"}),
    "mlp-batch-norm-minmax": ("tictactoe", {"torso": "mlp", "batch_norm": True, "latent_norm": "minmax"}),
    "mlp-one-sided-transformed": (
        "tictactoe", {"torso": "mlp", "change_sides": False, "value_support": TRANSFORMED, "dynamics_blocks": 2}),
    "mlp-no-prediction-blocks": ("tictactoe", {"torso": "mlp", "prediction_blocks": 0, "representation_blocks": 0}),
    "conv": ("connect4", {"torso": "conv", "dynamics_blocks": 2, "prediction_blocks": 2}),
    "conv-odd-channels": ("tictactoe", {"torso": "conv", "width": 9}),
    "conv-batch-norm-minmax": ("tictactoe", {"torso": "conv", "batch_norm": True, "latent_norm": "minmax"}),
    "conv-one-sided-transformed": (
        "connect4", {"torso": "conv", "change_sides": False, "reward_support": TRANSFORMED}),
    "conv-no-prediction-blocks": ("board-5x3", {"torso": "conv", "prediction_blocks": 0}),
    "mlp-wide": ("tictactoe", {"torso": "mlp", **WIDE}),
    "conv-wide": ("tictactoe", {"torso": "conv", **WIDE}),
    "mlp-turns": ("turns", {"torso": "mlp"}),
    "pixels": ("image-3x21x33", {"torso": "pixels"}),
    "pixels-batch-norm-two-blocks": (
        "image-4x9x24", {"torso": "pixels", "width": 12, "batch_norm": True, "representation_blocks": 2}),
    "pixels-one-stage": ("image-1x7x8", {"torso": "pixels", "representation_blocks": 0}),
    "conv-turns": ("turns", {"torso": "conv", "value_support": TRANSFORMED}),
}  # fmt: skip


def make_spec(name: str) -> EnvSpec:
    if name == "turns":
        return dataclasses.replace(envs.spec("connect4"), alternating=False)
    if name.startswith("image-"):
        shape = tuple(int(side) for side in name.removeprefix("image-").split("x"))
        return EnvSpec(name, shape, np.dtype(np.uint8), 5, 1, observation_bounds=(0.0, 255.0))
    if not name.startswith("board-"):
        return envs.spec(name)
    height, width = (int(side) for side in name.removeprefix("board-").split("x"))
    return dataclasses.replace(envs.spec("tictactoe"), observation_shape=(3, height, width), num_actions=height * width)


def make_model(case: str, seed: int = 0, **changes: Any) -> WorldModel:
    """Returns a model whose blocks are far from the identity, with batch norm statistics of its own."""
    env, settings = CASES[case]
    settings = settings | changes
    torch.manual_seed(seed)
    config = ModelConfig(**{"width": 16, "head_width": 24, "projection_width": 8, **settings})
    model = WorldModel(config, make_spec(env))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
            elif not parameter.any() or name == "heads.output.weight":
                parameter.normal_(std=parameter[0].numel() ** -0.5)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(std=0.3)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
    return model.eval()


def observations(model: WorldModel, rows: int, seed: int = 0) -> np.ndarray:
    largest = 1 if model.observation.scale is None else 255
    return (
        np.random.default_rng(seed)
        .integers(0, largest, (rows, *model.observation_shape), endpoint=True)
        .astype(np.uint8)
    )


@functools.cache
def onednn_without_bf16() -> str:
    """Returns what oneDNN says when it is asked to pack bf16 weights for this processor; "" where it does."""
    try:
        torch.ops.mkldnn._reorder_linear_weight(torch.zeros(16, 16, dtype=torch.bfloat16), 2)
    except (RuntimeError, AttributeError) as error:
        return str(error) or "refused"
    return ""


@functools.cache
def openvino_without_bf16() -> str:
    """Returns that OpenVINO has no bf16 for this processor; "" where it has, or where it is not installed."""
    if importlib.util.find_spec("openvino") is None:
        return ""
    import openvino

    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "" if "BF16" in capabilities else f"OpenVINO offers {', '.join(capabilities)} on this processor"


def lacking_bf16(dtype: torch.dtype, conv: bool) -> str | None:
    """Stands in for `fused.lacking` on a processor without bf16."""
    return "bf16 is beyond it" if dtype == torch.bfloat16 else None


def needs(*modules: str) -> pytest.MarkDecorator:
    """Skips where an optional extra is not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed")
