"""What is believed about the labels of training images, from what a run kept while it trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import softmax

from rsam_app.evaluation.scores.label_quality import suggested_labels
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import class_names

LEARNED = 0.2
"""Of the weight, in logarithms, that what the model said while it learned gets beside what was held out. With a frozen
backbone and a tenth of the labels wrong, average precision for 0, .1, .2, .3, .4 and .6 of it (two plantings each):
birds .959, .958, .955, .951, .943, .906 where the wrong labels are any, .668, .676, .682, .684, .682, .659 where they
are siblings; generated beetles .884, .885, .884, .881, .872, .835 and .683, .692, .694, .695, .689, .651."""
LEAST = 1e-7
Rows = tuple[int, np.ndarray]
"""How many rows are kept, and which of them belongs to each image, -1 where none does."""


def training_belief(run: RunFolder, ids: Sequence[str]) -> np.ndarray | None:
    """Class probabilities `(N, C)` float32 of the training images `ids`, to judge their labels by; None where nothing
    is kept.

    What is kept is of the images that the run was trained on. A person may have excluded some since, or added others:
    rows go by the ids, and an image that was not trained on has a row of NaN. Runs of earlier versions did not keep the
    ids; theirs are believed where the number of images is the same.

    The weighted geometric mean of two witnesses: classifiers on pretrained features that did not see the image's label,
    and the model itself while it learned, averaged over the epochs. The first knows nothing of the label; the second,
    begun with a classifier fitted to all labels, believes the wrong ones too, siblings least, but saw augmented views
    and the gate. One alone where the other is not kept; rows that one of them lacks (NaN) are NaN. (ours)
    """
    rows = _rows(run.training_records, ids)
    held_out, learned = _kept(run.held_out_probabilities, rows), _kept(run.learned_probabilities, rows)
    if held_out is None or learned is None:
        return learned if held_out is None else held_out
    logs = LEARNED * np.log(np.maximum(learned, LEAST)) + (1 - LEARNED) * np.log(np.maximum(held_out, LEAST))
    belief: np.ndarray = softmax(logs, axis=1)
    return belief


def _rows(kept: Path, ids: Sequence[str]) -> Rows:
    if not kept.exists():
        return len(ids), np.arange(len(ids))
    trained: list[str] = json.loads(kept.read_text(encoding="utf-8"))
    place = {record_id: row for row, record_id in enumerate(trained)}
    return len(trained), np.array([place.get(record_id, -1) for record_id in ids], dtype=np.int64)


def _kept(path: Path, wanted: Rows) -> np.ndarray | None:
    found = np.load(path, mmap_mode="r") if path.exists() else None
    trained, rows = wanted
    if found is None or len(found) != trained:
        return None
    return np.where(rows[:, None] >= 0, found[rows].astype(np.float32), np.float32(np.nan))


@dataclass(frozen=True)
class Belief:
    """What is believed about the labels of N records, by the probabilities that `label_quality` is computed from."""

    given: np.ndarray
    """`(N,)` float32, probability of the given label; NaN where the model does not know it."""
    suggested: np.ndarray
    """`(N,)` int64, the most probable class; -1 where nothing is known."""
    chance: np.ndarray
    """`(N,)` float32, its probability; NaN where nothing is known."""

    def take(self, rows: np.ndarray) -> Belief:
        """That of these rows."""
        return Belief(self.given[rows], self.suggested[rows], self.chance[rows])


def believe(probabilities: np.ndarray, labels: np.ndarray) -> Belief:
    """From class probabilities `(N, C)`, and labels `(N,)` as column indices, -1 where unknown."""
    given = np.full(len(labels), np.nan, dtype=np.float32)
    known = np.flatnonzero(labels >= 0)
    given[known] = probabilities[known, labels[known]]
    return Belief(given, *suggested_labels(probabilities, labels))


def with_training_belief(
    run: RunFolder, ids: tuple[str, ...], splits: tuple[str, ...], probabilities: np.ndarray
) -> np.ndarray:
    """`probabilities` `(N, C)` of records `ids` of `splits`, those of training images replaced by what was believed of
    them while the run trained, where it kept that: a model that learned wrong labels agrees with them."""
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
    """For each record the label that is believed and its probability: the predicted one, but of training images that
    which was believed while the run trained, where it kept that. What `believe` says, without the logits."""
    believed = list(zip(predicted, confidence, strict=True))
    rows = [row for row, split in enumerate(splits) if split == "train"]
    kept, names = training_belief(run, [ids[row] for row in rows]) if rows else None, class_names(run)
    if kept is None or kept.shape[1] != len(names):
        return believed
    for row, probabilities in zip(rows, kept, strict=True):
        if np.isfinite(probabilities).all():
            best = int(probabilities.argmax())
            believed[row] = (names[best], float(probabilities[best]))
    return believed
