"""Label belief: class probabilities to judge the labels of training images by, from what a run saved in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import softmax

from rsam_app.evaluation.scores.label_quality import suggested_labels
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import class_names, read_rows
from rsam_app.run.trained_on import training_order
from rsam_app.system.errors import UserError

LEARNED_WEIGHT = 0.2
"""Weight of the log probabilities during training, against those held out. With a frozen backbone and a tenth of the
labels wrong, average precision at 0, .1, .2, .3, .4 and .6 (two plantings each): birds .959, .958, .955, .951, .943,
.906 if the wrong labels are random, .668, .676, .682, .684, .682, .659 if they are siblings; generated beetles .884,
.885, .884, .881, .872, .835 and .683, .692, .694, .695, .689, .651."""
MIN_PROBABILITY = 1e-7
REMEDY = "Delete it to judge labels without it, or retrain with `rsam train --restart`."


def training_belief(run: RunFolder, ids: Sequence[str]) -> np.ndarray | None:
    """Return class probabilities `(N, C)` float32 of the training images `ids`, to judge their labels by; None if the
    run saved none.

    Rows are matched by id: images that the run did not train on, e.g. because they were added later, are NaN. Without
    saved ids the order of `ids` is taken, if the number of images is the same.

    The weighted geometric mean of two sources: classifiers on pretrained features that did not see the image's label,
    and the model itself, averaged over the epochs. The first is independent of the label; the second starts from a
    classifier fitted to all labels and so believes wrong ones too, siblings least, but saw augmented views and the
    gate. If only one source was saved, it is used alone; rows that are NaN in either are NaN. (ours)
    """
    trained, rows = _saved_rows(run.training_records, ids)
    held_out, learned = (_load(path, trained, rows) for path in (run.held_out_probabilities, run.learned_probabilities))
    if held_out is None or learned is None:
        return learned if held_out is None else held_out
    if learned.shape != held_out.shape:
        raise UserError(
            f"{run.held_out_probabilities}: has {held_out.shape[1]} classes, {run.learned_probabilities.name}"
            f" {learned.shape[1]}. {REMEDY}"
        )
    log_learned, log_held_out = (np.log(np.maximum(p, MIN_PROBABILITY)) for p in (learned, held_out))
    belief: np.ndarray = softmax(LEARNED_WEIGHT * log_learned + (1 - LEARNED_WEIGHT) * log_held_out, axis=1)
    return belief


def _saved_rows(ids_file: Path, ids: Sequence[str]) -> tuple[int, np.ndarray]:
    """The number of saved rows, and the row of each image, -1 if it has none."""
    if not ids_file.exists():
        return len(ids), np.arange(len(ids))
    trained: list[str] = training_order(ids_file)
    row_of = {record_id: row for row, record_id in enumerate(trained)}
    return len(trained), np.array([row_of.get(record_id, -1) for record_id in ids], dtype=np.int64)


def _load(path: Path, trained: int, rows: np.ndarray) -> np.ndarray | None:
    saved = read_rows(path, REMEDY, shared=True) if path.exists() else None
    if saved is None or len(saved) != trained:
        return None
    return np.where(rows[:, None] >= 0, saved[rows].astype(np.float32), np.float32(np.nan))


@dataclass(frozen=True)
class Belief:
    """Belief about the labels of N records, from the probabilities that `label_quality` uses."""

    given: np.ndarray
    """`(N,)` float32, probability of the given label; NaN if the model does not know it."""
    suggested: np.ndarray
    """`(N,)` int64, the most probable class; -1 without probabilities."""
    chance: np.ndarray
    """`(N,)` float32, its probability; NaN without probabilities."""

    def take(self, rows: np.ndarray) -> Belief:
        """The belief about these rows."""
        return Belief(self.given[rows], self.suggested[rows], self.chance[rows])


def believe(probabilities: np.ndarray, labels: np.ndarray) -> Belief:
    """Return the belief from class probabilities `(N, C)` and labels `(N,)`, column indices, -1 if unknown."""
    given = np.full(len(labels), np.nan, dtype=np.float32)
    known = np.flatnonzero(labels >= 0)
    given[known] = probabilities[known, labels[known]]
    return Belief(given, *suggested_labels(probabilities, labels))


def with_training_belief(
    run: RunFolder, ids: tuple[str, ...], splits: tuple[str, ...], probabilities: np.ndarray
) -> np.ndarray:
    """Replace `probabilities` `(N, C)` of training images by their `training_belief`, if the run saved it: a model that
    learned wrong labels agrees with them. `ids` and `splits` are those of the N records."""
    rows = np.flatnonzero([split == "train" for split in splits])
    believed = training_belief(run, [ids[row] for row in rows]) if len(rows) else None
    if believed is None or believed.shape[1] != probabilities.shape[1]:
        return probabilities
    known = np.isfinite(believed).all(axis=1)
    replaced = probabilities.copy()
    replaced[rows[known]] = believed[known]
    return replaced


def believed_labels(
    run: RunFolder, ids: Sequence[str], splits: Sequence[str], predicted: Sequence[str], confidence: Sequence[float]
) -> list[tuple[str, float]]:
    """Return the believed label of each record and its probability: the predicted label, for training images that of
    `training_belief`, if the run saved it. Like `believe`, without the logits."""
    believed = list(zip(predicted, confidence, strict=True))
    rows = [row for row, split in enumerate(splits) if split == "train"]
    belief, names = training_belief(run, [ids[row] for row in rows]) if rows else None, class_names(run)
    if belief is None or belief.shape[1] != len(names):
        return believed
    for row, probabilities in zip(rows, belief, strict=True):
        if np.isfinite(probabilities).all():
            best = int(probabilities.argmax())
            believed[row] = (names[best], float(probabilities[best]))
    return believed
