"""`rsam annotate`: rectangles to be corrected in Label Studio or CVAT, and what came back as targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rsam_app.geometry.types import Rectangle
from rsam_app.review.annotation_tools.files import (
    LABELING,
    Returned,
    Sent,
    cvat_annotations,
    label_studio_tasks,
    read_cvat,
    read_label_studio,
)
from rsam_app.review.dataset.compare_and_set import Change, settle
from rsam_app.review.dataset.samples import CHUNK, Samples, chunks
from rsam_app.review.dataset.schema import open_review, run_keys
from rsam_app.review.dataset.targets import as_target, rectangle_of
from rsam_app.system.errors import UserError
from rsam_app.system.files import write_atomically

SAME = (0.5, 0.5, 0.5, 0.5, 0.005)
"""A rectangle whose numbers came back this close (pixels, radians) was not touched."""
WRITERS: dict[str, Callable[[Sequence[Sent]], str]] = {"label-studio": label_studio_tasks, "cvat": cvat_annotations}
READERS: dict[str, Callable[[Path], Iterator[Returned]]] = {"label-studio": read_label_studio, "cvat": read_cvat}


@dataclass
class Annotated:
    """What was sent, or what came back."""

    path: str
    form: str
    sent: int = 0
    targets: int = 0
    """Images whose target is now what came back."""
    unchanged: int = 0
    """Images whose rectangle came back as it was sent, or as their target already is."""
    problems: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def text(self) -> str:
        """For a person."""
        if self.sent:
            where = f"Labeling interface for the project: {LABELING}\n" if self.form == "label-studio" else ""
            return f"{self.path}: {self.sent:,} images for {self.form}\n{where}See docs/review-annotation.md."
        lines = [f"{self.path}: {self.targets:,} targets set, {self.unchanged:,} as they were"]
        return "\n".join([*lines, *(f"not read: {problem}" for problem in self.problems)])


def send(dataset_name: str, key: str, form: str, out: Path, tag: str | None = None) -> Annotated:
    """Write images (those with `tag`, where given) and their rectangles for `form`: the target where there is one, else
    what the run `key` shows. Raises `UserError`."""
    review_set = _open(dataset_name, key)
    view = review_set.match_tags(tag) if tag else review_set
    names = ["record_id", "filepath", "metadata.width", "metadata.height"]
    shapes = ["attention_target.detections", f"{key}_attention.detections"]
    sent = []
    for record_id, path, width, height, target, attention in zip(*view.values([*names, *shapes]), strict=True):
        if record_id is not None and width and height:
            shown = (target or attention or [None])[0]
            five = rectangle_of(shown, width, height) if shown is not None else None
            sent.append(Sent(record_id, Path(path), (width, height), five))
    if not sent:
        raise UserError(f"FiftyOne dataset {dataset_name!r}: nothing is tagged {tag!r}. Tag some, or leave --tag out.")
    write_atomically(out, WRITERS[form](sent))
    return Annotated(str(out), form, sent=len(sent))


def bring_back(dataset_name: str, key: str, form: str, path: Path) -> Annotated:
    """Make what people drew the samples' `attention_target`; `rsam apply` takes it from there. Raises `UserError`.

    In Label Studio a submitted rectangle is a decision, also where it is the one that was sent; CVAT gives back all
    boxes alike, so there only those that were changed count.
    """
    samples = Samples(_open(dataset_name, key))
    found = Annotated(str(path), form)
    for returned in chunks(list(READERS[form](path)), CHUNK):
        drawn = _readable(returned, found)
        ids = samples.held(list(drawn))
        found.problems += [f"{i}: is not in the dataset {dataset_name!r}." for i in drawn if i not in ids]
        unchanged: set[str] = set()
        found.targets += settle(samples.collection, lambda: _changes(samples, key, form, drawn, unchanged))  # noqa: B023
        found.unchanged += len(unchanged)
    return found


def _open(dataset_name: str, key: str) -> Any:
    review_set = open_review(dataset_name)
    if key not in run_keys(review_set):
        raise UserError(f"FiftyOne dataset {dataset_name!r} has no run {key!r}. Run `rsam review RUN` first.")
    return review_set


def _readable(returned: Sequence[Returned], found: Annotated) -> dict[str, Rectangle]:
    """The one rectangle of each image that has one."""
    drawn = {}
    for item in returned:
        if item.problem:
            found.problems.append(f"{item.record_id}: {item.problem}.")
        elif len(item.rectangles) > 1:
            found.problems.append(f"{item.record_id}: {len(item.rectangles)} rectangles, one is needed.")
        elif item.rectangles:
            drawn[item.record_id] = item.rectangles[0]
    return drawn


def _changes(samples: Samples, key: str, form: str, drawn: dict[str, Rectangle], unchanged: set[str]) -> list[Change]:
    import fiftyone as fo

    changes = []
    for record_id, held in samples.held(list(drawn), ["attention_target", f"{key}_attention", "metadata"]).items():
        metadata = held.get("metadata") or {}
        extent = (int(metadata["width"]), int(metadata["height"]))
        target, attention = (
            ((held.get(name) or {}).get("detections") or [None])[0] for name in ("attention_target", f"{key}_attention")
        )
        shown = target or (attention if form == "cvat" else None)
        known = rectangle_of(fo.Detection.from_dict(shown), *extent) if shown else None
        if known and _same(known, drawn[record_id]):
            unchanged.add(record_id)
            continue
        new = as_target(drawn[record_id], *extent).to_dict()
        changes.append(
            Change(held["_id"], {"attention_target": held.get("attention_target")}, {"attention_target": new})
        )
    return changes


def _same(one: Rectangle, other: Rectangle) -> bool:
    turn = abs(one[4] - other[4])
    gaps = [*(abs(a - b) for a, b in zip(one[:4], other[:4], strict=True)), min(turn, abs(turn - math.pi))]
    return all(gap <= limit for gap, limit in zip(gaps, SAME, strict=True))
