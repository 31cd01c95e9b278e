"""The nearest centroid, compared with scikit-learn's, and its probabilities."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import normalize

from rsam_app.run.label_features import centred_directions
from rsam_app.selection.nearest_centroid import nearest_centroids

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(3, 8)) * 3
CLASSES = np.concatenate([np.repeat(np.arange(3), [1, 4, 9]), RNG.integers(0, 3, 200)])
FEATURES = (CENTRES[CLASSES] + 2 * RNG.normal(size=(214, 8)) + 5).astype(np.float16)
DIRECTIONS, LABELS = centred_directions(FEATURES), CLASSES[:14]


def test_it_chooses_as_scikit_learn_does() -> None:
    """For centroids of length 1 the nearest one and that of the largest cosine are the same."""
    centred = normalize(FEATURES.astype(np.float64) - FEATURES.astype(np.float64).mean(axis=0))
    reference = NearestCentroid().fit(centred[:14], LABELS)
    reference.centroids_ = normalize(reference.centroids_)
    best, probabilities = nearest_centroids(DIRECTIONS[:14], LABELS, DIRECTIONS[14:])
    assert (best == reference.predict(centred[14:])).mean() > 0.98, "but for rounding to half precision"
    assert len(set(best.tolist())) == 3 and ((probabilities > 1 / 3) & (probabilities <= 1)).all()


def test_an_image_between_two_classes_is_a_guess_and_a_labelled_one_is_sure() -> None:
    known, labels = np.eye(2, dtype=np.float16), np.array([0, 1])
    best, probabilities = nearest_centroids(known, labels, np.float16([[0.7071, 0.7071], [1, 0], [0, 1]]))
    assert np.allclose(probabilities, [0.5, 1, 1], atol=1e-4) and best[1:].tolist() == [0, 1]


def test_the_scale_of_features_does_not_matter() -> None:
    again = centred_directions(FEATURES.astype(np.float32) * 7)
    assert np.allclose(again.astype(float), DIRECTIONS.astype(float), atol=1e-3)
