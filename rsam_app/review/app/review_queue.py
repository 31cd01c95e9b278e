"""The queue: which image a reviewer looks at next, why it is there, and how many are left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rsam_app.review.analysis.suggested_labels import suggestions
from rsam_app.review.dataset.fields import OVERLAP
from rsam_app.review.dataset.schema import run_keys

SCORES = {
    "misattention": ("how wrong the place probably is", True),
    "misattention_calibrated": ("how likely you would call the place wrong", True),
    "outside_activation": ("how much of what speaks for the class lies outside the rectangle", True),
    "instability": ("how little the rectangle comes along when the image moves", True),
    "outside_evidence": ("how much the outside alone says about the class", True),
    "unusual_geometry": ("how unusual the rectangle is for its class", True),
    "degeneracy": ("how far the rectangle is from pointing at anything", True),
    "off_object": ("how far the rectangle is off the true object", True),
    "label_quality": ("how well the label fits", False),
    "confidence": ("how sure the model was", False),
    "margin": ("how far the first class was ahead of the second", False),
    "entropy": ("how undecided the model was", True),
}
"""Scores in plain words, and whether high values are the ones to look at; others are shown by their names."""
"""How the field begins, behind the run's key, that `compare_runs` writes."""


@dataclass(frozen=True)
class Reason:
    """Why an image is in the queue, in words."""

    title: str
    """Its record id, which names the file."""
    lines: list[str]
    suggested: str | None = None
    """The label that is believed instead of its own."""


@dataclass(frozen=True)
class Count:
    """How far a queue is worked through."""

    done: int
    total: int

    @property
    def left(self) -> int:
        """Images without a mark."""
        return self.total - self.done


def queue_of(review_set: Any, view: Any, key: str) -> Any:
    """The images in the order to go through: those of the view that is open, in its order; else all, by the run's
    misattention, worst first. Images a person added herself are not ours to ask about."""
    from fiftyone import ViewField as F

    order = view if view is not None and _is_narrowed(view) else None
    if order is None:
        score = f"{key}_misattention"
        known = review_set.has_sample_field(score)
        order = review_set.exists(score).sort_by(score, reverse=True) if known else review_set.view()
    elif not sorted_by(order) and not _is_ordered(order):
        score = f"{key}_misattention"
        order = order.sort_by(score, reverse=True) if review_set.has_sample_field(score) else order
    return order.match(F("record_id").exists())


def count(queue: Any) -> Count:
    """How many images of the queue carry a mark."""
    marks: dict[str | None, int] = queue.count_values("review")
    return Count(sum(number for word, number in marks.items() if word is not None), sum(marks.values()))


def next_sample(queue: Any, after: str | None = None) -> str | None:
    """Id of the next image without a mark behind the image `after`, from the front again at the end; None where all
    have one, or only `after` is left."""
    ids, marks = queue.values(["id", "review"])
    place = ids.index(after) + 1 if after in ids else 0
    round_trip = [*range(place, len(ids)), *range(place)]
    return next((ids[i] for i in round_trip if marks[i] is None and ids[i] != after), None)


def explain(review_set: Any, queue: Any, sample_id: str, key: str) -> Reason:
    """Why the image is where it is: what it is sorted by and how that compares, label against prediction and what is
    believed instead, its mark."""
    names = ["record_id", "ground_truth.label", f"{key}_prediction.label", f"{key}_prediction.confidence", "review"]
    chosen, accepted = review_set.select(sample_id), "attention_target.detections.accepted_from"
    (record_id,), (label,), (predicted,), (confidence,), (mark,), (targets,) = chosen.values([*names, accepted])
    drawn = any(source is None for source in targets or ())
    lines = []
    score = _shown_score(review_set, queue, key)
    if score and (value := chosen.values(score)[0]) is not None:
        lines.append(_placed(review_set, score, value, key))
    sure = "" if confidence is None else f" ({100 * confidence:.0f} % sure)"
    if label is None:
        lines.append(f"No label; the model says **{predicted}**{sure}.")
    elif predicted is None:
        lines.append(f"Label **{label}**; {key} has no prediction for it.")
    elif predicted == label:
        lines.append(f"Label and prediction agree: **{label}**{sure}.")
    else:
        lines.append(f"Label **{label}**, but the model says **{predicted}**{sure}.")
    suggested = suggestions(review_set, [sample_id], key).get(sample_id)
    if suggested and (suggested.label != predicted or abs(suggested.probability - (confidence or 0)) >= 0.005):
        believed = f"**{suggested.label}** ({100 * suggested.probability:.0f} %)"
        lines.append(f"Judged without relying on its label it is rather {believed}.")
    if drawn:
        lines.append("You drew a target.")
    if mark:
        lines.append(f"You marked it: **{mark}**.")
    return Reason(record_id or sample_id, lines, suggested.label if suggested else None)


def run_of(review_set: Any, view: Any) -> str | None:
    """Key of the run under review: the one whose field the view is sorted by, else the latest; None without any."""
    keys = run_keys(review_set)
    order = sorted_by(view) if view is not None else None
    owners = [k for k in keys if order and order.startswith(f"{k}_")]
    return max(owners, key=len) if owners else next(iter(keys), None)


def sorted_by(view: Any) -> str | None:
    """The field that a view was last sorted by; None where it is not, or by an expression."""
    import fiftyone as fo

    orders = [s.field_or_expr for s in getattr(view, "_stages", []) if isinstance(s, fo.SortBy)]
    return orders[-1] if orders and isinstance(orders[-1], str) else None


def _is_narrowed(view: Any) -> bool:
    return bool(getattr(view, "_stages", []))


def _is_ordered(view: Any) -> bool:
    """Whether the view lists its samples one by one in an order of its own, as a selection does, best first."""
    return any(getattr(stage, "ordered", False) for stage in getattr(view, "_stages", []))


def _shown_score(review_set: Any, queue: Any, key: str) -> str | None:
    order = sorted_by(queue)
    if order and order.startswith(f"{key}_"):
        return order
    fallback = f"{key}_misattention"
    return fallback if review_set.has_sample_field(fallback) else None


def _placed(review_set: Any, field: str, value: float, key: str) -> str:
    name = field.removeprefix(f"{key}_")
    samples = review_set._sample_collection  # counted by its index, which FiftyOne's own expressions do not use
    known, below = (samples.count_documents({field: asked}) for asked in ({"$type": "number"}, {"$lt": value}))
    words = name.replace("_", " ")
    if name.startswith(OVERLAP):
        words, meaning, high = "overlap", f"of its rectangle with that of {name.removeprefix(OVERLAP)}", False
    else:
        meaning, high = SCORES.get(name, (words, True))
    beyond = below if high else known - 1 - below
    compared, most = ("higher", "highest") if high else ("lower", "lowest")
    place = f"the {most}" if beyond >= known - 1 else f"{compared} than {100 * beyond // (known - 1)} %"
    return f"{words.capitalize()} **{value:.2f}** ({meaning}): {place} of {known:,} images."
