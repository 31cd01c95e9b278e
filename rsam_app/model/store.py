"""A model in timm's own folder format: `config.json` and `model.safetensors`."""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
from pathlib import Path
from typing import cast

import timm
import torch
from timm.models import save_for_hf

from rsam_app.model.classifier import AttentiveClassifier
from rsam_app.system.errors import UserError


def save_model(model: AttentiveClassifier, folder: Path) -> None:
    """Write `folder` as a whole: a reader sees the old model or the new one.

    `import rsam_app; timm.create_model('local-dir:FOLDER')` loads it bit for bit, class names included.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    plain = copy.deepcopy(model).cpu()
    plain.to(memory_format=torch.contiguous_format)  # safetensors takes no other
    save_for_hf(
        plain,
        str(partial),
        model_config={"label_names": list(model.label_names)},
        model_args=model._model_args,
        safe_serialization=True,
    )
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def load_model(folder: Path) -> AttentiveClassifier:
    """The model of a run, in evaluation mode, `label_names` set. Raises `UserError` where the folder holds none."""
    if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file():
        raise UserError(
            f"{folder}: no trained model here. Run `rsam train` first; `--resume` where it was interrupted."
        )
    model = cast(AttentiveClassifier, timm.create_model(f"local-dir:{folder}"))
    model.label_names = tuple(model.pretrained_cfg["label_names"])
    model.eval()
    return model


def backbone_hash(model: AttentiveClassifier) -> str:
    """SHA-256 of the backbone: how it is built, what its inputs are normalised by, and its weights without the
    classifier's."""
    classifier = {id(p) for p in model.get_classifier().parameters()}
    attention = {id(p) for p in model.attention.parameters()} if model.attention is not None else set()
    built, given = model._model_args, model.pretrained_cfg
    settings = (built["backbone"], built["backbone_args"], tuple(given["mean"]), tuple(given["std"]))
    digest = hashlib.sha256(repr(settings).encode())
    for name, values in model.backbone.state_dict(keep_vars=True).items():
        if id(values) not in classifier | attention:
            digest.update(name.encode() + values.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
