"""Pooled features of a frozen pretrained backbone, looked at once and kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from rsam_app.data.files import files_hash
from rsam_app.data.loader import Views, make_loader
from rsam_app.data.records import Record
from rsam_app.data.row_cache import open_cache
from rsam_app.data.sampling import ShardedBatches
from rsam_app.evaluation.inference import all_cores
from rsam_app.model import AttentiveClassifier
from rsam_app.model.fingerprint import backbone_hash
from rsam_app.model.preprocess import normalise

BLOCK = 32


def pooled_features(
    model: AttentiveClassifier,
    records: Sequence[Record],
    class_index: Mapping[str, int],
    side: int,
    device: torch.device,
    workers: int,
    advance: Callable[[int], object] = lambda images: None,
) -> tuple[np.ndarray, str]:
    """What the classifier of `model`, a backbone without attention, would see of whole images of `side` pixels.

    `(N, D)` float32, and the SHA-256 of what they were made from. Kept with the other row caches, a row per image, so
    that a stopped command goes on. Raises `NoRoomError`.
    """
    made_from = f"{backbone_hash(model)}\n{files_hash(records)}\n{side}\n{torch.__version__}"
    key = hashlib.sha256(made_from.encode()).hexdigest()
    width = model.eval().to(device).head_hidden_size
    rows = open_cache(f"pooled-{key[:24]}", [(width,)] * len(records), np.dtype(np.float32))
    missing = set(rows.missing())
    # Whole blocks, so that a row's last bits do not depend on which others were there already.
    blocks = [range(begin, min(begin + BLOCK, len(records))) for begin in range(0, len(records), BLOCK)]
    wanted = [row for block in blocks if missing.intersection(block) for row in block]
    advance(len(records) - len(wanted))
    views = Views([records[row] for row in wanted], class_index, side)
    for batch in make_loader(views, ShardedBatches(len(wanted), BLOCK), workers, False):
        with torch.inference_mode(), all_cores():
            features = model.forward_features(normalise(batch["image"], model, device))
            vectors = model.forward_head(features, pre_logits=True).float().cpu().numpy()
        for index, vector in zip(batch["index"].tolist(), vectors, strict=True):
            rows.put(wanted[index], vector)
        advance(len(vectors))
    kept = [rows.get(row) for row in range(len(records))]
    if damaged := [row for row, vector in enumerate(kept) if vector is None]:
        raise RuntimeError(f"{rows.folder}: {len(damaged)} rows are damaged; remove the folder")
    return np.stack([vector for vector in kept if vector is not None]), key
