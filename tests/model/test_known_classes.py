"""Known classes: exact distances, a score that means what it says, and a file without surprises."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score

from rsam_app.model.known_classes import KnownClasses
from rsam_app.system.errors import UserError

CENTRES = np.random.default_rng(9).normal(size=(6, 20)) + 1
KNOWN, UNKNOWN = [0, 1, 2, 3], [4, 5]


def drawn(classes: list[int], n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings `(n, 20)` around the centres of these classes, and the classes."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(classes, n)
    return CENTRES[labels] + generator.normal(scale=0.6, size=(n, 20)), labels


def outputs(classes: list[int], n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings, and logits for the four known classes."""
    points, _ = drawn(classes, n, seed)
    return points, -cdist(points, CENTRES[KNOWN], "sqeuclidean") / 2


@pytest.fixture(scope="module")
def known() -> KnownClasses:
    return KnownClasses.fit(*drawn(KNOWN, 200, 0), *outputs(KNOWN, 100, 1))


def test_the_distance_is_that_of_the_nearest_class_mean_by_cosine(known: KnownClasses) -> None:
    points, labels = drawn(KNOWN, 200, 0)
    means = np.stack([points[labels == c].mean(axis=0) for c in range(4)])
    new, _ = drawn([0, 5], 30, 2)
    np.testing.assert_allclose(known.distance(new), cdist(new, means, "cosine").min(axis=1), atol=1e-6)
    np.testing.assert_allclose(known.distance(7 * new), known.distance(new), atol=1e-12)  # length does not count


def test_the_score_is_the_share_of_held_out_images_that_look_more_known(known: KnownClasses) -> None:
    held_out, new = outputs(KNOWN, 100, 1), outputs([1, 4], 40, 3)

    def ranks(points: np.ndarray, logits: np.ndarray) -> list[float]:
        closer = [(known.distance(held_out[0]) < d).mean() for d in known.distance(points)]
        surer = [(logsumexp(held_out[1], axis=1) > value).mean() for value in logsumexp(logits, axis=1)]
        return [(a + b) / 2 for a, b in zip(closer, surer, strict=True)]

    by_hand = [(np.array(ranks(*held_out)) < rank).mean() for rank in ranks(*new)]
    np.testing.assert_allclose(known.unknown_score(*new), by_hand)
    assert known.unknown_score(known.means[:1], np.array([[99.0, 0, 0, 0]])) == 0
    assert known.unknown_score(-known.means[:1], np.array([[-99.0, -99, -99, -99]])) == 1


def test_five_percent_of_new_images_of_known_classes_are_above_95_and_unknown_ones_are(known: KnownClasses) -> None:
    same, other = known.unknown_score(*outputs(KNOWN, 3000, 4)), known.unknown_score(*outputs(UNKNOWN, 300, 5))
    assert (same > 0.95).mean() == pytest.approx(0.05, abs=0.05)
    assert same.mean() == pytest.approx(0.5, abs=0.08)  # uniform in [0, 1]
    assert roc_auc_score(np.repeat([0, 1], [len(same), len(other)]), np.concatenate([same, other])) > 0.9


def test_class_names_serve_as_labels_and_an_unused_class_leaves_no_mean() -> None:
    points, labels = drawn([0, 3], 50, 6)
    named = KnownClasses.fit(points, np.array(["auk", "", "", "wren"])[labels], points, points)
    assert named.means.shape == (2, 20)
    same = KnownClasses.fit(points, labels, points, points)
    np.testing.assert_allclose(named.distance(points), same.distance(points))


def test_broken_and_empty_outputs(known: KnownClasses) -> None:
    points, logits = outputs([0], 3, 7)
    points[1], logits[2] = np.nan, np.inf
    assert np.isnan(known.unknown_score(points, logits)).tolist() == [False, True, True]
    assert known.distance(np.zeros((1, 20))) == 1
    good = CENTRES
    for parts in ((good[:0], good, good), (good, good[:0], good[:0]), (good, points, good), (good, good, logits)):
        with pytest.raises(ValueError, match="finite outputs"):
            KnownClasses.fit(parts[0], np.arange(len(parts[0])), *parts[1:])


def test_a_file_gives_the_same_scores_and_a_damaged_one_is_named(known: KnownClasses, tmp_path) -> None:
    path, new = tmp_path / "known_classes.safetensors", outputs([0, 5], 30, 8)
    known.save(path)
    np.testing.assert_array_equal(KnownClasses.load(path).unknown_score(*new), known.unknown_score(*new))
    for content in (path.read_bytes()[:-5], b"", b"{}"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"known_classes\.safetensors: is damaged .*rsam predict"):
            KnownClasses.load(path)
