"""Builds the model of a pipeline's `model:` section, with its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import timm
import torch
from safetensors import SafetensorError, safe_open

from rsam_app.config import ModelConfig
from rsam_app.model.classifier import AttentiveClassifier
from rsam_app.model.registry import rsam_classifier
from rsam_app.system.errors import UserError, suggest

TIMM_MEAN, TIMM_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build_model(config: ModelConfig, classes: tuple[str, ...]) -> AttentiveClassifier:
    """The model that `config` describes, for these classes, with its backbone's weights loaded.

    The model's `pretrained_cfg` holds input size, mean and std, its `label_names` the classes. Raises `UserError` for
    an unknown or unsuitable backbone, an image size it does not take, and weights that are missing or do not fit.
    """
    if config.backbone.split(".")[0] not in timm.list_models():
        hint = suggest(config.backbone, timm.list_models()) or " See timm.list_models()."
        raise UserError(f"model.backbone: timm has no {config.backbone!r}.{hint}")
    weights, args, mean, std = _weights(config)
    model_args = {  # timm writes them into config.json and passes them to rsam_classifier when it loads the model
        "backbone": config.backbone,
        "attention": config.attention,
        "predictor": config.predictor,
        "backbone_args": args,
        "second_look": config.second_look,
        "stage": config.stage,
        "gate": config.gate,
    }
    try:
        model = rsam_classifier(
            **model_args,
            num_classes=len(classes),
            backbone_weights=weights,
            pretrained_cfg={"architecture": "rsam_classifier", "num_classes": len(classes)},
        )
    except (OSError, RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise UserError(
            f"model: {config.backbone} with weights {config.weights!r} cannot be built:"
            f" {str(error).strip().splitlines()[0].rstrip('.')}.\n{_remedy(config)}"
        ) from error
    model._model_args = model_args
    source = model.backbone.pretrained_cfg
    model.pretrained_cfg.update(
        input_size=(3, config.input_side, config.input_side),
        mean=mean or tuple(source.get("mean") or TIMM_MEAN),
        std=std or tuple(source.get("std") or TIMM_STD),
        interpolation="area",
        crop_pct=1.0,
        crop_mode="squash",
        classifier=_in_backbone(source.get("classifier")),
    )
    model.label_names = classes
    _refuse_size(model, config)
    return cast(AttentiveClassifier, model)


def _in_backbone(classifier: Any) -> Any:
    """timm's name or names (a distilled backbone has two) of the last layer, prefixed by the backbone's name."""
    if isinstance(classifier, list | tuple):
        return tuple(f"backbone.{name}" for name in classifier)
    return f"backbone.{classifier}" if classifier else None


def _refuse_size(model: AttentiveClassifier, config: ModelConfig) -> None:
    """Raise `UserError` if the backbone does not take images of the pipeline's size."""
    training, side = model.training, config.image_size
    try:
        with torch.no_grad():
            model.eval().forward_features(torch.zeros(1, model.in_chans, side, side))
    except (AssertionError, RuntimeError, ValueError) as error:  # timm has no exception class for this
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        own = model.backbone.pretrained_cfg.get("input_size", (3, 224, 224))[-1]
        raise UserError(
            f"model.image_size: {config.backbone} does not take images of {side} pixels ({reason}).\n"
            f"Set model.image_size: {own}, or build the backbone for this size if it can be:"
            f" model.backbone_args: {{img_size: {side}}}."
        ) from error
    finally:
        model.train(training)


def _weights(config: ModelConfig) -> tuple[dict[str, Any], dict[str, Any], Any, Any]:
    """timm's arguments that load the weights, the backbone's arguments, and mean and std if the file has them."""
    args = dict(config.backbone_args)
    if config.weights == "none":
        return {}, args, None, None
    path = config.weights_file
    if path is None:
        return {"pretrained": True}, args, None, None
    if not path.is_file():
        raise UserError(
            f"model.weights: {path}: no such file (from {Path.cwd()}). Give a path to a .safetensors or .pth file,"
            " `timm` to load from timm's hub, or `none`."
        )
    overlay: dict[str, Any] = {"file": str(path)}
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as stream:
                metadata = stream.metadata() or {}
        except SafetensorError as error:
            raise UserError(
                f"model.weights: {path} is not a complete safetensors file ({error}). Download it again."
            ) from error
        trained = metadata.get("architecture")
        if trained and trained != config.backbone.split(".")[0]:
            raise UserError(f"model.weights: {path} holds weights of {trained}, not of {config.backbone}.")
        if "pad_type" in metadata:
            args.setdefault("pad_type", metadata["pad_type"])
        for key in ("mean", "std"):
            if key in metadata:
                overlay[key] = tuple(float(v) for v in metadata[key].split(","))
    weights = {"pretrained": True, "pretrained_cfg_overlay": overlay}
    return weights, args, overlay.get("mean"), overlay.get("std")


def _remedy(config: ModelConfig) -> str:
    if config.weights == "timm":
        name = f"{config.backbone.split('.')[0]}.safetensors"
        return f"Without access to timm's hub, put {name} into a folder and set RSAM_WEIGHTS to that folder."
    return "Check model.weights and model.backbone_args against the backbone."
