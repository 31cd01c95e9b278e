"""Saving and loading of models in timm's folder format, `config.json` and `model.safetensors`, and backbone hashes."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from timm.models import save_for_hf
from torch import Tensor, nn

from rsam_app.model.build import BUILD_ERRORS
from rsam_app.model.classifier import AttentiveClassifier
from rsam_app.model.fitted import REMEDY
from rsam_app.model.hub import hub_file, no_answer, remedy_for_damaged
from rsam_app.model.preprocess import require_mean_and_std
from rsam_app.model.weights_file import not_finite
from rsam_app.system.errors import UserError, reason_of
from rsam_app.system.files import fingerprint, replace_atomically, sha256_of
from rsam_app.system.json_files import read_own

KNOWN_CLASSES = "known_classes.safetensors"
"""The file of `KnownClasses` in a model's folder."""


def save_model(model: AttentiveClassifier, folder: Path) -> None:
    """Replace `folder` by the model: a reader sees the old model or the new one.

    `import rsam_app; timm.create_model('local-dir:FOLDER')` loads it bit for bit, class names included.
    """
    plain = copy.deepcopy(model).cpu()
    plain.to(memory_format=torch.contiguous_format)  # safetensors takes no other
    plain.register_state_dict_post_hook(_separate_shared)  # type: ignore[no-untyped-call]
    with replace_atomically(folder) as partial:
        save_for_hf(
            plain,
            str(partial),
            model_config={"label_names": list(model.label_names)},
            model_args=model._model_args,
            safe_serialization=True,
        )
        old = _replaced(folder)
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():  # a rename replaces files only
            os.replace(folder, old)
    shutil.rmtree(old, ignore_errors=True)


def _replaced(folder: Path) -> Path:
    """The place of the old model while the new one takes its own."""
    return folder.with_name(folder.name + ".old")


def _separate_shared(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: dict[str, Any]) -> None:
    """Copy tensors that have another's memory, as the weights of CoaT's blocks do: safetensors takes each once."""
    seen: set[int] = set()
    for name, values in state.items():
        if values.numel() and values.data_ptr() in seen:
            state[name] = values.clone()
        seen.add(values.data_ptr())


def load_model(folder: Path) -> AttentiveClassifier:
    """The model in a run's `model/` folder, in evaluation mode. Raises `UserError` if there is none, or a
    damaged one."""
    if not folder.exists() and _replaced(folder).exists():  # a crash between two renames
        folder = _replaced(folder)
    if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file():
        raise UserError(
            f"{folder}: no trained model here. Run `rsam train` first, with `--resume` if it was interrupted."
        )
    described = read_own(folder / "config.json", dict, REMEDY)
    try:
        if described.get("architecture") == "rsam_classifier" and described["num_classes"] != len(_names_in(described)):
            raise ValueError("classes and class names differ in number")  # before memory is taken for the classes
        return _checked(timm.create_model(f"local-dir:{folder}"), f"local-dir:{folder}")
    except (SafetensorError, *BUILD_ERRORS) as error:
        raise UserError(f"{folder}: the model is damaged ({reason_of(error)}).\n{REMEDY}") from error


def _checked(model: Any, where: str) -> AttentiveClassifier:
    """A loaded model with its class names, in evaluation mode. Raises `UserError` for a model that is not RSAM's, and
    `LookupError` or `ValueError` if what was fitted to it cannot be used."""
    if not isinstance(model, AttentiveClassifier):
        raise UserError(f"{where}: is a plain timm model. Make a run of it with `rsam adopt {where} --data CARD`.")
    model.label_names = _names_in(model.pretrained_cfg)
    if model.num_classes != len(model.label_names):
        raise ValueError(f"it has {model.num_classes} classes and {len(model.label_names)} class names")
    _require_size(model.pretrained_cfg)
    require_mean_and_std(model.pretrained_cfg)
    if name := not_finite(model.state_dict()):
        raise ValueError(f"{name} has NaN or infinite values")
    if model.temperature is not None and not model.temperature > 0:
        raise ValueError(f"its temperature is {model.temperature}")
    if not model.second_look_below > 0:
        raise ValueError(f"its second_look_below is {model.second_look_below}")
    if model.roll_up is not None and any(
        len(nodes) != len(model.label_names) for nodes in model.roll_up.taxonomy.nodes
    ):
        raise ValueError("its taxonomy is of other classes")
    return model.eval()


def _names_in(described: Mapping[str, Any]) -> tuple[str, ...]:
    """The class names. Raises `ValueError` if they are not different texts."""
    names = described["label_names"]
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
        raise ValueError("its class names are not texts")
    if not names or len(set(names)) < len(names):
        raise ValueError("its class names repeat" if names else "it has no class names")
    return tuple(names)


def _require_size(cfg: Mapping[str, Any]) -> None:
    """Raise `ValueError` or `TypeError` unless the input is square and of three channels."""
    channels, height, width = cfg["input_size"]
    if (channels, height) != (3, width) or isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise ValueError(f"its input_size is {cfg['input_size']}")


def load_from_hub(name: str) -> AttentiveClassifier:
    """The model `ORGANISATION/NAME[@REVISION]` of the hub, in evaluation mode.

    Raises `UserError` if the hub cannot be reached, has no such model, or one that is not RSAM's.
    """
    where = f"hf-hub:{name}"
    for file in ("config.json", "model.safetensors"):
        if hub_file(name, file) is None:
            raise UserError(f"{where}: is not a model of rsam, as it has no {file}. Give the name of one.")
    refusals: tuple[type[Exception], ...] = (*no_answer(), SafetensorError, *BUILD_ERRORS)
    try:
        return _checked(timm.create_model(where, pretrained=True), where)
    except refusals as error:
        raise UserError(f"{where}: cannot be loaded ({reason_of(error)}).\n{remedy_for_damaged(name)}") from error


def backbone_hash(model: AttentiveClassifier) -> str:
    """SHA-256 of the backbone's arguments, its input's mean and std, and its weights without classifier and
    attention."""
    others = {id(p) for p in model.get_classifier().parameters()}
    if model.attention_module is not None:
        others |= {id(p) for p in model.attention_module.parameters()}
    weights = {
        name: sha256_of(values.detach().float().cpu().contiguous().numpy().tobytes())
        for name, values in model.backbone.state_dict(keep_vars=True).items()
        if id(values) not in others
    }
    args, cfg = model._model_args, model.pretrained_cfg
    return fingerprint(args["backbone"], args["backbone_args"], list(cfg["mean"]), list(cfg["std"]), weights)
