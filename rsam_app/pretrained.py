"""What a pipeline's backbone sees in images before it has learned anything from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rsam_app.data import Record
from rsam_app.errors import UserError
from rsam_app.job import Job


def pretrained_features(job: Job, records: Sequence[Record], classes: Sequence[str]) -> tuple[np.ndarray, str]:
    """Pooled features `(N, D)` float32 of whole images by the job's backbone with its pretrained weights, and the hash
    of what they were made from. Looked at once, then kept. `classes` are those of the records' labels, if any.

    Raises `UserError` where they cannot be kept.
    """
    import torch

    from rsam_app.data.loader import loading_processes
    from rsam_app.data.row_cache import NoRoomError
    from rsam_app.model import build_model
    from rsam_app.selection.pooled_features import pooled_features

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
