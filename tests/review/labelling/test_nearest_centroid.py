"""The nearest centroid, compared with scikit-learn's, and its probabilities."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import normalize

from rsam_app.review.labelling.nearest_centroid import nearest_centroids

RNG = np.random.default_rng(0)
MEAN = RNG.normal(size=8).astype(np.float32)
CENTRES = RNG.normal(size=(3, 8)) * 3
LABELS = np.repeat(np.arange(3), [1, 4, 9])
KNOWN = (CENTRES[LABELS] + RNG.normal(size=(14, 8)) + MEAN).astype(np.float16)
VECTORS = (CENTRES[RNG.integers(0, 3, 200)] + 3 * RNG.normal(size=(200, 8)) + MEAN).astype(np.float16)


def test_it_chooses_as_scikit_learn_does_on_directions() -> None:
    """For centroids of length 1 the nearest and the one of the largest cosine are the same."""
    known, vectors = (normalize(part.astype(np.float64) - MEAN) for part in (KNOWN, VECTORS))
    reference = NearestCentroid().fit(known, LABELS)
    reference.centroids_ = normalize(reference.centroids_)
    best, probabilities = nearest_centroids(KNOWN, LABELS, VECTORS, MEAN)
    assert (best == reference.predict(vectors)).all() and len(set(best.tolist())) == 3
    assert ((probabilities > 1 / 3) & (probabilities <= 1)).all()


def test_an_image_between_two_classes_is_a_guess_and_a_labelled_one_is_sure() -> None:
    known, labels = np.eye(2, dtype=np.float16), np.array([0, 1])
    best, probabilities = nearest_centroids(
        known, labels, np.float16([[1, 1], [1, 0], [0, 1]]), np.zeros(2, np.float32)
    )
    assert np.allclose(probabilities, [0.5, 1, 1], atol=1e-4) and best[1:].tolist() == [0, 1]


def test_the_scale_of_features_does_not_matter() -> None:
    once = nearest_centroids(KNOWN, LABELS, VECTORS, MEAN)
    again = nearest_centroids(KNOWN.astype(np.float32) * 7, LABELS, VECTORS.astype(np.float32) * 7, MEAN * 7)
    assert (once[0] == again[0]).all() and np.allclose(once[1], again[1], atol=1e-4)
