"""Wrong labels are planted as requested, and found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cleanlab.rank import get_label_quality_scores

from rsam_app.selection.simulation.label_noise import (
    SCORES,
    Score,
    measure_label_noise,
    normalised_margin,
    self_confidence,
    sibling_errors,
    siblings_of,
    uniform_errors,
)
from rsam_app.selection.simulation.logistic import scaled
from rsam_app.selection.simulation.rounds import Oracle
from rsam_app.system.errors import UserError


def test_uniform_errors_change_the_requested_number_of_labels() -> None:
    labels = np.arange(2000) % 5
    noisy = uniform_errors(labels, 5, 400, np.random.default_rng(0))
    assert (noisy != labels).sum() == 400
    shifts = np.bincount((noisy - labels) % 5)[1:]
    assert shifts.min() > 70 and shifts.max() < 130


def test_sibling_errors_stay_in_the_family() -> None:
    labels = np.arange(300) % 3
    noisy = sibling_errors(labels, [[1], [0], []], 60, np.random.default_rng(0))
    changed = noisy != labels
    assert changed.sum() == 60 and (labels[changed] < 2).all() and (noisy[changed] < 2).all()


def test_siblings_share_the_last_word_or_are_the_nearest() -> None:
    points = np.array([[0.0], [1.0], [10.0]])
    assert siblings_of(["Sooty_Albatross", "Laysan Albatross", "Ani"], points, np.arange(3)) == [[1], [0], []]
    assert siblings_of(["a", "b", "c"], points, np.arange(3)) == [[1], [0], [1]]
    alike = ["red beetle", "blue beetle", "green beetle"]
    assert siblings_of(alike, points, np.arange(3)) == [[1], [0], [1]], (
        "a word that all names share carries no information"
    )
    few = ["bull terrier", "fox terrier", "pug", "boxer", "poodle"]
    places = np.array([[0.0], [4.0], [5.0], [20.0], [19.0]])
    assert siblings_of(few, places, np.arange(5)) == [[1], [2], [1], [4], [3]], (
        "errors would concentrate in two classes"
    )


@pytest.mark.parametrize("name", SCORES)
def test_every_score_equals_its_definition(name: str) -> None:
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(4), 30), rng.integers(0, 4, 30)
    for p, label, score in zip(probabilities, labels, SCORES[name](probabilities, labels), strict=True):
        other = max(v for c, v in enumerate(p) if c != label)
        certain = np.exp(sum(v * np.log(v) for v in p))
        expected = {
            "self_confidence": 1 - p[label],
            "normalised_margin": other - p[label],
            "label_quality": other / (other + p[label]),
            "mistakenness": (1 - certain) / 2 if p.argmax() == label else (1 + certain) / 2,
        }
        assert score == pytest.approx(expected[name], abs=1e-6)


def test_planted_errors_are_found_in_blobs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 40)
    points = scaled(rng.normal(size=(4, 12))[labels] * 3 + rng.normal(size=(160, 12)))
    oracle = Oracle(points, labels, points, labels, 4)
    summary = measure_label_noise(oracle, ["a", "b", "c", "d"], 0.1, 2, tmp_path)
    assert json.loads((tmp_path / "label_errors.json").read_text()) == summary
    best = {row["errors"]: row["auprc"] for row in summary["scores"] if row["score"] == "label_quality"}
    assert best["uniform"] > 0.9 and best["siblings"] > 0.9
    for share in (0.0, 0.7):
        with pytest.raises(UserError, match="expected a share"):
            measure_label_noise(oracle, ["a", "b", "c", "d"], share, 2, tmp_path)


@pytest.mark.parametrize(
    ("score", "method"), [(self_confidence, "self_confidence"), (normalised_margin, "normalized_margin")]
)
def test_the_baselines_rank_as_cleanlab_does(score: Score, method: str) -> None:
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(5), size=200), rng.integers(0, 5, size=200)
    quality = get_label_quality_scores(labels, probabilities, method=method)
    np.testing.assert_array_equal(np.argsort(-score(probabilities, labels)), np.argsort(quality))
