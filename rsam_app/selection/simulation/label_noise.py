"""Measure how well scores find wrong labels: plant errors, then rank by each score."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rsam_app.evaluation.metrics.paired import half_width
from rsam_app.evaluation.scores.label_quality import label_quality
from rsam_app.selection.simulation.logistic import out_of_fold
from rsam_app.selection.simulation.rounds import Oracle
from rsam_app.system.errors import UserError
from rsam_app.system.files import write_atomically

STRENGTH = 0.1
"""Strength of the out-of-fold classifiers; low, so that they fit wrong labels less."""

Score = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Return the suspicion `(N,)`, larger is more suspect, from probabilities `(N, C)` and labels `(N,)`."""


def uniform_errors(labels: np.ndarray, classes: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `labels` `(N,)` with `count` of them replaced by another class, both drawn uniformly."""
    rows = rng.permutation(len(labels))[:count]
    noisy = labels.copy()
    noisy[rows] = (labels[rows] + rng.integers(1, classes, len(rows))) % classes
    return noisy


def sibling_errors(
    labels: np.ndarray, siblings: Sequence[Sequence[int]], count: int, rng: np.random.Generator
) -> np.ndarray:
    """Return `labels` `(N,)` with `count` of those with siblings replaced by one of these, drawn uniformly."""
    rows = rng.permutation(np.flatnonzero([len(siblings[label]) > 0 for label in labels]))[:count]
    noisy = labels.copy()
    noisy[rows] = [rng.choice(siblings[label]) for label in labels[rows]]
    return noisy


def siblings_of(classes: Sequence[str], points: np.ndarray, labels: np.ndarray) -> list[list[int]]:
    """Return for each class the classes that it is most likely confused with.

    Siblings are classes whose names end in the same word (three albatrosses), if at least half of the classes have
    siblings and not all classes share the word; otherwise each class has the one with the nearest mean feature. So
    errors do not concentrate in a few classes, and are more confusable than uniform ones.
    """
    last = [name.replace("_", " ").replace("-", " ").split()[-1:] for name in classes]
    same = [[j for j, word in enumerate(last) if word == last[i] and j != i] for i in range(len(classes))]
    if 2 * sum(map(bool, same)) >= len(classes) and any(word != last[0] for word in last):
        return same
    means = np.stack([points[labels == c].mean(axis=0) for c in range(len(classes))])
    squared = ((means[:, None] - means[None]) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    return [[int(c)] for c in squared.argmin(axis=1)]


def mistakenness(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return FiftyOne's mistakenness for classifications with logits, `(N,)` in [0, 1]: (1 ± exp(-entropy)) / 2, with
    plus if the predicted class differs from the label."""
    safe = np.where(probabilities > 0, probabilities, 1.0)
    certainty = np.exp((probabilities * np.log(safe)).sum(axis=1))
    sign = np.where(probabilities.argmax(axis=1) == labels, -1.0, 1.0)
    result: np.ndarray = (1 + sign * certainty) / 2
    return result


def normalised_margin(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return cleanlab's normalized margin inverted: the best other class's probability minus the label's, `(N,)`."""
    rows, others = np.arange(len(labels)), probabilities.copy()
    given = others[rows, labels].copy()
    others[rows, labels] = -np.inf
    best: np.ndarray = others.max(axis=1)
    return np.asarray(best - given)


def self_confidence(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return cleanlab's self-confidence inverted: 1 - the label's probability, `(N,)` in [0, 1]."""
    score: np.ndarray = 1.0 - probabilities[np.arange(len(labels)), labels]
    return score


SCORES: dict[str, Score] = {
    "label_quality": lambda probabilities, labels: 1.0 - label_quality(probabilities, labels).astype(np.float64),
    "self_confidence": self_confidence,
    "normalised_margin": normalised_margin,
    "mistakenness": mistakenness,
}


def measure_label_noise(
    oracle: Oracle,
    classes: Sequence[str],
    share: float,
    seeds: int,
    folder: Path,
    advance: Callable[[int], object] = lambda plantings: None,
) -> dict[str, Any]:
    """Plant wrong labels, rank by every score of out-of-fold probabilities, and write `label_errors.{csv,json}`.

    Returns AUPRC and precision at k (the number planted) by kind of error and score: means over seeds with 95 %
    half-widths. Raises `UserError` if the share or the number of seeds is out of range.
    """
    from sklearn.metrics import average_precision_score

    require_noise(share, seeds, len(oracle.labels))
    count = round(share * len(oracle.labels))
    siblings = siblings_of(classes, oracle.points, oracle.labels)
    figures: dict[tuple[str, str], list[tuple[float, float]]] = {}
    counts: dict[str, int] = {}
    for seed in range(seeds):
        for kind in ("uniform", "siblings"):
            rng = np.random.default_rng((seed, 2))
            if kind == "uniform":
                noisy = uniform_errors(oracle.labels, oracle.classes, count, rng)
            else:
                noisy = sibling_errors(oracle.labels, siblings, count, rng)
            planted = noisy != oracle.labels
            counts[kind] = int(planted.sum())
            probabilities = out_of_fold(oracle.points, noisy, oracle.classes, STRENGTH, seed)
            for name, score in SCORES.items():
                suspicion = score(probabilities, noisy)
                top = np.argsort(-suspicion, kind="stable")[: planted.sum()]
                auprc, precision = float(average_precision_score(planted, suspicion)), float(planted[top].mean())
                figures.setdefault((kind, name), []).append((auprc, precision))
            advance(1)
    return _write(figures, {"share": share, "planted": counts, "seeds": seeds, "strength": STRENGTH}, folder)


def require_noise(share: float, seeds: int, images: int) -> None:
    """Raise `UserError` if the share of wrong labels among so many images, or the number of seeds, is out of range."""
    if not 0 < share < 0.5 or round(share * images) < 1:
        raise UserError(f"simulate: noise is {share:g}, expected a share between 0 and .5 that is at least one image.")
    if seeds < 1:
        raise UserError(f"simulate: seeds is {seeds}, expected at least 1.")


def noise_table(summary: dict[str, Any]) -> str:
    """Return the summary for a terminal: a line per kind of error and score."""
    lines = [f"{'errors':10} {'score':18} {'AUPRC':>15} {'precision at k':>15}"]
    for row in summary["scores"]:
        auprc = f"{row['auprc']:.3f} ± {row['auprc_interval']:.3f}"
        lines.append(f"{row['errors']:10} {row['score']:18} {auprc:>15} {row['precision_at_k']:>15.3f}")
    return "\n".join(lines)


def _write(
    figures: dict[tuple[str, str], list[tuple[float, float]]], plan: dict[str, Any], folder: Path
) -> dict[str, Any]:
    rows = []
    for (kind, name), pairs in sorted(figures.items()):
        auprc, precision = np.array(pairs).T
        rows.append(
            {
                "errors": kind,
                "score": name,
                "auprc": float(auprc.mean()),
                "auprc_interval": half_width(auprc),
                "precision_at_k": float(precision.mean()),
                "precision_at_k_interval": half_width(precision),
            }
        )
    summary = {**plan, "scores": rows}
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(folder / "label_errors.csv", text.getvalue())
    write_atomically(folder / "label_errors.json", json.dumps(summary, indent=1) + "\n")
    return summary
