"""The model's entry in timm's registry: `timm.create_model('local-dir:RUN/model')` loads a run's model."""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, register_model

from rsam_app.model.classifier import AttentiveClassifier


@register_model
def rsam_classifier(
    pretrained: bool = False,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: dict[str, Any] | None = None,
    **kwargs: Any,
) -> AttentiveClassifier:
    """A timm network with attention; keyword arguments are those of `AttentiveClassifier`.

    A model from a run's folder is loaded with its weights, with or without `pretrained=True`.
    """
    source = pretrained_cfg.get("source") if isinstance(pretrained_cfg, dict) else None
    if isinstance(pretrained_cfg, dict) and pretrained_cfg.get("interpolation") == "area":
        pretrained_cfg = {**pretrained_cfg, "interpolation": "bicubic"}  # older runs say so; timm knows no "area"
    model: AttentiveClassifier = build_model_with_cfg(
        AttentiveClassifier,
        "rsam_classifier",
        pretrained or source == "local-dir",
        pretrained_cfg=pretrained_cfg,
        pretrained_cfg_overlay=pretrained_cfg_overlay,
        **kwargs,
    )
    return model
