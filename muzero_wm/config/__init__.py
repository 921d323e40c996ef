"""The settings of a run: `schema.py` has them all, `presets.py` reads files, `derived.py` finds some by itself."""

from muzero_wm.config.schema import (
    ActingConfig,
    Config,
    InferenceConfig,
    LearningConfig,
    ReplayConfig,
    RunConfig,
)
from muzero_wm.config.sections import MAX_SYMLOG, ModelConfig, SearchConfig, Section, SupportConfig, Transform

__all__ = [
    "MAX_SYMLOG",
    "ActingConfig",
    "Config",
    "InferenceConfig",
    "LearningConfig",
    "ModelConfig",
    "ReplayConfig",
    "RunConfig",
    "SearchConfig",
    "Section",
    "SupportConfig",
    "Transform",
]
