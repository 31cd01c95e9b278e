"""`rsam annotate`: send rectangles and labels to Label Studio or CVAT, and bring back what a person made of them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rsam_app.geometry.types import Rectangle
from rsam_app.review.annotation_tools.files import (
    ReturnedImage,
    SentImage,
    cvat_annotations,
    cvat_labels,
    label_studio_tasks,
    labeling_interface,
    read_cvat,
    read_label_studio,
)
from rsam_app.review.annotation_tools.formats import place
from rsam_app.review.dataset.compare_and_set import Change, update
from rsam_app.review.dataset.guest import field_of, label_path
from rsam_app.review.dataset.samples import CHUNK, Samples, chunks
from rsam_app.review.dataset.schema import memory, open_review, run_keys
from rsam_app.review.dataset.targets import as_target, rectangle_of
from rsam_app.system.errors import UserError
from rsam_app.system.files import write_atomically

PIXEL_TOLERANCE, ANGLE_TOLERANCE = 0.5, 0.005
"""A returned rectangle whose numbers differ by no more (pixels, radians) was not edited."""
WRITERS: dict[str, Callable[[Sequence[SentImage]], str]] = {
    "label-studio": label_studio_tasks,
    "cvat": cvat_annotations,
}
SETTINGS: dict[str, tuple[str, Callable[[Sequence[str]], str]]] = {
    "label-studio": ("Labeling interface for the project", labeling_interface),
    "cvat": ("Labels for the task", cvat_labels),
}
"""What the tool must be told once: its name, and its text for these classes."""
READERS: dict[str, Callable[[Path], Iterator[ReturnedImage]]] = {"label-studio": read_label_studio, "cvat": read_cvat}


@dataclass
class ExchangeReport:
    """Result of `send` or `bring_back`."""

    path: str
    form: str
    sent: int = 0
    settings: str = ""
    """What to enter in the tool first."""
    labels: int = 0
    """Images whose label is now the returned one."""
    targets: int = 0
    """Images whose target is now the returned rectangle."""
    unchanged: int = 0
    """Images whose rectangle was returned as sent, or as their target already is."""
    empty: int = 0
    """Returned images without any shape."""
    problems: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for `--json`."""
        return asdict(self)

    def text(self) -> str:
        """Return the report as text."""
        if self.sent:
            return f"{self.path}: {self.sent:,} images for {self.form}\n{self.settings}\nSee docs/review-annotation.md."
        lines = [f"{self.path}: {self.targets:,} targets set, {self.unchanged:,} unchanged"]
        lines[0] += f", {self.labels:,} labels changed" if self.labels else ""
        lines[0] += f", {self.empty:,} images without a rectangle" if self.empty else ""
        return "\n".join([*lines, *(f"not read: {problem}" for problem in self.problems)])


def send(dataset_name: str, key: str, form: str, out: Path, tag: str | None = None) -> ExchangeReport:
    """Write all images, or those with `tag`, for the tool `form`, each with its label, and its target or else the run's
    rectangle.

    Raises `UserError`.
    """
    review_set = _open(dataset_name, key)
    view = review_set.match_tags(tag) if tag else review_set
    size = field_of(review_set, "metadata")
    names = ["record_id", "filepath", f"{size}.width", f"{size}.height", label_path(review_set)]
    shapes = ["attention_target.detections", f"{key}_attention.detections"]
    images = []
    for record_id, path, width, height, label, target, attention in zip(*view.values([*names, *shapes]), strict=True):
        if record_id is not None and width and height:
            shown = (target or attention or [None])[0]
            rectangle = rectangle_of(shown, width, height) if shown is not None else None
            images.append(SentImage(record_id, Path(path), (width, height), rectangle, label))
    if not images:
        raise UserError(f"FiftyOne dataset {dataset_name!r}: nothing is tagged {tag!r}. Tag some, or leave --tag out.")
    write_atomically(out, WRITERS[form](images))
    name, text = SETTINGS[form]
    settings = f"{name}: {text(memory(review_set).classes)}"
    return ExchangeReport(str(out), form, sent=len(images), settings=settings)


def bring_back(dataset_name: str, key: str, form: str, path: Path) -> ExchangeReport:
    """Make returned rectangles the samples' `attention_target` and returned classes their `ground_truth`, for
    `rsam apply` to read. Raises `UserError`.

    A rectangle submitted in Label Studio is a decision even if unchanged. CVAT returns all boxes alike, so only changed
    ones count.
    """
    samples = Samples(_open(dataset_name, key))
    report = ExchangeReport(str(path), form)
    returned = list(READERS[form](path))
    labels = _labels(samples, returned, form, report)
    for some in chunks(list(labels), CHUNK):
        report.labels += update(samples.collection, lambda: _label_changes(samples, labels, some))  # noqa: B023
    for images in chunks(_readable(returned, report), CHUNK):
        drawn = _placed(samples, images, report)
        unchanged: set[str] = set()
        report.targets += update(samples.collection, lambda: _changes(samples, key, form, drawn, unchanged))  # noqa: B023
        report.unchanged += len(unchanged)
    return report


def _open(dataset_name: str, key: str) -> Any:
    review_set = open_review(dataset_name)
    if key not in run_keys(review_set):
        raise UserError(f"FiftyOne dataset {dataset_name!r} has no run {key!r}. Run `rsam review RUN` first.")
    return review_set


def _labels(samples: Samples, images: Sequence[ReturnedImage], form: str, report: ExchangeReport) -> dict[str, str]:
    """The class of each image that was returned with one; add a problem to the report for what is none. CVAT's tags
    that name no class say something else about the image."""
    known = memory(samples.review_set)
    classes = set(known.classes)
    named: dict[str, set[str]] = defaultdict(set)
    for image in images:
        present = {known.class_names.get(name, name) for name in image.labels}
        named[image.record_id] |= {name for name in present if form != "cvat" or name in classes}
    labels = {}
    for record_id, names in named.items():
        if len(names) > 1:
            report.problems.append(f"{record_id}: has the labels {', '.join(sorted(names))}; one is needed.")
        elif names and not names <= classes:
            report.problems.append(f"{record_id}: label {min(names)!r} is not a class of the dataset.")
        elif names:
            labels[record_id] = min(names)
    return labels


def _label_changes(samples: Samples, labels: dict[str, str], some: Sequence[str]) -> list[Change]:
    import fiftyone as fo

    changes, field = [], field_of(samples.review_set, "ground_truth")
    for record_id, held in samples.stored(list(some), [field]).items():
        before = held.get(field)
        if (before or {}).get("label") != labels[record_id]:
            after = {**(before or fo.Classification().to_dict()), "label": labels[record_id]}
            changes.append(Change(held["_id"], {field: before}, {field: after}))
    return changes


def _readable(images: Sequence[ReturnedImage], report: ExchangeReport) -> list[ReturnedImage]:
    """Return the images with exactly one rectangle; add a problem to the report for everything that is left out."""
    times = Counter(image.record_id for image in images if image.rectangles)
    readable = []
    for image in images:
        problems = [f"a shape of type {kind} is neither a rectangle nor a polygon" for kind in image.other_shapes]
        if image.problem:
            problems.append(image.problem)
        elif len(image.rectangles) > 1:
            problems.append(f"{len(image.rectangles)} rectangles, one is needed")
        elif image.rectangles and times[image.record_id] > 1:
            problems.append(f"is in the file {times[image.record_id]} times. Delete the others")
        elif image.rectangles:
            readable.append(image)
        elif not problems:
            report.empty += 1
        report.problems += [f"{image.record_id}: {problem}." for problem in problems]
    return readable


def _placed(samples: Samples, images: Sequence[ReturnedImage], report: ExchangeReport) -> dict[str, Rectangle]:
    """By record id the rectangle of each image in the dataset's pixels; add the others to the report's problems."""
    size = field_of(samples.review_set, "metadata")
    stored = samples.stored([image.record_id for image in images], [size])
    placed = {}
    for image in images:
        metadata = stored.get(image.record_id, {}).get(size) or {}
        if image.record_id not in stored:
            report.problems.append(f"{image.record_id}: is not in the dataset {samples.review_set.name!r}.")
        elif not metadata.get("width") or not metadata.get("height"):
            report.problems.append(f"{image.record_id}: FiftyOne has no size of the image. Run `rsam review RUN`.")
        else:
            extent = (int(metadata["width"]), int(metadata["height"]))
            try:
                placed[image.record_id] = place(image.rectangles[0], image.extent, extent)
            except ValueError as error:
                report.problems.append(f"{image.record_id}: {error}.")
    return placed


def _changes(samples: Samples, key: str, form: str, drawn: dict[str, Rectangle], unchanged: set[str]) -> list[Change]:
    import fiftyone as fo

    changes, size = [], field_of(samples.review_set, "metadata")
    for record_id, held in samples.stored(list(drawn), ["attention_target", f"{key}_attention", size]).items():
        metadata = held.get(size) or {}
        extent = (int(metadata["width"]), int(metadata["height"]))
        before = held.get("attention_target")
        shown = _first_detection(before)
        if shown is None and form == "cvat":
            shown = _first_detection(held.get(f"{key}_attention"))
        current = rectangle_of(fo.Detection.from_dict(shown), *extent) if shown else None
        if current and _is_same(current, drawn[record_id]):
            unchanged.add(record_id)
            continue
        target = as_target(drawn[record_id], *extent).to_dict()
        changes.append(Change(held["_id"], {"attention_target": before}, {"attention_target": target}))
    return changes


def _first_detection(detections: dict[str, Any] | None) -> dict[str, Any] | None:
    return next(iter((detections or {}).get("detections") or ()), None)


def _is_same(one: Rectangle, other: Rectangle) -> bool:
    turn = abs(one.angle - other.angle)
    same_angle = min(turn, abs(turn - math.pi)) <= ANGLE_TOLERANCE
    return same_angle and all(abs(a - b) <= PIXEL_TOLERANCE for a, b in zip(one[:4], other[:4], strict=True))
