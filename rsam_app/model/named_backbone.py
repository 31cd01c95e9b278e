"""Backbones named by the place of a saved model: `local-dir:FOLDER`, or `hf-hub:ORGANISATION/NAME` on the hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import timm

from rsam_app.config import ModelConfig
from rsam_app.config.pipeline import split_source, with_one_side
from rsam_app.model.hub import hub_file
from rsam_app.system.errors import UserError, reason_of, suggest
from rsam_app.system.json_files import read_json
from rsam_app.system.paths import misread

WEIGHTS = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
"""Names under which saved models keep their weights, the preferred first, as in timm."""

PREPROCESSING = ("mean", "std", "input_size", "fixed_input_size")
"""Keys of a checkpoint's `pretrained_cfg` that decide how its network is built and what its pixels are."""


def own_args(args: Mapping[str, Any] | None) -> dict[str, Any]:
    """A checkpoint's `model_args` without those that the dataset replaces."""
    return {key: value for key, value in (args or {}).items() if key not in ("num_classes", "in_chans")}


class Place(NamedTuple):
    """A saved model: its `source`, `local-dir` or `hf-hub`, and its folder or repository."""

    source: str
    name: str

    def __str__(self) -> str:
        return f"{self.source}:{self.name}"

    def file(self, names: Sequence[str]) -> Path | None:
        """The first of these files that it has, downloaded if it is on the hub; None if it has none of them.

        Raises `UserError` if there is no such place, or the hub does not give its files.
        """
        found = _in_folder if self.source == "local-dir" else _on_hub
        return next((path for name in names if (path := found(self, name)) is not None), None)

    def weights(self) -> Path:
        """Its file of weights. Raises `UserError` if it has none."""
        path = self.file(WEIGHTS)
        if path is None:
            raise UserError(f"model.backbone: {self} has no weights ({', '.join(WEIGHTS)}). Save the model again.")
        return path


def place_of_backbone(config: ModelConfig) -> Place | None:
    """The place that `model.backbone` names; None if it is timm's own name."""
    source, name = split_source(config.backbone)
    return Place(source, name) if source else None


def of_architecture(config: ModelConfig, place: Place) -> ModelConfig:
    """`config` with timm's name and the arguments of the network saved at `place`, from its `config.json` alone.

    A run's model, or one pushed by `rsam push`, counts as the backbone in it. Raises `UserError` if `config.json` is
    missing, damaged, or of a network that timm does not have or that does not take colour images.
    """
    content = _described(place)
    if content["architecture"] == "rsam_classifier":
        inner = content["model_args"]
        name, args = inner["backbone"], dict(inner.get("backbone_args") or {})
        keys: tuple[str, ...] = PREPROCESSING[:2]  # its input size is that of its two views
    else:
        name, args, keys = content["architecture"], dict(content.get("model_args") or {}), PREPROCESSING
    if not timm.is_model(name.partition(".")[0]):
        raise UserError(
            f"model.backbone: {place} is of {name!r}, which this timm ({timm.__version__}) does not have."
            f"{suggest(name, timm.list_models())}"
        )
    if args.get("in_chans", 3) != 3:
        raise UserError(f"model.backbone: {place} takes images of {args['in_chans']} channels; images have three.")
    try:
        args = with_one_side(own_args(args))
    except ValueError as error:
        raise UserError(f"model.backbone: {place} cannot be used: {error}.") from error
    stored = ((key, content["pretrained_cfg"].get(key)) for key in keys)
    saved = {key: tuple(value) if isinstance(value, list) else value for key, value in stored if value is not None}
    merged = {**args, **config.backbone_args}
    overlays = (args.get("pretrained_cfg_overlay"), config.backbone_args.get("pretrained_cfg_overlay"))
    merged["pretrained_cfg_overlay"] = saved | {k: v for overlay in overlays for k, v in (overlay or {}).items()}
    return config.model_copy(update={"backbone": name.partition(".")[0], "backbone_args": merged})


def _described(place: Place) -> dict[str, Any]:
    """The `config.json` of a saved model, with all that `of_architecture` reads."""
    path = place.file(["config.json"])
    if path is None:
        raise UserError(
            f"model.backbone: {place} has no config.json, which says what network it is.\n"
            "Give timm's name of the network as model.backbone, and the file of weights as model.weights."
        )
    try:
        content = read_json(path)
    except ValueError as error:
        raise UserError(
            f"model.backbone: {path} is damaged ({reason_of(error)}). Copy or download it again."
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("architecture"), str):
        raise UserError(
            f"model.backbone: {place} is not a timm model: its config.json names no `architecture`.\n"
            "Give timm's name of the network as model.backbone, and the file of weights as model.weights."
        )
    content.setdefault("pretrained_cfg", content)  # timm's older form has no section
    args = content.get("model_args")
    inside = args if content["architecture"] == "rsam_classifier" else {"backbone": ""}
    if not isinstance(content["pretrained_cfg"], dict) or not isinstance((inside or {}).get("backbone"), str):
        raise UserError(f"model.backbone: {path} is damaged (incomplete). Copy or download it again.")
    return content


def _in_folder(place: Place, file: str) -> Path | None:
    folder = Path(place.name).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"model.backbone: {place}: no such folder (from {Path.cwd()}).{misread(place.name)}"
            " Give the folder of a saved timm model, e.g. local-dir:runs/birds/model."
        )
    return folder / file if (folder / file).is_file() else None


def _on_hub(place: Place, file: str) -> Path | None:
    try:
        return hub_file(place.name, file)
    except UserError as error:
        raise UserError(f"model.backbone: {error}") from error
