"""A model in timm's own folder format: `config.json` and `model.safetensors`."""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path
from typing import cast

import timm
import torch
from timm.models import save_for_hf

from rsam_app.errors import UserError
from rsam_app.model.classifier import AttentiveClassifier


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
