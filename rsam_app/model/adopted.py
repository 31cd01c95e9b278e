"""A plain timm classifier that others trained, as a model of ours: the same logits for the same pixels, its classes
reordered."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import timm
import torch
from safetensors import SafetensorError
from timm.models import load_model_config_from_hf
from torch import Tensor, nn

from rsam_app.model.build import BUILD_ERRORS, TIMM_MEAN, TIMM_STD, classifier_in_backbone
from rsam_app.model.classifier import AttentiveClassifier
from rsam_app.model.hub import FILES as HUB_WEIGHTS
from rsam_app.model.hub import hub_file, no_answer, remedy_for_damaged
from rsam_app.model.named_backbone import own_args
from rsam_app.model.preprocess import require_mean_and_std
from rsam_app.model.pretrained import SHOWN
from rsam_app.model.registry import rsam_classifier
from rsam_app.model.weights_file import not_finite, read_tensors, without_prefix
from rsam_app.system.errors import UserError, reason_of, suggest
from rsam_app.system.json_files import read_json

FILES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")


class Plain(NamedTuple):
    """A timm `model` with its own head, timm's name of the `network`, the `args` that it was created with, and whether
    the checkpoint says nothing about the pixels it expects, so that timm's for the network are `assumed`."""

    model: Any
    network: str
    args: dict[str, Any]
    assumed: bool = False

    def assumption(self) -> str:
        """The pixels that are assumed, and how to give others."""
        cfg = self.model.pretrained_cfg
        mean, std = ([round(float(v), 3) for v in cfg.get(key)] for key in ("mean", "std"))
        return (
            f"the file does not say which pixels it was trained on, so those of timm's {self.network} are assumed:"
            f" mean {mean}, std {std}; a `config.json` beside it may give others, and model_args such as padding"
        )


def plain_classifier(checkpoint: str, backbone: str | None) -> Plain:
    """The timm model of a checkpoint.

    `checkpoint` is a file of weights, whose architecture is `backbone` or what the file or the `config.json` beside it
    names; `local-dir:FOLDER`; or a model of timm's hub, by `hf-hub:NAME` or timm's name. Raises `UserError` if it
    cannot be read, does not fit, or is a model of ours already.
    """
    path = Path(checkpoint).expanduser()
    if path.suffix.lower() in FILES:
        if not path.is_file():
            raise UserError(f"{checkpoint}: no such file. Give a checkpoint, or the name of a model of timm's hub.")
        plain = _of_file(path, backbone)
    else:
        plain = _of_name(checkpoint)
    plain.model.eval()
    try:
        require_mean_and_std({"mean": TIMM_MEAN, "std": TIMM_STD} | _given(plain.model.pretrained_cfg))
        if name := not_finite(plain.model.state_dict()):
            raise ValueError(f"{name} has NaN or infinite values")
    except (ValueError, TypeError) as error:
        raise UserError(f"{checkpoint}: is damaged ({reason_of(error)}). Copy or download it again.") from error
    if isinstance(plain.model, AttentiveClassifier):
        raise UserError(f"{checkpoint}: is a model of rsam already. Use its run, or `rsam predict {checkpoint} PATH`.")
    return plain


def _given(cfg: Mapping[str, Any]) -> dict[str, Any]:
    return {key: cfg[key] for key in ("mean", "std") if cfg.get(key)}


def _of_name(name: str) -> Plain:
    refusals: tuple[type[Exception], ...] = (*no_answer(), SafetensorError, *BUILD_ERRORS)
    source, _, place = name.partition(":") if ":" in name else ("", "", name)
    if source == "hf-hub":
        hub_file(place, "config.json")  # says what is wrong, where timm would ask for minutes
        any(hub_file(place, file) for file in HUB_WEIGHTS)
    try:
        model: Any = timm.create_model(name, pretrained=True)
    except refusals as error:
        known = suggest(name, timm.list_pretrained()) if ":" not in name else ""
        remedy = "\n" + remedy_for_damaged(place) if source == "hf-hub" else known
        raise UserError(f"{name}: cannot be loaded ({reason_of(error)}).{remedy}") from error
    if not source:
        return Plain(model, name, {})
    if source == "hf-hub":
        _, network, args = load_model_config_from_hf(place)
        return Plain(model, str(network), own_args(args))
    config = _config_in(Path(place).expanduser())
    return Plain(model, str(config["architecture"]), own_args(config.get("model_args")))


def _config_in(folder: Path) -> dict[str, Any]:
    """The `config.json` in a folder; empty if there is none. Raises `UserError` if it is damaged."""
    path = folder / "config.json"
    try:
        config = read_json(path) if path.is_file() else {}
    except ValueError as error:
        raise UserError(f"{path}: is damaged ({error}). Copy the folder again.") from error
    if not isinstance(config, dict):
        raise UserError(f"{path}: is damaged (not an object). Copy the folder again.")
    return config


def _of_file(path: Path, backbone: str | None) -> Plain:
    config, tensors = _config_in(path.parent), read_tensors(path)
    name = backbone or config.get("architecture") or _named_in(path)
    if not name:
        raise UserError(f"{path}: does not say which network it is for. Give timm's name of it with --backbone.")
    if not timm.is_model(str(name).partition(".")[0]) and name != "rsam_classifier":
        raise UserError(f"--backbone {name}: timm has no such network.{suggest(str(name), timm.list_models())}")
    args = own_args(config.get("model_args"))
    blank = _created(path, str(name), 2, args)
    fitted = without_prefix(tensors, blank.state_dict().keys())
    layer = blank.pretrained_cfg.get("classifier")
    layers = [layer] if isinstance(layer, str) else list(layer or ())
    weights = [fitted.get(f"{one}.weight") for one in layers]
    if not weights or any(weight is None for weight in weights):
        raise UserError(
            f"{path}: has no classifier ({', '.join(layers) or 'unknown'}). It is a backbone: train with it."
        )
    model = _created(path, str(name), len(cast(Tensor, weights[0])), args)
    values = model.state_dict()
    wrong = [key for key in values if key not in fitted or fitted[key].shape != values[key].shape]
    wrong = [key for key in wrong if not key.endswith("num_batches_tracked")]
    if wrong:
        raise UserError(
            f"{path}: {len(values) - len(wrong)} of {len(values)} tensors fit {name}; first that does not:"
            f" {', '.join(wrong[:SHOWN])}. Give the right network with --backbone."
        )
    model.load_state_dict({key: fitted[key] for key in values if key in fitted}, strict=False)
    model.pretrained_cfg.update(config.get("pretrained_cfg") or {})
    if "label_names" in config:
        model.pretrained_cfg["label_names"] = config["label_names"]
    return Plain(model, str(name), args, assumed="pretrained_cfg" not in config)


def _created(path: Path, network: str, classes: int, args: dict[str, Any]) -> Any:
    try:
        return timm.create_model(network, num_classes=classes, **args)
    except BUILD_ERRORS as error:
        raise UserError(
            f"{path}: {network} cannot be built ({reason_of(error)}). Give the right network with --backbone."
        ) from error


def _named_in(path: Path) -> str | None:
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        try:
            with safe_open(path, framework="pt") as stream:
                return (stream.metadata() or {}).get("architecture")
        except (SafetensorError, OSError):
            return None  # `read_tensors` says what is wrong
    return None


def rows_of_classes(own: Sequence[str], wanted: Sequence[str], where: str) -> list[int]:
    """The output of each `wanted` class among a checkpoint's `own` class names, compared without case, punctuation and
    leading numbers where they are not equal. Raises `UserError` that names the classes that it lacks."""
    exact = {name: row for row, name in enumerate(own)}
    plain = {_plain(name): row for row, name in enumerate(own)}
    rows = {name: exact.get(name, plain.get(_plain(name))) for name in wanted}
    missing = [name for name, row in rows.items() if row is None]
    if missing:
        raise UserError(
            f"{where}: has {len(own)} classes, and {len(missing)} of the dataset's {len(wanted)} are none of them:"
            f" {', '.join(missing[:SHOWN])}{' …' if len(missing) > SHOWN else ''}.\n"
            "Give the names of its outputs, in their order, one a line, with --classes FILE."
        )
    chosen = [cast(int, row) for row in rows.values()]
    if len(set(chosen)) < len(chosen):
        raise UserError(f"{where}: two of the dataset's classes are the same class of the checkpoint. Rename one.")
    return chosen


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", re.sub(r"^\d+[._ -]+", "", name)).casefold()


def adopt(plain: Plain, rows: Sequence[int], classes: tuple[str, ...]) -> AttentiveClassifier:
    """The model that answers about `classes` as `plain` does by its outputs `rows`; its rectangle is that of the class
    map. Raises `UserError` for a head whose outputs cannot be chosen."""
    name, heads = plain.network, plain.model.get_classifier()
    listed = list(heads) if isinstance(heads, tuple | list) else [heads]
    for head in listed:
        if not isinstance(head, nn.Linear):
            raise UserError(f"{name}: its last layer is {type(head).__name__}, not linear, so its head cannot be kept.")
    backbone = name.partition(".")[0]
    settings = {"backbone": backbone, "attention": "class_map", "backbone_args": plain.args}
    model = rsam_classifier(
        **settings,
        num_classes=len(classes),
        pretrained_cfg={"architecture": "rsam_classifier", "num_classes": len(classes)},
    )
    outputs = {id(p) for head in listed for p in head.parameters()}
    values, chosen = plain.model.state_dict(keep_vars=True), torch.tensor(rows)
    kept = {key: value[chosen] if id(value) in outputs else value for key, value in values.items()}
    model.backbone.load_state_dict({key: value.detach() for key, value in kept.items()})
    model._model_args = settings
    cfg = plain.model.pretrained_cfg
    side = int((cfg.get("input_size") or (3, 224, 224))[-1])
    model.pretrained_cfg.update(
        input_size=(3, side, side),
        mean=tuple(cfg.get("mean") or TIMM_MEAN),
        std=tuple(cfg.get("std") or TIMM_STD),
        interpolation="bicubic",
        crop_pct=1.0,
        crop_mode="squash",
        classifier=classifier_in_backbone(cfg.get("classifier")),
    )
    model.label_names = classes
    model.pretrained = {"source": name, "tensors": len(values), "arrived": 1.0}
    return cast(AttentiveClassifier, model.eval())
