"""Saving and loading of models in timm's folder format, `config.json` and `model.safetensors`, and backbone hashes."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any, cast

import timm
import torch
from safetensors import SafetensorError
from timm.models import save_for_hf
from torch import Tensor, nn

from rsam_app.model.classifier import AttentiveClassifier
from rsam_app.system.errors import UserError, reason_of
from rsam_app.system.files import fingerprint, replace_atomically, sha256_of


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
        shutil.rmtree(folder, ignore_errors=True)  # a rename replaces files only


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
    if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file():
        raise UserError(
            f"{folder}: no trained model here. Run `rsam train` first, with `--resume` if it was interrupted."
        )
    try:
        model = cast(AttentiveClassifier, timm.create_model(f"local-dir:{folder}"))
        model.label_names = tuple(model.pretrained_cfg["label_names"])
    except (SafetensorError, OSError, RuntimeError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{folder}: the model is damaged ({reason_of(error)}).\n"
            "Copy the folder again, or retrain with `rsam train PIPELINE --restart`."
        ) from error
    model.eval()
    return model


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
