"""What was found of what was planted, in plain sentences; every number comes from the arguments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rsam_app.data.synthetic.planting import Planted, PlantedImage
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.system.errors import UserError

Array = np.ndarray

OFF_OBJECT = 0.3
"""A rectangle is off the object where its rotated IoU with the true one is below this (METRICS)."""
_LEANS = 0.1
"""Difference between two accuracies from which we say that a model leans on the flowers."""
_FEW = 5
"""Fewer images than this on either side make no AUROC worth printing."""


@dataclass(frozen=True)
class _Rows:
    """Predictions beside the truth, one row per image; arrays of equal length, scores NaN where the table has none."""

    truth: list[PlantedImage]
    label: Array
    predicted: Array
    confidence: Array
    misattention: Array
    label_quality: Array
    rectangle: Array

    @property
    def species(self) -> Array:
        return np.array([t.species for t in self.truth], dtype=object)

    @property
    def flowers(self) -> Array:
        return np.array([t.flowers is not None for t in self.truth], dtype=bool)

    @property
    def right(self) -> Array:
        return np.asarray(self.predicted == self.species)


def report_planted(planted: Planted, predictions: pa.Table) -> list[str]:
    """Sentences about wrong labels (train split), and about the alike pair, the shortcut, the rectangles and
    misattention (test split); what cannot be measured on this table is named as such.

    `predictions` has the columns of `rsam_app.run.predictions.SCHEMA` and the scores `misattention` (0 fine … 1 wrong)
    and `label_quality` (0 wrong … 1 fine) where the run has them. Raises `UserError` where it holds none of the images.
    """
    train, test = _rows(planted, predictions, "train"), _rows(planted, predictions, "test")
    if not train.truth and not test.truth:
        raise UserError(
            f"The predictions hold none of the {len(planted.images)} generated images: a run on other data.\n"
            "Point to a run on the generated one, or start again with `rsam demo`."
        )
    sentences = [_wrong_labels(train, len(planted.wrong_labels))]
    if not test.truth:
        return [*sentences, "Species, shortcut and rectangles: no predictions of the test split, so not measured."]
    sentences += [_species(test, planted.alike), _shortcut(planted, test), _fooled(planted, test)]
    return [*sentences, *_rectangles(planted, test)]


def shortcut_victims(planted: Planted, truth: list[PlantedImage], predicted: Array) -> Array:
    """Which images `(N,)` were decided wrongly in the planted shortcut's favour, by their `predicted` species `(N,)`:
    the shortcut's own without its flowers and not recognised, and others beside flowers taken for it."""
    own = np.array([t.species == planted.shortcut for t in truth], dtype=bool)
    flowers = np.array([t.flowers is not None for t in truth], dtype=bool)
    called = np.asarray(predicted == planted.shortcut)
    return np.asarray((own & ~called & ~flowers) | (~own & called & flowers))


def _rows(planted: Planted, table: pa.Table, split: str) -> _Rows:
    ids = table.column("id").to_pylist()
    kept = [n for n, i in enumerate(ids) if i in planted.images and planted.images[i].split == split]
    part = table.take(pa.array(kept, pa.int64()))

    def numbers(name: str) -> Array:
        if name not in table.column_names:
            return np.full(len(kept), np.nan)
        return np.array([np.nan if v is None else v for v in part.column(name).to_pylist()], dtype=np.float64)

    def words(name: str) -> Array:
        return np.array(part.column(name).to_pylist(), dtype=object)

    return _Rows(
        truth=[planted.images[ids[n]] for n in kept],
        label=words("label"),
        predicted=words("predicted"),
        confidence=numbers("confidence"),
        misattention=numbers("misattention"),
        label_quality=numbers("label_quality"),
        rectangle=np.stack([numbers(name) for name in RECTANGLE_FIELDS], axis=1),
    )


def _wrong_labels(rows: _Rows, planted: int) -> str:
    if not rows.truth:
        return f"Wrong labels: {planted} were planted; no predictions of the train split, so not measured."
    wrong = np.asarray(rows.label != rows.species)
    n, total = int(wrong.sum()), len(wrong)
    if n == 0:
        return f"Wrong labels: {planted} were planted, none is left among the {total} training labels."
    mended = f" ({planted - n} of {planted} planted ones are corrected or left out)" if planted != n else ""
    if np.isnan(rows.label_quality).all():
        return f"Wrong labels: {n} of {total} training labels are wrong{mended}; this run has no label_quality."
    suspect = np.argsort(rows.label_quality, kind="stable")[:n]  # NaN sorts last: not scored, not suspect
    found = int(wrong[suspect].sum())
    return (
        f"Wrong labels: {n} of {total} training labels are wrong{mended}; {found} of them are among the {n} most"
        f" suspect (chance would give {n * n / total:.1f})."
    )


def _species(rows: _Rows, alike: tuple[str, str]) -> str:
    pair = np.isin(rows.species, alike)
    return (
        f"Species: {_share(rows.right)} of {len(rows.truth)} test images are named right; {_share(rows.right[pair])}"
        f" of the nearly alike {alike[0]} and {alike[1]}, {_share(rows.right[~pair])} of the others."
    )


def _shortcut(planted: Planted, rows: _Rows) -> str:
    name = planted.shortcut
    own, called = np.asarray(rows.species == name), np.asarray(rows.predicted == name)
    beside, away = rows.flowers, ~rows.flowers
    helped = _mean(called[own & beside]) - _mean(called[own & away])
    misled = _mean(called[~own & beside]) - _mean(called[~own & away])
    leans = "leans" if max(helped, misled) >= _LEANS else "does not lean"
    return (
        f"Shortcut: pink flowers stand by {_shown(planted, 'train', True)} of the training images of {name} and"
        f" {_shown(planted, 'train', False)} of the others, in the test split by {_shown(planted, 'test', True)} and"
        f" {_shown(planted, 'test', False)}. The model {leans} on them: {name} is named right in"
        f" {_share(called[own & beside])} with and {_share(called[own & away])} without them; others are taken for it"
        f" in {_share(called[~own & beside])} with and {_share(called[~own & away])} without them."
    )


def _shown(planted: Planted, split: str, own: bool) -> str:
    """Share of a split's images with flowers, of the shortcut's species or of the others."""
    images = [t for t in planted.images.values() if t.split == split and (t.species == planted.shortcut) is own]
    return _share(np.array([t.flowers is not None for t in images]))


def _fooled(planted: Planted, rows: _Rows) -> str:
    fooled = shortcut_victims(planted, rows.truth, rows.predicted)
    about = f"{int(fooled.sum())} test images were decided wrongly in the shortcut's favour"
    return f"Misattention: {about}; {_detects(rows, fooled)}."


def _rectangles(planted: Planted, rows: _Rows) -> list[str]:
    seen = ~np.isnan(rows.rectangle).any(axis=1)
    if not seen.any():
        return ["Rectangles: this run has none."]
    from rsam_app.geometry.overlap import box_iou, rotated_iou, upright_edges

    truth = [t for t, drawn in zip(rows.truth, seen, strict=True) if drawn]
    sizes = np.array([(t.width, t.height) for t in truth], dtype=np.float64)
    true = np.array([t.rectangle for t in truth])
    edges = _edges(truth)
    train = [t for t in planted.images.values() if t.split == "train"]
    centre = (_edges(train) / np.array([(t.width, t.height) * 2 for t in train])).mean(axis=0)
    upright = box_iou(upright_edges(rows.rectangle[seen], sizes), edges)
    fixed = box_iou(centre * np.concatenate([sizes, sizes], axis=1), edges)
    rotated = rotated_iou(rows.rectangle[seen], true)
    middle = rows.rectangle[seen, :2]
    inside: Array = np.all((middle > edges[:, :2]) & (middle < edges[:, 2:]), axis=1)
    off = np.zeros(len(seen), dtype=bool)
    off[seen] = rotated < OFF_OBJECT
    return [
        f"Rectangles: mean IoU {upright.mean():.2f} with the true boxes, a fixed centre box {fixed.mean():.2f};"
        f" rotated IoU {rotated.mean():.2f} with the true rectangles; {_share(inside)} have their middle in the box.",
        f"Misattention: {int(off.sum())} of {len(truth)} rectangles are off the beetle (IoU < {OFF_OBJECT});"
        f" {_detects(rows, off)}.",
    ]


def _detects(rows: _Rows, wanted: Array) -> str:
    """How well misattention ranks the wanted images first, beside the plain score that needs no attention."""
    scored = ~np.isnan(rows.misattention)
    if not scored.any():
        return "this run has no misattention"
    positive, wanted = int(wanted[scored].sum()), wanted[scored]
    if min(positive, len(wanted) - positive) < _FEW:
        return "too few on one side to say how well misattention ranks them"
    from sklearn.metrics import roc_auc_score

    scores = rows.misattention[scored], 1 - rows.confidence[scored]
    misattention, doubt = (float(roc_auc_score(wanted, s)) for s in scores)
    return f"misattention ranks them with AUROC {misattention:.2f}, low confidence with {doubt:.2f} (chance 0.50)"


def _edges(images: list[PlantedImage]) -> Array:
    return np.array([(x, y, x + w, y + h) for x, y, w, h in (t.box for t in images)], dtype=np.float64)


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else 0.0


def _share(values: Array) -> str:
    return f"{values.mean():.0%}" if len(values) else "none (no such image)"
