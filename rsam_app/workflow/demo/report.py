"""The demo's report: how many of the planted problems the run found, in plain sentences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rsam_app.data.synthetic.planting import Planted, PlantedImage
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.system.errors import UserError

Array = np.ndarray

OFF_OBJECT = 0.3
"""A rectangle is off the object if its rotated IoU with the true one is below this."""
_RELIES_FROM = 0.1
"""A model relies on the flowers if they change its accuracy by at least this."""
_MIN_IMAGES = 5
"""Minimum number of positive and of negative images for an AUROC."""


@dataclass(frozen=True)
class PlantedRows:
    """Predictions and truth, one row per image; arrays of equal length, with NaN for scores that the table lacks."""

    truth: list[PlantedImage]
    label: Array
    predicted: Array
    confidence: Array
    misattention: Array
    label_quality: Array
    rectangle: Array

    @property
    def species(self) -> Array:
        """The true species."""
        return np.array([t.species for t in self.truth], dtype=object)

    @property
    def flowers(self) -> Array:
        """Whether there are pink flowers."""
        return np.array([t.flowers is not None for t in self.truth], dtype=bool)

    @property
    def right(self) -> Array:
        """Whether the predicted species is the true one."""
        return np.asarray(self.predicted == self.species)


def report_planted(planted: Planted, predictions: pa.Table) -> list[str]:
    """Sentences about wrong labels (train split), and about the similar pair, the shortcut, the rectangles and
    misattention (test split). They name what this table cannot show.

    `predictions` has the columns of `rsam_app.run.predictions.SCHEMA` and, if the run has them, the scores
    `misattention` (0 fine … 1 wrong) and `label_quality` (0 wrong … 1 fine). Raises `UserError` if it has none of the
    images.
    """
    train, test = planted_rows(planted, predictions, "train"), planted_rows(planted, predictions, "test")
    if not train.truth and not test.truth:
        raise UserError(
            f"The predictions contain none of the {len(planted.images)} generated images: the run is on other data.\n"
            "Give a run on the generated dataset, or start again with `rsam demo`."
        )
    sentences = [_wrong_labels(train, len(planted.wrong_labels))]
    if not test.truth:
        return [*sentences, "Species, shortcut and rectangles: not measured, no predictions of the test split."]
    sentences += [_species(test, planted.alike), _shortcut(planted, test), _shortcut_victims(planted, test)]
    return [*sentences, *_rectangles(planted, test)]


def shortcut_victims(planted: Planted, truth: list[PlantedImage], predicted: Array) -> Array:
    """Whether the planted shortcut misled the model, `(N,)` bool, by the `predicted` species `(N,)`: an image of its
    species without flowers was not recognised, or one of another species with flowers was taken for it."""
    own = np.array([t.species == planted.shortcut for t in truth], dtype=bool)
    flowers = np.array([t.flowers is not None for t in truth], dtype=bool)
    called = np.asarray(predicted == planted.shortcut)
    return np.asarray((own & ~called & ~flowers) | (~own & called & flowers))


def planted_rows(planted: Planted, table: pa.Table, split: str) -> PlantedRows:
    """The generated images of a split that a predictions table has, in its order."""
    ids = table.column("id").to_pylist()
    chosen = [n for n, i in enumerate(ids) if i in planted.images and planted.images[i].split == split]
    part = table.take(pa.array(chosen, pa.int64()))

    def numbers(name: str) -> Array:
        if name not in table.column_names:
            return np.full(len(chosen), np.nan)
        return np.array([np.nan if v is None else v for v in part.column(name).to_pylist()], dtype=np.float64)

    def words(name: str) -> Array:
        return np.array(part.column(name).to_pylist(), dtype=object)

    return PlantedRows(
        truth=[planted.images[ids[n]] for n in chosen],
        label=words("label"),
        predicted=words("predicted"),
        confidence=numbers("confidence"),
        misattention=numbers("misattention"),
        label_quality=numbers("label_quality"),
        rectangle=np.stack([numbers(name) for name in RECTANGLE_FIELDS], axis=1),
    )


def _wrong_labels(rows: PlantedRows, planted: int) -> str:
    if not rows.truth:
        return f"Wrong labels: {planted} planted; not measured, no predictions of the train split."
    wrong = np.asarray(rows.label != rows.species)
    n, total = int(wrong.sum()), len(wrong)
    if n == 0:
        return f"Wrong labels: {planted} planted, none is left among the {total} training labels."
    fixed = f" ({planted - n} of {planted} planted ones are corrected or excluded)" if planted != n else ""
    if np.isnan(rows.label_quality).all():
        return f"Wrong labels: {n} of {total} training labels are wrong{fixed}; this run has no label_quality."
    suspect = np.argsort(rows.label_quality, kind="stable")[:n]  # NaN sorts last: not scored, not suspect
    found = int(wrong[suspect].sum())
    return (
        f"Wrong labels: {n} of {total} training labels are wrong{fixed}; {found} of them are among the {n} most"
        f" suspect (by chance {n * n / total:.1f})."
    )


def _species(rows: PlantedRows, alike: tuple[str, str]) -> str:
    pair = np.isin(rows.species, alike)
    return (
        f"Species: {_share(rows.right)} of {len(rows.truth)} test images are right; {_share(rows.right[pair])}"
        f" of the similar pair {alike[0]} and {alike[1]}, {_share(rows.right[~pair])} of the others."
    )


def _shortcut(planted: Planted, rows: PlantedRows) -> str:
    name = planted.shortcut
    own, called = np.asarray(rows.species == name), np.asarray(rows.predicted == name)
    beside, away = rows.flowers, ~rows.flowers
    helped = _mean(called[own & beside]) - _mean(called[own & away])
    misled = _mean(called[~own & beside]) - _mean(called[~own & away])
    relies = "relies" if max(helped, misled) >= _RELIES_FROM else "does not rely"
    return (
        f"Shortcut: pink flowers are in {_flower_share(planted, 'train', True)} of the training images of {name} and"
        f" {_flower_share(planted, 'train', False)} of the others; in the test split, in"
        f" {_flower_share(planted, 'test', True)} and {_flower_share(planted, 'test', False)}. The model {relies} on"
        f" them: {name} is right in {_share(called[own & beside])} with and {_share(called[own & away])} without them;"
        f" others are taken for it in {_share(called[~own & beside])} with and {_share(called[~own & away])} without"
        " them."
    )


def _flower_share(planted: Planted, split: str, own: bool) -> str:
    """Share of a split's images with flowers, of the shortcut's species or of the others."""
    images = [t for t in planted.images.values() if t.split == split and (t.species == planted.shortcut) is own]
    return _share(np.array([t.flowers is not None for t in images]))


def _shortcut_victims(planted: Planted, rows: PlantedRows) -> str:
    victims = shortcut_victims(planted, rows.truth, rows.predicted)
    return (
        f"Misattention: the shortcut misled the model in {int(victims.sum())} test images; {_detection(rows, victims)}."
    )


def _rectangles(planted: Planted, rows: PlantedRows) -> list[str]:
    located = ~np.isnan(rows.rectangle).any(axis=1)
    if not located.any():
        return ["Rectangles: this run has none."]
    from rsam_app.geometry.overlap import box_iou, rotated_iou, upright_edges

    truth = [t for t, drawn in zip(rows.truth, located, strict=True) if drawn]
    sizes = np.array([(t.width, t.height) for t in truth], dtype=np.float64)
    true = np.array([t.rectangle for t in truth])
    edges = _edges(truth)
    train = [t for t in planted.images.values() if t.split == "train"]
    centre = (_edges(train) / np.array([(t.width, t.height) * 2 for t in train])).mean(axis=0)
    upright = box_iou(upright_edges(rows.rectangle[located], sizes), edges)
    fixed = box_iou(centre * np.concatenate([sizes, sizes], axis=1), edges)
    rotated = rotated_iou(rows.rectangle[located], true)
    middle = rows.rectangle[located, :2]
    inside: Array = np.all((middle > edges[:, :2]) & (middle < edges[:, 2:]), axis=1)
    off = np.zeros(len(located), dtype=bool)
    off[located] = rotated < OFF_OBJECT
    return [
        f"Rectangles: mean IoU {upright.mean():.2f} with the true boxes, a fixed centre box {fixed.mean():.2f};"
        f" rotated IoU {rotated.mean():.2f} with the true rectangles; {_share(inside)} have their centre in the box.",
        f"Misattention: {int(off.sum())} of {len(truth)} rectangles are off the beetle (IoU < {OFF_OBJECT});"
        f" {_detection(rows, off)}.",
    ]


def _detection(rows: PlantedRows, wanted: Array) -> str:
    """AUROC of misattention for the wanted images, beside that of low confidence, which needs no attention."""
    scored = ~np.isnan(rows.misattention)
    if not scored.any():
        return "this run has no misattention"
    positive, wanted = int(wanted[scored].sum()), wanted[scored]
    if min(positive, len(wanted) - positive) < _MIN_IMAGES:
        return "too few for an AUROC of misattention"
    from sklearn.metrics import roc_auc_score

    scores = rows.misattention[scored], 1 - rows.confidence[scored]
    misattention, doubt = (float(roc_auc_score(wanted, s)) for s in scores)
    return f"misattention finds them with AUROC {misattention:.2f}, low confidence with {doubt:.2f} (chance 0.50)"


def _edges(images: list[PlantedImage]) -> Array:
    return np.array([(x, y, x + w, y + h) for x, y, w, h in (t.box for t in images)], dtype=np.float64)


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else 0.0


def _share(values: Array) -> str:
    return f"{values.mean():.0%}" if len(values) else "none (no such image)"
