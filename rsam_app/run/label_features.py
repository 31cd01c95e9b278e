"""Features of the photographs that `rsam label` shows, in a file that the App's server reads without a model."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError
from rsam_app.system.files import replace_atomically

_BLOCK = 4096


class LabelFeatures(NamedTuple):
    """Features of N images by a pretrained backbone."""

    row_of: dict[str, int]
    """Row of each record id."""
    vectors: np.ndarray
    """`(N, D)` float16."""
    directions: np.ndarray
    """The same less their mean, scaled to length 1, `(N, D)` float16: cosines between these tell images apart."""
    made_from: str
    """Hash of the weights and image files."""


def save_label_features(run: RunFolder, ids: Sequence[str], vectors: np.ndarray, made_from: str) -> None:
    """Write the features `(N, D)` of these records atomically."""
    with replace_atomically(run.label_features) as partial, partial.open("wb") as stream:
        np.savez(stream, ids=np.array(ids, dtype=np.str_), vectors=vectors.astype(np.float16), made_from=made_from)


def read_label_features(run: RunFolder) -> LabelFeatures | None:
    """Return the features, read once while the file does not change; None before they are computed.

    Raises `UserError` if the file is damaged.
    """
    path = run.label_features
    return _read(path, path.stat().st_mtime_ns) if path.exists() else None


@functools.lru_cache(maxsize=2)
def _read(path: Path, modified: int) -> LabelFeatures:
    try:
        with np.load(path, allow_pickle=False) as content:
            ids, vectors, made_from = content["ids"].tolist(), content["vectors"], str(content["made_from"])
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path}: is damaged ({error}). Remove it and run `rsam label` again.") from error
    row_of = {record_id: row for row, record_id in enumerate(ids)}
    return LabelFeatures(row_of, vectors, centred_directions(vectors), made_from)


def centred_directions(vectors: np.ndarray) -> np.ndarray:
    """Return `vectors` `(N, D)` less their mean, scaled to length 1, float16; a vector equal to the mean stays 0."""
    mean = vectors.mean(axis=0, dtype=np.float32)
    directions = np.empty(vectors.shape, dtype=np.float16)
    for begin in range(0, len(vectors), _BLOCK):
        centred = vectors[begin : begin + _BLOCK].astype(np.float32) - mean
        norms = np.linalg.norm(centred, axis=1, keepdims=True)
        directions[begin : begin + _BLOCK] = centred / np.maximum(norms, np.float32(1e-12))
    return directions
