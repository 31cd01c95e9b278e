"""What a label should rather be: what is believed about each label, and the label that is believed instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rsam_app.run_folder import RunFolder
from rsam_app.selection.class_names import class_names
from rsam_app.selection.label_errors import suggested_labels
from rsam_app.selection.training_belief import training_belief


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
