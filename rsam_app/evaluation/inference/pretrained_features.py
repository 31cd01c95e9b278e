"""Features of a pipeline's pretrained backbone, before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from rsam_app.data.images.file_identity import files_hash
from rsam_app.data.loader import Batch
from rsam_app.data.records import Record
from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.model import build_model
from rsam_app.model.store import backbone_hash
from rsam_app.run.job import Job
from rsam_app.system.cache.rows import NoRoomError, open_cache
from rsam_app.system.errors import UserError
from rsam_app.system.files import sha256_of
from rsam_app.system.hardware import best_device

BLOCK = 32
"""Images per batch. Blocks are computed as a whole, so that the last bits of a row do not depend on which other rows
are cached."""


def pretrained_features(job: Job, records: Sequence[Record], classes: Sequence[str]) -> tuple[np.ndarray, str]:
    """Return pooled features `(N, D)` float32 of whole images by the job's backbone with its pretrained weights, and
    the SHA-256 of their inputs. `classes` are those of the records' labels, if any.

    Rows are cached one by one, so an interrupted command resumes. Raises `UserError` if the cache has no room.
    """
    config = job.pipeline.model.model_copy(update={"attention": "none", "second_look": False})
    torch.manual_seed(job.pipeline.seed)  # a backbone with `weights: none` is random, and the same every time
    device = best_device()
    model = build_model(config, tuple(classes) or ("none yet",)).to(device)
    job.report_arrived(model.pretrained)
    runner = ModelRunner(model, device, batch_size=BLOCK, workers=job.pipeline.train.workers)
    try:
        with job.reporter.counter("computing features", len(records)) as advance:
            return _pooled_features(replace(runner, advance=advance), records)
    except NoRoomError as error:
        raise UserError(f"features cannot be cached: {error}.\nFree disk space, or raise RSAM_CACHE_GIB.") from error


def _pooled_features(runner: ModelRunner, records: Sequence[Record]) -> tuple[np.ndarray, str]:
    model = runner.model
    key = sha256_of(f"{backbone_hash(model)}\n{files_hash(records)}\n{runner.side}\n{torch.__version__}")
    cache = open_cache(f"pooled-{key[:24]}", [(model.head_hidden_size,)] * len(records), np.dtype(np.float32))
    missing = set(cache.missing())
    blocks = [range(begin, min(begin + BLOCK, len(records))) for begin in range(0, len(records), BLOCK)]
    wanted = [row for block in blocks if missing.intersection(block) for row in block]
    runner.advance(len(records) - len(wanted))

    def pool(images: Tensor, batch: Batch) -> None:
        vectors = model.forward_head(model.forward_features(images), pre_logits=True).float().cpu().numpy()
        for index, vector in zip(batch["index"].tolist(), vectors, strict=True):
            cache.put(wanted[index], vector)

    runner.run(runner.whole_images([records[row] for row in wanted]), pool)
    rows = [cache.get(row) for row in range(len(records))]
    if damaged := sum(row is None for row in rows):
        raise RuntimeError(f"{cache.folder}: {damaged} rows are damaged; remove the folder")
    return np.stack([row for row in rows if row is not None]), key
