"""Rolling up: the finest level of a taxonomy at which an answer is sure, as a pure function of its probabilities.

After Deng, Krause, Berg and Fei-Fei: Hedging Your Bets, CVPR 2012: trade how specific an answer is for its accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from rsam_app.config.taxonomy import Taxonomy
from rsam_app.geometry.types import Floats, Integers


class Sure(NamedTuple):
    """The finest answer that is sure: a level of the taxonomy, its node, and the node's probability in [0, 1]."""

    level: str
    name: str
    probability: float


class BestNodes(NamedTuple):
    """The most probable node of each level: its number `(N, L)` in `node_names`, and its probability `(N, L)`, which
    does not fall from the classes to the coarsest level."""

    nodes: Integers
    probabilities: Floats


def node_names(taxonomy: Taxonomy) -> list[np.ndarray]:
    """The names of each level's nodes, sorted."""
    return [np.unique(nodes) for nodes in taxonomy.nodes]


def node_numbers(taxonomy: Taxonomy) -> Integers:
    """The number `(L, C)`, in `node_names`, of the node above each class at each level."""
    return np.stack([np.unique(nodes, return_inverse=True)[1] for nodes in taxonomy.nodes])


def best_nodes(probabilities: Floats, taxonomy: Taxonomy) -> BestNodes:
    """From probabilities of the classes `(N, C)`: a node's probability is the sum over the classes below it."""
    numbers = node_numbers(taxonomy)
    found, highest = [], []
    for of_class in numbers:
        order = np.argsort(of_class, kind="stable")
        starts = np.searchsorted(of_class[order], np.arange(of_class.max() + 1))
        sums = np.add.reduceat(np.asarray(probabilities, dtype=np.float64)[:, order], starts, axis=1)
        found.append(sums.argmax(axis=1))
        highest.append(sums.max(axis=1))
    # A parent has at least the probability of its child: only rounding says otherwise.
    return BestNodes(np.stack(found, axis=1), np.maximum.accumulate(np.stack(highest, axis=1), axis=1))


def sure_levels(probabilities: Floats, threshold: float) -> Integers:
    """The finest level `(N,)` whose probability, of `BestNodes` `(N, L)`, reaches the threshold; -1 if none does."""
    reached = probabilities >= threshold
    return np.where(reached.any(axis=1), reached.argmax(axis=1), -1)


def roll_up(probabilities: Floats, taxonomy: Taxonomy, threshold: float) -> list[Sure | None]:
    """For probabilities of the classes `(N, C)`, the finest node of each row whose probability reaches `threshold`.

    None for a row that is not sure at the coarsest level either. Probabilities are best calibrated, and the threshold
    above .5: the nodes that reach it then lie below each other.
    """
    best = best_nodes(probabilities, taxonomy)
    names = node_names(taxonomy)
    return [
        Sure(taxonomy.levels[level], str(names[level][nodes[level]]), float(shares[level])) if level >= 0 else None
        for level, nodes, shares in zip(sure_levels(best.probabilities, threshold), *best, strict=True)
    ]


@dataclass(frozen=True)
class RollUp:
    """A taxonomy with the threshold that was chosen on validation images for an `accuracy` of the rolled-up answers."""

    taxonomy: Taxonomy
    threshold: float
    accuracy: float

    def __call__(self, probabilities: Floats) -> list[Sure | None]:
        """`roll_up` of calibrated probabilities `(N, C)`."""
        return roll_up(probabilities, self.taxonomy, self.threshold)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON without the classes, which a model names by itself."""
        return {**self.taxonomy.above_classes(), "threshold": self.threshold, "accuracy": self.accuracy}

    @classmethod
    def of(cls, classes: Sequence[str], fitted: Mapping[str, Any]) -> Self:
        """Of a model's classes and what `as_json` returned."""
        return cls(Taxonomy.of(classes, fitted), fitted["threshold"], fitted["accuracy"])
