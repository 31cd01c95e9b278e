"""What a pipeline's backbone sees in images before it has learned anything from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from rsam_app.data.images.file_identity import files_hash
from rsam_app.data.loader import Views, make_loader
from rsam_app.data.records import Record
from rsam_app.data.sampling import ShardedBatches
from rsam_app.evaluation.inference.run_model import all_cores
from rsam_app.model import AttentiveClassifier
from rsam_app.model.preprocess import normalise
from rsam_app.model.store import backbone_hash
from rsam_app.run.job import Job
from rsam_app.system.cache.rows import open_cache
from rsam_app.system.errors import UserError


def pretrained_features(job: Job, records: Sequence[Record], classes: Sequence[str]) -> tuple[np.ndarray, str]:
    """Pooled features `(N, D)` float32 of whole images by the job's backbone with its pretrained weights, and the hash
    of what they were made from. Looked at once, then kept. `classes` are those of the records' labels, if any.

    Raises `UserError` where they cannot be kept.
    """
    import torch

    from rsam_app.data.loader import loading_processes
    from rsam_app.evaluation.inference.pretrained_features import pooled_features
    from rsam_app.model import build_model
    from rsam_app.system.cache.rows import NoRoomError

    config = job.pipeline.model.model_copy(update={"attention": "none", "second_look": False})
    torch.manual_seed(job.pipeline.seed)  # a backbone with `weights: none` is random, and the same every time
    model = build_model(config, tuple(classes) or ("none yet",))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    workers = loading_processes(job.pipeline.train.workers, 1)
    numbers = {name: number for number, name in enumerate(classes)}
    try:
        with job.reporter.counter("looking at images", len(records)) as advance:
            looked: Callable[[int], object] = advance
            return pooled_features(model, records, numbers, config.image_size, device, workers, looked)
    except NoRoomError as error:
        raise UserError(f"features cannot be kept: {error}.\nMake room, or raise RSAM_CACHE_GIB.") from error


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
