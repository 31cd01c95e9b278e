"""Review queue: which image comes next, why, and how many are left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rsam_app.review.dataset.fields import LOCATED, OVERLAP
from rsam_app.review.dataset.fiftyone_internals import sample_collection, stored_samples, view_stages
from rsam_app.review.dataset.guest import field_of, label_path
from rsam_app.review.dataset.label_documents import Document
from rsam_app.review.dataset.labelling_fields import PROBABILITY, RANK, REASON, SUGGESTED
from rsam_app.review.dataset.schema import field_keys
from rsam_app.run.folder import LABELLING
from rsam_app.system.errors import UserError

SCORE_MEANINGS = {
    "misattention": ("how wrong the place probably is", True),
    "misattention_calibrated": ("how likely you would call the place wrong", True),
    "outside_activation": ("share of the evidence for the class outside the rectangle", True),
    "instability": ("how little the rectangle follows when the image moves", True),
    "outside_evidence": ("how much the outside alone tells about the class", True),
    "unusual_geometry": ("how unusual the rectangle is for its class", True),
    "degeneracy": ("how far the rectangle is from pointing at anything", True),
    "off_object": ("how far the rectangle is off the object's true box", True),
    "unknown": ("share of validation images that look more like a class of the model", True),
    "label_quality": ("how well the label fits", False),
    "confidence": ("how sure the model is", False),
    "calibrated_confidence": ("how often the model is right when it is as sure as here", False),
    "margin": ("how far the first class is ahead of the second", False),
    "entropy": ("how undecided the model is", True),
}
"""Scores in plain words, and whether high values need review; the panel shows other scores by name."""


AT_ONCE = 20
"""Images that are asked for at once to find the next one."""
ONLY_ID = {"$project": {"_id": 1}}
TEST_IMAGE = "A test image: answers are stored, but nothing learns from them and its label stays."


@dataclass(frozen=True)
class Reason:
    """Why an image is in the queue, in words."""

    title: str
    """The record id, which names the file."""
    lines: list[str]
    suggested: str | None = None
    """The suggested label, if it differs from the given one."""


@dataclass(frozen=True)
class Count:
    """Progress through a queue: images in all, and by mark."""

    total: int
    marks: Mapping[str, int]

    @property
    def left(self) -> int:
        """Images without a mark."""
        return self.total - sum(self.marks.values())

    def by_mark(self) -> str:
        """The marks with their numbers of images, the most frequent first; empty without any."""
        ordered = sorted(self.marks.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{number:,} {mark}" for mark, number in ordered)


def queue_of(review_set: Any, view: Any, key: str) -> Any:
    """Return the images to review: those of the open view, in its order, else those `without_test`, by the run's
    misattention, worst first; without a run, else the batch to label. Images that the reviewer added are left out."""
    from fiftyone import ViewField as F

    if key == LABELLING:
        batch = view if view is not None and _is_narrowed(view) else review_set.exists(RANK).sort_by(RANK)
        # A label that was given in the Annotate tab leaves no mark.
        return batch.match(F("record_id").exists() & (F("review").exists() | ~F("ground_truth.label").exists()))
    score = f"{key}_misattention"
    scored = review_set.has_sample_field(score)
    if view is None or not _is_narrowed(view):
        shown = without_test(review_set, review_set.exists(score) if scored else review_set.view())
        queue = shown.sort_by(score, reverse=True) if scored else shown
    elif scored and not sorted_by(view) and not _is_ordered(view):
        queue = view.sort_by(score, reverse=True)
    else:
        queue = view
    return queue.match(F("record_id").exists())


def without_test(review_set: Any, view: Any) -> Any:
    """The view without test images, about which answers teach nothing; as it is if it has no others."""
    from fiftyone import ViewField as F

    others = view.match(F(field_of(review_set, "split")) != "test")
    return others if len(others.limit(1)) else view


def count(queue: Any) -> Count:
    """Count the images of the queue, and those with each mark."""
    groups = stored_samples(queue, {"$group": {"_id": "$review", "images": {"$sum": 1}}})
    marks = {group["_id"]: int(group["images"]) for group in groups}
    return Count(sum(marks.values()), {mark: number for mark, number in marks.items() if mark is not None})


def next_sample(queue: Any, after: str | None = None) -> str | None:
    """Id of the next unmarked image behind the image `after`, continuing from the front at the end; None if all have a
    mark, or only `after` is left."""
    if after is None:
        return next(iter(_unmarked(queue, 1)), None)
    behind = _behind(queue, after)
    if behind is None:
        samples = stored_samples(queue, {"$project": {"review": 1}})
        ids = [str(sample["_id"]) for sample in samples]
        start = ids.index(after) + 1 if after in ids else 0
        behind = [i for i, sample in zip(ids[start:], samples[start:], strict=True) if sample.get("review") is None]
    return next((i for i in [*behind, *([] if behind else _unmarked(queue, 2))] if i != after), None)


def _unmarked(queue: Any, number: int) -> list[str]:
    """The ids of the first images without a mark."""
    return _ids(stored_samples(queue, {"$match": {"review": None}}, {"$limit": number}, ONLY_ID))


def _behind(queue: Any, after: str) -> list[str] | None:
    """The ids of some unmarked images behind `after`, found by the index of the score that sorts the queue; None if it
    is not sorted by one, `after` is not in it, or too many images have its score."""
    from bson import ObjectId

    order = _last_sort(queue)
    if order is None or not isinstance(field := order.field_or_expr, str):
        return None
    value = (sample_collection(queue).find_one({"_id": ObjectId(after)}, {field: 1}) or {}).get(field)
    if not isinstance(value, int | float):
        return None
    within = {"$match": {field: {"$lte" if order.reverse else "$gte": value}}}
    unmarked = {"$match": {"$or": [{"review": None}, {"_id": ObjectId(after)}]}}
    ids = _ids(stored_samples(queue, within, unmarked, {"$limit": AT_ONCE}, ONLY_ID))
    if after not in ids or (ids[-1] == after and len(ids) == AT_ONCE):
        return None
    return ids[ids.index(after) + 1 :]


def _ids(samples: list[Document]) -> list[str]:
    return [str(sample["_id"]) for sample in samples]


def explain(review_set: Any, queue: Any, sample_id: str, key: str) -> Reason:
    """Explain an image's place in the queue: its score among all, label and prediction, suggestion, target, mark.

    Raises `UserError` if the image was deleted.
    """
    if key == LABELLING:
        return _explain_photograph(review_set, sample_id)
    score, suggested = _shown_score(review_set, queue, key), f"{key}_suggested"
    place, answer, target = label_path(review_set), f"{key}_prediction", "attention_target.detections"
    names = ["record_id", place, f"{answer}.label", f"{answer}.confidence", "review", f"{target}.accepted_from"]
    names += [suggested, f"{suggested}_probability", field_of(review_set, "split"), *([score] if score else [])]
    names.append(found_again := f"{key}_{LOCATED}")
    sample = _present(review_set, sample_id, names)
    label, predicted, mark = _at(sample, place), _at(sample, f"{answer}.label"), sample.get("review")
    confidence, likely = _at(sample, f"{answer}.confidence"), sample.get(suggested)
    lines = []
    if score and (value := sample.get(score)) is not None:
        lines.append(_compare(review_set, score, value, key))
    lines.append(_agreement(label, predicted, confidence, key))
    probability = sample.get(f"{suggested}_probability") or 0.0
    likely = likely if likely != label else None
    if likely and (likely != predicted or abs(probability - (confidence or 0)) >= 0.005):
        lines.append(f"Ignoring the given label, the likely class is **{likely}** ({100 * probability:.0f} %).")
    if sample.get(field_of(review_set, "split")) == "test":
        lines.append(TEST_IMAGE)
    if sample.get(found_again):
        lines.append(f"Marks are about the rectangle that was found again: `{found_again}`.")
    if any(detection.get("accepted_from") is None for detection in _at(sample, target) or ()):
        lines.append("You drew a target.")
    if mark:
        lines.append(f"You marked it: **{mark}**.")
    return Reason(sample.get("record_id") or sample_id, lines, likely)


def _explain_photograph(review_set: Any, sample_id: str) -> Reason:
    """As `explain`, without a run: why the image is in the batch, its label or the suggested one, its mark."""
    names = ["record_id", "ground_truth.label", "review", REASON, SUGGESTED, PROBABILITY]
    sample = _present(review_set, sample_id, names)
    label, mark, reason = _at(sample, "ground_truth.label"), sample.get("review"), sample.get(REASON)
    lines = [f"{reason[:1].upper()}{reason[1:]}."] if reason else []
    suggested = None if label else sample.get(SUGGESTED)
    if label:
        lines.append(f"Label **{label}**.")
    elif suggested:
        lines.append(f"Most like **{suggested}** so far ({100 * sample[PROBABILITY]:.0f} %).")
    if mark and not (mark == "labelled" and label):
        lines.append(f"You marked it: **{mark}**.")
    return Reason(sample.get("record_id") or sample_id, lines, suggested)


def _present(review_set: Any, sample_id: str, fields: list[str]) -> Document:
    """Some fields of one image, as stored, by one read."""
    from bson import ObjectId

    sample = sample_collection(review_set).find_one({"_id": ObjectId(sample_id)}, dict.fromkeys(fields, 1))
    if sample is None:
        raise UserError("This image was deleted from the dataset. Open the next one (n).")
    return sample


def _at(sample: Document, path: str) -> Any:
    """The value at a path `a.b` of a stored sample; None if there is none."""
    value: Any = sample
    for name in path.split("."):
        value = (value or {}).get(name)
    return value


def run_of(review_set: Any, view: Any) -> str | None:
    """Key of the run under review: the one by whose field the view is sorted, else the latest; `LABELLING` if it is
    sorted by a field of `rsam label`, or there is no run yet; None if there is neither."""
    keys = field_keys(review_set)
    field = sorted_by(view) if view is not None else None
    return (field and run_of_field(field, keys)) or next(iter(keys), None)


def run_of_field(field: str, keys: list[str]) -> str | None:
    """Key of the run that a field belongs to, the longest: `birds_large_margin` is not a field of `birds`."""
    return max((key for key in keys if field.startswith(f"{key}_")), key=len, default=None)


def sorted_by(view: Any) -> str | None:
    """The field by which a view was last sorted; None if it is not sorted, or by an expression."""
    order = _last_sort(view)
    return order.field_or_expr if order is not None and isinstance(order.field_or_expr, str) else None


def _last_sort(view: Any) -> Any:
    """The last stage that sorts a view; None if there is none."""
    import fiftyone as fo

    return next((stage for stage in reversed(view_stages(view)) if isinstance(stage, fo.SortBy)), None)


def _is_narrowed(view: Any) -> bool:
    return bool(view_stages(view))


def _is_ordered(view: Any) -> bool:
    """Whether the view lists samples in an order of its own, as a selection does, best first."""
    return any(getattr(stage, "ordered", False) for stage in view_stages(view))


def _shown_score(review_set: Any, queue: Any, key: str) -> str | None:
    order = sorted_by(queue)
    if order and order.startswith(f"{key}_"):
        return order
    fallback = f"{key}_misattention"
    return fallback if review_set.has_sample_field(fallback) else None


def _compare(review_set: Any, field: str, value: float, key: str) -> str:
    """A score's value, its meaning, and how it compares with all images."""
    name = field.removeprefix(f"{key}_")
    samples = sample_collection(review_set)  # counted by its index, which FiftyOne's own expressions do not use
    known, below = (samples.count_documents({field: query}) for query in ({"$type": "number"}, {"$lt": value}))
    words = name.replace("_", " ")
    if name.startswith(OVERLAP):
        words, meaning, high = "overlap", f"of its rectangle with that of {name.removeprefix(OVERLAP)}", False
    else:
        meaning, high = SCORE_MEANINGS.get(name, (words, True))
    beyond = below if high else known - 1 - below
    compared, most = ("higher", "highest") if high else ("lower", "lowest")
    rank = f"the {most}" if beyond >= known - 1 else f"{compared} than {100 * beyond // (known - 1)} %"
    return f"{words.capitalize()} **{value:.2f}** ({meaning}): {rank} of {known:,} images."


def _agreement(label: str | None, predicted: str | None, confidence: float | None, key: str) -> str:
    sure = "" if confidence is None else f" ({100 * confidence:.0f} % sure)"
    if label is None:
        return f"No label; the model says **{predicted}**{sure}."
    if predicted is None:
        return f"Label **{label}**; {key} has no prediction for it."
    if predicted == label:
        return f"Label and prediction agree: **{label}**{sure}."
    return f"Label **{label}**, but the model says **{predicted}**{sure}."
