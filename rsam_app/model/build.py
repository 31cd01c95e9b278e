"""Builds the model of a pipeline's `model:` section, with its weights."""

from __future__ import annotations

from typing import Any, cast

import timm
import torch

from rsam_app.config import ModelConfig
from rsam_app.model.attention.second_look import CONTEXT
from rsam_app.model.backbone import dry_run, no_stage_of_tokens, require_gateable
from rsam_app.model.classifier import AttentiveClassifier
from rsam_app.model.hub import require_known
from rsam_app.model.named_backbone import of_architecture, place_of_backbone
from rsam_app.model.pretrained import pretrained_weights
from rsam_app.model.registry import rsam_classifier
from rsam_app.model.weights_file import not_finite
from rsam_app.system.errors import UserError, reason_of

BUILD_ERRORS = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    TypeError,
    AssertionError,
    AttributeError,
    LookupError,
    ArithmeticError,
)
"""Errors of timm for settings that a network does not take; it has no exception class of its own."""

TIMM_MEAN, TIMM_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build_model(config: ModelConfig, classes: tuple[str, ...]) -> AttentiveClassifier:
    """The model that `config` describes, for these classes, with its backbone's weights loaded.

    The model's `pretrained_cfg` holds input size, mean and std, its `label_names` the classes. Raises `UserError` for
    an unknown or unsuitable backbone, an image size it does not take, and weights that are missing or do not fit.
    """
    place, own = place_of_backbone(config), config.weights == "timm" and config.weights_file is None
    if place is not None:
        config = of_architecture(config, place)
    require_known(config.backbone)
    try:
        if own:
            _refuse_before_download(config)
        if own and place is not None:
            config = config.model_copy(update={"weights": str(place.weights())})
        return _build(config, classes)
    except BUILD_ERRORS as error:
        raise UserError(
            f"model: {config.backbone} with weights {config.weights!r} cannot be built: {reason_of(error)}.\n"
            f"{_remedy(config)}"
        ) from error


def _build(config: ModelConfig, classes: tuple[str, ...]) -> AttentiveClassifier:
    pretrained = pretrained_weights(config, len(classes))
    model_args = {  # timm writes them into config.json and passes them to rsam_classifier when it loads the model
        "backbone": config.backbone,
        "attention": config.attention,
        "predictor": config.predictor,
        "backbone_args": pretrained.backbone_args,
        "second_look": False if config.second_look == "auto" else config.second_look,
        "stage": config.stage,
        "gate": config.gate,
        "crop_context": CONTEXT,
    }
    model = rsam_classifier(
        **model_args,
        num_classes=len(classes),
        backbone_weights=pretrained.load,
        pretrained_cfg={"architecture": "rsam_classifier", "num_classes": len(classes)},
    )
    model.pretrained = pretrained.as_dict()
    model._model_args = model_args
    source = model.backbone.pretrained_cfg
    source.pop("state_dict", None)  # a copy of the weights
    model.pretrained_cfg.update(
        input_size=(3, config.input_side, config.input_side),
        mean=pretrained.mean or tuple(source.get("mean") or TIMM_MEAN),
        std=pretrained.std or tuple(source.get("std") or TIMM_STD),
        interpolation="bicubic",
        crop_pct=1.0,
        crop_mode="squash",
        classifier=classifier_in_backbone(source.get("classifier")),
    )
    model.label_names = classes
    if pretrained.load:
        _refuse_nan(model, pretrained.source)
    _refuse_size(model.backbone, config)
    return cast(AttentiveClassifier, model)


def classifier_in_backbone(classifier: Any) -> Any:
    """timm's name or names (a distilled backbone has two) of the last layer, prefixed by the backbone's name."""
    if isinstance(classifier, list | tuple):
        return tuple(f"backbone.{name}" for name in classifier)
    return f"backbone.{classifier}" if classifier else None


def _refuse_nan(model: AttentiveClassifier, source: str) -> None:
    """Raise `UserError` if pretrained weights are not finite: training would blame its learning rate."""
    if name := not_finite(model.backbone.state_dict()):
        raise UserError(
            f"model.weights: {source}: {name} has NaN or infinite values.\n"
            "Give weights of an earlier epoch of that training, or other weights."
        )


def _refuse_before_download(config: ModelConfig) -> None:
    """Raise `UserError` if the backbone, built without memory for its weights, cannot be used as `config` says."""
    side = config.backbone_args.get("img_size")
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        backbone: Any = timm.create_model(config.backbone, **{**config.backbone_args, "pretrained": False})
        features = dry_run(backbone, 3, side, backbone.forward_features)
        tokens = require_gateable(features, backbone, config.backbone)
        if tokens and config.stage != -1 and config.attention != "none":
            raise no_stage_of_tokens(config.backbone)
        _refuse_size(backbone, config)


def _refuse_size(backbone: Any, config: ModelConfig) -> None:
    """Raise `UserError` if the backbone does not take images of the pipeline's size."""
    side = config.image_size
    try:
        dry_run(backbone, 3, side, backbone.forward_features)
    except (AssertionError, RuntimeError, ValueError) as error:  # timm has no exception class for this
        own = backbone.pretrained_cfg.get("input_size", (3, 224, 224))[-1]
        raise UserError(
            f"model.image_size: {config.backbone} does not take images of {side} pixels ({reason_of(error)}).\n"
            f"Set model.image_size: {own}, or build the backbone for this size if it can be:"
            f" model.backbone_args: {{img_size: {side}}}."
        ) from error


def _remedy(config: ModelConfig) -> str:
    if config.weights == "timm":
        name = f"{config.backbone.split('.')[0]}.safetensors"
        return f"Without access to timm's hub, put {name} into a folder and set RSAM_WEIGHTS to that folder."
    return "Check model.weights and model.backbone_args against the backbone."
