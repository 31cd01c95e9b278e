"""Cards and pipelines: their keys, read from YAML files and `--set` overrides, with precise errors."""

from rsam_app.config.card import Card, Download
from rsam_app.config.load import (
    REPOSITORY,
    SHIPPED,
    apply_overrides,
    find_pipeline,
    known_names,
    load_card,
    load_pipeline,
    read_pipeline,
)
from rsam_app.config.pipeline import (
    CROPPING,
    EvaluateConfig,
    ModelConfig,
    Pipeline,
    ReviewConfig,
    SelectConfig,
    why_not_cached,
)
from rsam_app.config.taxonomy import Taxonomy
from rsam_app.config.training import AUGMENT_PRESETS, AugmentConfig, MixConfig, SignalsConfig, TrainConfig

__all__ = [
    "AUGMENT_PRESETS",
    "CROPPING",
    "REPOSITORY",
    "SHIPPED",
    "AugmentConfig",
    "Card",
    "Download",
    "EvaluateConfig",
    "MixConfig",
    "ModelConfig",
    "Pipeline",
    "ReviewConfig",
    "SelectConfig",
    "SignalsConfig",
    "Taxonomy",
    "TrainConfig",
    "apply_overrides",
    "find_pipeline",
    "known_names",
    "load_card",
    "load_pipeline",
    "read_pipeline",
    "why_not_cached",
]
