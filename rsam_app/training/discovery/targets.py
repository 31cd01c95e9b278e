"""Target rectangles of a run: objects discovered in training images, replaced by the reviewer's targets.

Discovered rectangles are cached, so that the next round of labelling need not discover them again.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from rsam_app.config import Pipeline
from rsam_app.data.images.file_identity import files_hash
from rsam_app.data.loader import Target
from rsam_app.data.records import Record
from rsam_app.geometry.overlap import box_iou, upright_edges
from rsam_app.geometry.types import Rectangle
from rsam_app.model.store import backbone_hash
from rsam_app.run.answers import Answers
from rsam_app.run.job import Job
from rsam_app.run.outlook import Outlook
from rsam_app.run.predictions import NPY_ERRORS
from rsam_app.system.cache.files import cache_folder
from rsam_app.system.cache.rows import NoRoomError
from rsam_app.system.distributed.agreement import of_main
from rsam_app.system.errors import UserError
from rsam_app.system.files import fingerprint, write_atomically
from rsam_app.system.json_files import read_json, read_own
from rsam_app.system.versions import DISCOVERED_RECTANGLES
from rsam_app.training.decision_weights import REVIEWED_WEIGHT, RIGHT_WEIGHT
from rsam_app.training.discovery.discover import NO_ANSWERS, Discovery, discover_rectangles, learn_untaught
from rsam_app.training.discovery.objectness import Objectness
from rsam_app.training.features.late_stages import CachedLateStages
from rsam_app.training.features.source import FeatureSource

MOVED = 0.5
"""IoU of the upright boxes below which a rectangle counts as moved."""

MAX_FILES = 64
"""Cached files; the least recently used ones are removed."""


def discovery_epoch(pipeline: Pipeline) -> int | None:
    """The epoch before which objects are discovered: 0 with pretrained weights, else when a third of the epochs is
    over, since features must first mean something. None if the pipeline does not want it or nothing would learn from
    it."""
    config = pipeline.train
    if config.discover_objects is False or pipeline.model.attention != "rsam" or config.target_weight == 0:
        return None
    return 0 if pipeline.model.weights != "none" else max(1, config.epochs // 3)


def discovered_targets(job: Job, source: FeatureSource) -> dict[str, Rectangle]:
    """Rectangles by record id, discovered by the main process and broadcast; the run stores them as `discovered.json`
    for a resume."""
    path = job.run.path / "discovered.json"
    main = job.accelerator.is_main_process
    if main and not path.exists():
        corrected = job.corrected
        found = discover_in_training(job, source, corrected.dataset.split("train"), corrected.answers)
        if found.outlook:
            job.reporter.say(found.outlook.sentence())
        job.run.update_json(discovery=found.outlook and found.outlook.as_dict())
        write_atomically(path, json.dumps(found.rectangles))
    stored = stored_targets(path) if main else {}
    return {key: Rectangle(*values) for key, values in of_main(job.accelerator, stored).items()}


def stored_targets(path: Path) -> dict[str, Rectangle]:
    """The rectangles by record id in a run's `discovered.json`. Raises `UserError` if it is damaged."""
    remedy = "Retrain with `rsam train PIPELINE --restart`."
    try:
        return {key: _rectangle(values) for key, values in read_own(path, dict, remedy).items()}
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(f"{path}: is damaged ({error}). {remedy}") from error


def _rectangle(values: Sequence[float]) -> Rectangle:
    rectangle = Rectangle(*map(float, values))
    if not all(map(math.isfinite, rectangle)) or rectangle.width <= 0 or rectangle.height <= 0:
        raise ValueError(f"{values} is not a rectangle")
    return rectangle


def join_targets(discovered: dict[str, Rectangle], reviewed: dict[str, Rectangle]) -> dict[str, Target]:
    """Return all targets with their weights; the reviewer's target replaces a discovered one."""
    targets: dict[str, Target] = {key: (rectangle, RIGHT_WEIGHT) for key, rectangle in discovered.items()}
    return targets | {key: (rectangle, REVIEWED_WEIGHT) for key, rectangle in reviewed.items()}


def discover_in_training(job: Job, source: FeatureSource, records: Sequence[Record], answers: Answers) -> Discovery:
    """What is discovered in the training images `records`, taught by these answers, or as an earlier run cached it."""
    side, seed, say = job.pipeline.model.image_size, job.pipeline.seed, job.reporter.say
    size = source.largest_size(2 * side, side)
    pretrained = job.pipeline.model.weights != "none"  # else no other run has these weights
    answers = answers.among(records)
    path = discoveries_path(source, records, size, seed, answers) if pretrained else None
    cached = _read_cached(path, taught=bool(answers)) if path else None
    if cached is not None:
        say(f"an earlier run discovered objects in {len(cached.rectangles)} of {len(records)} training images")
        return cached
    told = f"taught by {answers.count}" if answers else "without boxes"
    if size == side:
        told += f"; at {side} pixels rather than {2 * side}, which {job.pipeline.model.backbone} does not take"
    say(f"discovering objects in {len(records)} training images, {told}")
    if pretrained:
        found = _discover_cached(source, records, size, seed, answers, say)
    else:
        found = discover_rectangles(source, records, size, seed, answers)
    rectangles = found.rectangles
    say(f"discovered objects in {len(rectangles)} of {len(records)}")
    if answers and path:
        before = read_discoveries(discoveries_path(source, records, size, seed))
        if before is not None:
            say(f"{len(moved(before, rectangles))} rectangles moved since they were discovered without boxes")
    if path and (problem := cache_discoveries(path, rectangles) or _cache_outlook(path, found.outlook)):
        say(problem)
    return found


def _read_cached(path: Path, taught: bool) -> Discovery | None:
    """What an earlier run discovered; None if any part of it is not cached."""
    rectangles = read_discoveries(path)
    outlook = _read_outlook(path) if taught else None
    return None if rectangles is None or (taught and outlook is None) else Discovery(rectangles, outlook)


def _discover_cached(
    source: FeatureSource,
    records: Sequence[Record],
    size: int,
    seed: int,
    answers: Answers,
    say: Callable[[str], None],
) -> Discovery:
    """Discover with cached late stages, and with cached untaught objectness; it reports if there is no room."""
    cached, path = CachedLateStages(source, records), discoveries_path(source, records, size, seed)
    try:
        untaught = read_objectness(path.with_suffix(".npz"))
        if untaught is None:
            untaught = learn_untaught(cached, records, size, seed)
            if problem := cache_objectness(path.with_suffix(".npz"), untaught):
                say(problem)
        return discover_rectangles(cached, records, size, seed, answers, untaught, read_discoveries(path))
    except NoRoomError as error:
        say(f"late feature maps are not cached, so the next discovery computes them again: {error}")
        return discover_rectangles(source, records, size, seed, answers)


def read_objectness(path: Path) -> Objectness | None:
    """Cached objectness; None if there is none or the file is damaged."""
    try:
        with np.load(path) as stored:
            scale, weight = (torch.from_numpy(stored[name]) for name in ("scale", "weight"))
            return Objectness(scale, weight, float(stored["bias"]))
    except (*NPY_ERRORS, KeyError):
        return None


def cache_objectness(path: Path, objectness: Objectness) -> str | None:
    """Cache objectness for the next discovery; returns a message if it cannot be written, else None."""
    stream = io.BytesIO()
    values = {"scale": objectness.scale.numpy(), "weight": objectness.weight.numpy(), "bias": objectness.bias}
    np.savez(stream, **values)  # type: ignore[arg-type]
    return _cache(path, stream.getvalue())


def moved(before: Mapping[str, Rectangle], after: Mapping[str, Rectangle]) -> list[str]:
    """The ids of rectangles that are new, or whose upright box overlaps the former one by less than `MOVED`."""
    both = [key for key in after if key in before]
    new = [key for key in after if key not in before]
    if not both:
        return new
    unbounded = np.array([np.inf, np.inf])
    boxes = [upright_edges(np.array([one[key] for key in both]), unbounded) for one in (before, after)]
    return new + [key for key, iou in zip(both, box_iou(*boxes), strict=True) if iou < MOVED]


def discoveries_path(
    source: FeatureSource, records: Sequence[Record], size: int, seed: int, answers: Answers = NO_ANSWERS
) -> Path:
    """The cache file of the rectangles that these weights find in these image files at `size` pixels, taught by these
    answers."""
    made_from = (
        DISCOVERED_RECTANGLES,
        backbone_hash(source.model),
        files_hash(records),
        [record.id for record in records],
    )
    taught = [sorted(part.items()) for part in (answers.right, answers.wrong)] if answers else []
    key = fingerprint(made_from, size, seed, source.precision, torch.__version__, *taught)
    return cache_folder() / "discovered" / f"{key}.json"


def read_discoveries(path: Path) -> dict[str, Rectangle] | None:
    """Rectangles by record id, or None if none are cached or the file is damaged."""
    try:
        content = read_json(path)
        rectangles = {key: _rectangle(values) for key, values in content.items()}
        os.utime(path)
    except (OSError, ValueError, TypeError, AttributeError, OverflowError):
        return None
    return rectangles


def cache_discoveries(path: Path, rectangles: Mapping[str, Rectangle]) -> str | None:
    """Cache rectangles for the next run; returns a message if they cannot be written, else None."""
    return _cache(path, json.dumps(rectangles))


def _read_outlook(path: Path) -> Outlook | None:
    try:
        return Outlook(**read_json(path.with_suffix(".outlook")))
    except (OSError, ValueError, TypeError, OverflowError):
        return None


def _cache_outlook(path: Path, outlook: Outlook | None) -> str | None:
    return _cache(path.with_suffix(".outlook"), json.dumps(outlook.as_dict())) if outlook else None


def _cache(path: Path, content: str | bytes) -> str | None:
    try:
        write_atomically(path, content, shared=True)
        by_age = sorted(path.parent.glob(f"*{path.suffix}"), key=lambda file: file.stat().st_mtime)
        for file in by_age[:-MAX_FILES]:
            file.unlink(missing_ok=True)
    except OSError as error:
        return f"discovered objects could not be cached for the next run ({error})"
    return None
