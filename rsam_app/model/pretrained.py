"""A backbone's pretrained weights: where they come from, and the check that all of its tensors get them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from rsam_app.config import ModelConfig
from rsam_app.model.hub import require_reachable
from rsam_app.model.weights_file import read_tensors, without_prefix
from rsam_app.system.errors import UserError
from rsam_app.system.json_files import read_json
from rsam_app.system.paths import is_file, misread

SHOWN = 3
"""Names of tensors in a message."""


@dataclass(frozen=True)
class Pretrained:
    """Weights of a backbone, and the settings of the network that they were trained in."""

    source: str
    """A file, `timm`'s hub, or `none`."""
    backbone_args: dict[str, Any]
    """Those of the pipeline, and those that the weights were trained with."""
    load: dict[str, Any] = field(default_factory=dict)
    """timm's arguments that load the weights."""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    tensors: int | None = None
    """Tensors of the backbone without its classifier, all of which get their values from the file; None unless the
    weights come from a file of tensors."""

    def as_dict(self) -> dict[str, Any]:
        """The entry `weights` of `run.json`: source, the backbone's tensors, and the share of them that arrived."""
        return {"source": self.source, "tensors": self.tensors, "arrived": 1.0 if self.tensors else None}


def pretrained_weights(config: ModelConfig, classes: int) -> Pretrained:
    """The weights that `config` names, for a backbone with so many classes.

    Raises `UserError` if the file is missing, damaged, of another architecture, or leaves a tensor of the backbone
    without values.
    """
    if config.weights == "none":
        return Pretrained("none", dict(config.backbone_args))
    path = config.weights_file
    if path is None:
        require_reachable(config)
        return Pretrained("timm", dict(config.backbone_args), {"pretrained": True})
    if not is_file(path):
        raise UserError(
            f"model.weights: {path}: no such file (from {Path.cwd()}).{misread(config.weights)}"
            " Give a path to a .safetensors or .pth file,"
            " `timm` to load from timm's hub, or `none`."
        )
    trained, settings = _trained_with(path)
    if trained and trained != config.backbone.split(".")[0]:
        raise UserError(f"model.weights: {path} holds weights of {trained}, not of {config.backbone}.")
    args = {**settings.pop("backbone_args", {}), **config.backbone_args}
    overlay: dict[str, Any] = {**args.get("pretrained_cfg_overlay", {}), "file": str(path), **settings}
    if path.suffix in (".npz", ".npy"):  # timm's own formats, read by the model itself
        return Pretrained(str(path), args, {"pretrained": True, "pretrained_cfg_overlay": overlay}, **settings)
    overlay["state_dict"], count = _fitted(read_tensors(path), config, args, classes, path)
    load = {"pretrained": True, "pretrained_cfg_overlay": overlay}
    return Pretrained(str(path), args, load, tensors=count, **settings)


def _trained_with(path: Path) -> tuple[str | None, dict[str, Any]]:
    """The architecture that the weights belong to, and its `backbone_args`, `mean` and `std`, as far as the file's
    metadata or, for the model of a run, the `config.json` beside it has them."""
    if path.suffix != ".safetensors":
        return None, {}
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
    except SafetensorError as error:
        raise UserError(
            f"model.weights: {path} is not a complete safetensors file ({error}). Download it again."
        ) from error
    settings: dict[str, Any] = {k: tuple(map(float, metadata[k].split(","))) for k in ("mean", "std") if k in metadata}
    if "pad_type" in metadata:
        settings["backbone_args"] = {"pad_type": metadata["pad_type"]}
    return _of_run(path) or (metadata.get("architecture"), settings)


def _of_run(path: Path) -> tuple[str, dict[str, Any]] | None:
    described = path.with_name("config.json")
    try:
        content = read_json(described) if described.is_file() else {}
        if content.get("architecture") != "rsam_classifier":
            return None
        args, cfg = content["model_args"], content["pretrained_cfg"]
        settings = {"backbone_args": args["backbone_args"], "mean": tuple(cfg["mean"]), "std": tuple(cfg["std"])}
        return str(args["backbone"]).split(".")[0], settings
    except (OSError, ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
        raise UserError(
            f"model.weights: {described}, which describes {path.name}, is damaged ({error}). Train the run again."
        ) from error


def _fitted(
    tensors: dict[str, Tensor], config: ModelConfig, args: dict[str, Any], classes: int, path: Path
) -> tuple[dict[str, Tensor], int]:
    """The tensors by the backbone's names, and the number of those that it needs. Raises `UserError` if one of these
    gets no values, or another shape."""
    with torch.random.fork_rng(devices=[]):  # the model itself starts as if nothing had been built before it
        blank: Any = timm.create_model(config.backbone, num_classes=classes, **args)
        values = dict(blank.state_dict())
        needed = _needed(blank)
        fitted = without_prefix(tensors, values.keys())
        same = {name for name in values if name in fitted and fitted[name].shape == values[name].shape}
        if needed <= same:
            if not blank.pretrained_cfg.get("label_offset"):  # timm cuts a background class off such a classifier
                # A classifier for other classes must not keep timm from loading the rest.
                fitted = {name: fitted[name] if name in same else values[name] for name in values}
            return fitted, len(needed)
        arrived = _reached(fitted, config, args, classes)
    if missing := [name for name in values if name in needed and name not in (arrived or same)]:
        raise UserError(_refusal(config, path, len(needed), missing, values, fitted))
    return fitted, len(needed)


def _needed(backbone: Any) -> set[str]:
    """The names of a backbone's parameters and batch-norm statistics, without those of its classifier."""
    classifier = backbone.get_classifier()
    layers = classifier if isinstance(classifier, tuple) else (classifier,)
    others = {id(p) for layer in layers for p in layer.parameters()}
    state = backbone.state_dict(keep_vars=True)
    statistics = {name for name in state if name.endswith((".running_mean", ".running_var"))}
    return statistics | {n for n, v in state.items() if isinstance(v, nn.Parameter) and id(v) not in others}


def _reached(tensors: dict[str, Tensor], config: ModelConfig, args: dict[str, Any], classes: int) -> set[str]:
    """The names of the backbone's tensors that timm fills from `tensors`, also by renaming and resizing them.

    Found by loading tensors full of NaN. Empty if timm cannot load them.
    """
    marked = {n: torch.full_like(v, torch.nan) if v.is_floating_point() else v for n, v in tensors.items()}
    overlay = {**args.get("pretrained_cfg_overlay", {}), "state_dict": marked}
    try:
        filled = timm.create_model(
            config.backbone, num_classes=classes, **{**args, "pretrained": True, "pretrained_cfg_overlay": overlay}
        )
    except (RuntimeError, ValueError, TypeError, AssertionError, LookupError, AttributeError):  # timm has no own class
        return set()
    return {n for n, v in filled.state_dict().items() if v.is_floating_point() and bool(v.isnan().all())}


def _refusal(
    config: ModelConfig,
    path: Path,
    count: int,
    missing: list[str],
    values: dict[str, Tensor],
    fitted: dict[str, Tensor],
) -> str:
    unexpected = [name for name in fitted if name not in values]
    absent = [
        f"{name} (there of shape {tuple(fitted[name].shape)}, not {tuple(values[name].shape)})"
        if name in fitted
        else name
        for name in missing[:SHOWN]
    ]
    return (
        f"model.weights: {path}: only {count - len(missing)} of {count} tensors fit {config.backbone}."
        f" First missing: {', '.join(absent)}; first unexpected: {', '.join(unexpected[:SHOWN]) or 'none'}.\n"
        "Set model.backbone and model.backbone_args to the network that these weights come from, or give other weights."
    )
