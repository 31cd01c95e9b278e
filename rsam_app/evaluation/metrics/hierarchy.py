"""Figures of a taxonomy: accuracy per level, how far off mistakes are, and the accuracy of rolled-up answers."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from rsam_app.config import Taxonomy
from rsam_app.evaluation.metrics.accuracy import wilson_interval
from rsam_app.evaluation.metrics.intervals import bootstrap_interval
from rsam_app.geometry.types import Floats, Integers
from rsam_app.model.roll_up import best_nodes, node_numbers, sure_levels

LEAST_THRESHOLD = 0.5
"""Least threshold: below it, two nodes of a level could both be sure."""


def ancestor_heights(taxonomy: Taxonomy, first: Integers, second: Integers) -> Integers:
    """Height `(N,)` of the lowest common ancestor of two classes each: 0 if they are the same, 1 if they share the
    level above the classes, and one more than the coarsest level if they share none."""
    numbers = node_numbers(taxonomy)
    shared = numbers[:, first] == numbers[:, second]
    return np.where(shared.any(axis=0), shared.argmax(axis=0), len(numbers))


def taxonomy_figures(taxonomy: Taxonomy, predicted: Integers, labels: Integers) -> dict[str, Any]:
    """Top-1 of each level, and the mean height of the lowest common ancestor of mistakes, from classes `(N,)`.

    A predicted class counts at a level if its node there is the label's. The mean height (Bertinetto et al., Making
    Better Mistakes, CVPR 2020) is NaN without mistakes: 1 if all stay within the level above the classes.
    """
    heights = ancestor_heights(taxonomy, predicted, labels)
    levels = []
    for height, (level, nodes) in enumerate(zip(taxonomy.levels, taxonomy.nodes, strict=True)):
        right = int((heights <= height).sum())
        levels.append(
            {
                "level": level,
                "n_nodes": len(set(nodes)),
                "top1": right / len(labels),
                "top1_interval": wilson_interval(right, len(labels)),
            }
        )
    mistakes = heights[heights > 0]
    return {
        "levels": levels,
        "n_mistakes": len(mistakes),
        "mean_mistake_height": float(mistakes.mean()) if len(mistakes) else float("nan"),
        "mean_mistake_height_interval": bootstrap_interval(partial(_mean, mistakes), len(mistakes)),
    }


def _mean(values: Integers, rows: Integers) -> float:
    return float(values[rows].mean())


def threshold_to_apply(
    probabilities: Floats, labels: Integers, taxonomy: Taxonomy, accuracy: float
) -> tuple[float | None, str]:
    """The threshold for `roll_up` chosen on validation images, or None and the reason why there is none.

    It is the least one, from `LEAST_THRESHOLD` on, at which the share `accuracy` of the answers is right, one further
    wrong answer included: with few images, all right says little. From calibrated probabilities `(N, C)` and classes
    `(N,)`.
    """
    if not len(labels):
        return None, "no predictions of the val split"
    best = best_nodes(probabilities, taxonomy)
    below = np.column_stack([np.full(len(labels), -np.inf), best.probabilities[:, :-1]])
    right = best.nodes == node_numbers(taxonomy)[:, labels].T
    candidates = np.unique(best.probabilities[best.probabilities >= LEAST_THRESHOLD])
    # A node is the answer from just above the probability of the one below it up to its own.
    right_answers = _at_least(best.probabilities[right], candidates) - _at_least(below[right], candidates)
    answers = _at_least(best.probabilities[:, -1], candidates)
    kept = candidates[right_answers >= accuracy * (answers + 1)]
    if not len(kept):
        least = math.ceil(round(accuracy / (1 - accuracy), 6))
        if len(labels) < least:
            return None, f"{100 * accuracy:g} % right answers take {least:,} val images, and there are {len(labels):,}"
        return None, f"at no threshold are {100 * accuracy:g} % of the answers to {len(labels):,} val images right"
    return float(kept[0]), ""


def _at_least(values: Floats, thresholds: Floats) -> Integers:
    """How many of `values` reach each threshold."""
    return np.asarray(len(values) - np.searchsorted(np.sort(values), thresholds, side="left"))


def roll_up_figures(taxonomy: Taxonomy, threshold: float, probabilities: Floats, labels: Integers) -> dict[str, Any]:
    """The share of images answered, at any level and at each, and the accuracy there; accuracy is null without one."""
    best = best_nodes(probabilities, taxonomy)
    answered = sure_levels(best.probabilities, threshold)
    right = best.nodes == node_numbers(taxonomy)[:, labels].T
    hit = np.take_along_axis(right, answered.clip(min=0)[:, None], axis=1)[:, 0]
    levels = [{"level": level, **_answers(answered == number, hit)} for number, level in enumerate(taxonomy.levels)]
    return {"threshold": threshold, **_answers(answered >= 0, hit), "levels": levels}


def _answers(given: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    n, correct = int(given.sum()), int((given & right).sum())
    return {
        "n": n,
        "share": n / len(given),
        "accuracy": correct / n if n else None,
        "accuracy_interval": wilson_interval(correct, n) if n else (None, None),
    }
