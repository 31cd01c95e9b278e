"""The model's entry in timm's registry: `timm.create_model('local-dir:RUN/model')` loads a run's model."""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, register_model

from rsam_app.model.classifier import AttentiveClassifier
from rsam_app.model.fitted import FITTED


@register_model
def rsam_classifier(
    pretrained: bool = False,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: dict[str, Any] | None = None,
    **kwargs: Any,
) -> AttentiveClassifier:
    """A timm network with attention; keyword arguments are those of `AttentiveClassifier`.

    A model from a run's folder is loaded with its weights, with or without `pretrained=True`, and with what was fitted
    to its predictions.
    """
    fitted: dict[str, Any] = {}
    source = pretrained_cfg.get("source") if isinstance(pretrained_cfg, dict) else None
    if isinstance(pretrained_cfg, dict) and pretrained_cfg.get("interpolation") == "area":
        pretrained_cfg = {**pretrained_cfg, "interpolation": "bicubic"}  # older runs say so; timm knows no "area"
    if isinstance(pretrained_cfg, dict):  # timm refuses keys that it does not know
        fitted = {key: value for key, value in pretrained_cfg.items() if key in FITTED}
        pretrained_cfg = {key: value for key, value in pretrained_cfg.items() if key not in FITTED}
    model: AttentiveClassifier = build_model_with_cfg(
        AttentiveClassifier,
        "rsam_classifier",
        pretrained or source == "local-dir",
        pretrained_cfg=pretrained_cfg,
        pretrained_cfg_overlay=pretrained_cfg_overlay,
        **kwargs,
    )
    model.pretrained_cfg.update(fitted)
    return model
