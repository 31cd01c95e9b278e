"""Reads the tensors of a weights file, out of the wrappings and name prefixes that training programs add."""

from __future__ import annotations

import argparse
import pickle
import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import clean_state_dict
from torch import Tensor

from rsam_app.system.errors import UserError, reason_of

AVERAGES = ("state_dict_ema", "model_ema", "model_ema_state_dict", "ema_state_dict", "ema_model", "ema")
WRAPPINGS = (*AVERAGES, "state_dict", "model_state_dict", "model", "net", "network", "weights")
"""Keys below which programs store a network's tensors, the preferred first; as in timm, averages come first."""

PREFIXES = (*AVERAGES, "module", "model", "backbone", "_orig_mod", "net", "network", "0")
"""Attributes that hold the network in wrapping modules: DDP's, Lightning's, ours, torch.compile's, fastai's."""

_PREFIX = re.compile(rf"(?:{'|'.join(map(re.escape, PREFIXES))})\.")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file or a `torch.save` checkpoint, on the CPU, by their names in the file.

    Nothing but tensors and plain values is unpickled. Raises `UserError` if the file is damaged or has no tensors.
    """
    content: Any
    if path.stat().st_size == 0:
        raise UserError(f"model.weights: {path} is empty. Download it again, or write it again.")
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            with torch.serialization.safe_globals([argparse.Namespace]):  # timm's checkpoints hold one
                content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise UserError(
            f"model.weights: {path} is not a complete safetensors file ({error}). Download it again."
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, LookupError, pickle.UnpicklingError) as error:
        objects = "it is none, or has other objects than tensors"  # torch's text advises unsafe loading
        reason = objects if isinstance(error, pickle.UnpicklingError) else reason_of(error)
        raise UserError(
            f"model.weights: {path} cannot be read as a checkpoint of tensors ({reason}).\n"
            "Download it again, or write it with `torch.save(model.state_dict(), FILE)`."
        ) from error
    tensors = _unwrapped(content)
    if not tensors:
        raise UserError(
            f"model.weights: {path} holds no tensors, neither at its top nor below a key such as state_dict or model.\n"
            "Write it with `torch.save(model.state_dict(), FILE)`."
        )
    return tensors


def _unwrapped(content: Any) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = [content[key] for key in WRAPPINGS if isinstance(content.get(key), Mapping) and content[key]]
        if not inner:
            return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        content = inner[0]
    return {}


def not_finite(tensors: Mapping[str, Any]) -> str | None:
    """The name of the first tensor with NaN or infinite values; None if there is none."""
    return next((n for n, v in tensors.items() if v.is_floating_point() and not torch.isfinite(v).all()), None)


def without_prefix(tensors: dict[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
    """`tensors` by the names that the backbone gives them: those below the prefix that leads to most `wanted` names.

    Without such a prefix, all tensors, less the prefixes of DDP and torch.compile.
    """
    found: Counter[str] = Counter()
    for name in tensors:
        end = 0
        found[""] += _plain(name, wanted) in wanted
        while match := _PREFIX.match(name, end):
            end = match.end()
            found[name[:end]] += _plain(name[end:], wanted) in wanted
    best = max(found, key=lambda prefix: (found[prefix], "ema" in prefix, -len(prefix)))
    if not found[best]:
        return dict(clean_state_dict(tensors))
    below = {name.removeprefix(best): values for name, values in tensors.items() if name.startswith(best)}
    return {_plain(name, wanted): values for name, values in below.items()}


def _plain(name: str, wanted: Collection[str]) -> str:
    """The name without the component that `AttendedStage` adds to the stage that it wraps."""
    plain = name.replace(".stage.", ".", 1)
    return plain if name not in wanted and plain in wanted else name
