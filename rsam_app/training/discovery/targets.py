"""Target rectangles of a run: objects discovered in training images, replaced by the reviewer's targets.

Discovered rectangles are cached, so that the next round of labelling need not discover them again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from rsam_app.config import Pipeline
from rsam_app.data.images.file_identity import files_hash
from rsam_app.data.loader import Target
from rsam_app.data.records import Record
from rsam_app.geometry.types import Rectangle
from rsam_app.model.store import backbone_hash
from rsam_app.run.job import Job
from rsam_app.system.cache.files import cache_folder
from rsam_app.system.distributed.agreement import of_main
from rsam_app.system.files import fingerprint, write_atomically
from rsam_app.system.versions import DISCOVERED_RECTANGLES
from rsam_app.training.discovery.discover import discover_rectangles
from rsam_app.training.features.source import FeatureSource

REVIEWED_WEIGHT = 5.0
"""The weight of the reviewer's target, relative to a discovered one."""

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
        write_atomically(path, json.dumps(_discover(job, source, job.corrected.dataset.split("train"))))
    stored = json.loads(path.read_text(encoding="utf-8")) if main else {}
    return {key: Rectangle(*values) for key, values in of_main(job.accelerator, stored).items()}


def join_targets(discovered: dict[str, Rectangle], reviewed: dict[str, Rectangle]) -> dict[str, Target]:
    """Return all targets with their weights; the reviewer's target replaces a discovered one."""
    targets: dict[str, Target] = {key: (rectangle, 1.0) for key, rectangle in discovered.items()}
    return targets | {key: (rectangle, REVIEWED_WEIGHT) for key, rectangle in reviewed.items()}


def _discover(job: Job, source: FeatureSource, records: Sequence[Record]) -> dict[str, Rectangle]:
    size, seed, say = 2 * job.pipeline.model.image_size, job.pipeline.seed, job.reporter.say
    pretrained = job.pipeline.model.weights != "none"  # else no other run has these weights
    path = discoveries_path(source, records, size, seed) if pretrained else None
    cached = read_discoveries(path) if path else None
    if cached is not None:
        say(f"an earlier run discovered objects in {len(cached)} of {len(records)} training images")
        return cached
    say(f"discovering objects in {len(records)} training images, without boxes")
    rectangles = discover_rectangles(source, records, size, seed)
    say(f"discovered objects in {len(rectangles)} of {len(records)}")
    if path and (problem := cache_discoveries(path, rectangles)):
        say(problem)
    return rectangles


def discoveries_path(source: FeatureSource, records: Sequence[Record], size: int, seed: int) -> Path:
    """The cache file of the rectangles that these weights find in these image files at `size` pixels."""
    made_from = (
        DISCOVERED_RECTANGLES,
        backbone_hash(source.model),
        files_hash(records),
        [record.id for record in records],
    )
    key = fingerprint(made_from, size, seed, source.precision, torch.__version__)
    return cache_folder() / "discovered" / f"{key}.json"


def read_discoveries(path: Path) -> dict[str, Rectangle] | None:
    """Rectangles by record id, or None if none are cached or the file is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rectangles = {key: Rectangle(*(float(v) for v in values)) for key, values in content.items()}
        os.utime(path)
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return rectangles


def cache_discoveries(path: Path, rectangles: Mapping[str, Rectangle]) -> str | None:
    """Cache rectangles for the next run; returns a message if they cannot be written, else None."""
    try:
        write_atomically(path, json.dumps(rectangles), shared=True)
        by_age = sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime)
        for file in by_age[:-MAX_FILES]:
            file.unlink(missing_ok=True)
    except OSError as error:
        return f"the discovered rectangles could not be cached for the next run ({error})"
    return None
