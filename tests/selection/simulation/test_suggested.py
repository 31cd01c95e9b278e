"""Suggestions in a simulation are those of `rsam label`, label by label."""

from __future__ import annotations

import numpy as np

from rsam_app.run.label_features import centred_directions
from rsam_app.selection.nearest_centroid import nearest_centroids
from rsam_app.selection.simulation.suggested import suggested_right


def test_each_suggestion_is_that_of_the_labels_before_it() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 40)
    points = np.eye(4)[labels] + 0.8 * rng.normal(size=(40, 4))
    directions = centred_directions(points)
    order = rng.permutation(40)[:30]
    expected = []
    for count, row in enumerate(order):
        names, known = np.unique(labels[order[:count]], return_inverse=True)
        if len(names) < 2:
            expected.append(False)
            continue
        best, _ = nearest_centroids(directions[order[:count]], known, directions[[row]])
        expected.append(bool(names[best[0]] == labels[row]))
    right = suggested_right(points, labels, order)
    assert right.tolist() == expected and 0 < right.sum() < 30


def test_without_a_second_class_nothing_is_suggested() -> None:
    assert not suggested_right(np.eye(3), np.zeros(3, dtype=int), np.arange(3)).any()
