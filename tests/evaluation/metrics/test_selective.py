"""Risk and coverage by hand, against a loop, and whatever the order of the images."""

from __future__ import annotations

import numpy as np
import pytest

from rsam_app.evaluation.metrics.selective import RiskCoverage, selective_figures


def test_risk_area_and_accuracy_by_hand() -> None:
    found = RiskCoverage.of(np.array([0.2, 0.9, 0.6, 0.8, 0.4]), np.array([0, 1, 0, 1, 1]))
    assert found.risk().tolist() == pytest.approx([0, 0, 1 / 3, 1 / 4, 2 / 5])
    assert found.area() == pytest.approx((1 / 3 + 1 / 4 + 2 / 5) / 5)
    assert found.accuracy(0.8) == pytest.approx(3 / 4)
    assert found.accuracy(0.4) == 1
    assert found.accuracy(0.41) == pytest.approx(2 / 3)  # rounded up to three images
    assert found.accuracy(1) == pytest.approx(3 / 5)


def test_equally_confident_images_count_alike_in_any_order() -> None:
    confidence, right = np.array([0.5, 0.5, 0.5, 0.5]), np.array([1, 0, 0, 1])
    for order in (np.arange(4), np.array([1, 2, 0, 3])):
        found = RiskCoverage.of(confidence[order], right[order])
        assert found.accuracy(0.5) == found.accuracy(0.25) == 0.5
        assert found.area() == pytest.approx(0.5)


def test_resampled_images_give_what_a_loop_gives() -> None:
    generator = np.random.default_rng(0)
    confidence, right = generator.random(50), generator.random(50) < 0.7
    found, order = RiskCoverage.of(confidence, right), np.argsort(-confidence)
    rows = generator.integers(0, 50, 50)
    again = np.sort(rows)  # the most confident first
    hits = right[order][again]
    assert found.accuracy(0.8, rows) == pytest.approx(hits[:40].mean())
    last = [np.flatnonzero(again == row).max() for row in again]  # repeats of an image are equally confident
    assert found.area(rows) == pytest.approx(np.mean([1 - hits[: place + 1].mean() for place in last]))


def test_a_useful_confidence_is_better_than_none_and_the_interval_holds_it() -> None:
    generator = np.random.default_rng(1)
    confidence = generator.random(2000)
    right = generator.random(2000) < confidence
    figures = selective_figures(confidence, right)
    none = selective_figures(generator.random(2000), right)
    assert figures["aurc"] < 0.3 < none["aurc"]
    assert figures["accuracy_at_80"] > figures["accuracy_at_90"] > right.mean()
    for key in ("aurc", "accuracy_at_80", "accuracy_at_90"):
        low, high = figures[f"{key}_interval"]
        assert low < figures[key] < high and high - low < 0.06
    curve = figures["curve"]
    assert len(curve) == 100 and curve[-1] == {"coverage": 1, "risk": pytest.approx(1 - right.mean())}
    assert [point["coverage"] for point in curve] == sorted(point["coverage"] for point in curve)


def test_a_single_image_has_figures_and_no_interval() -> None:
    figures = selective_figures(np.array([0.7]), np.array([True]))
    assert (figures["aurc"], figures["accuracy_at_90"]) == (0, 1)
    assert np.isnan(figures["aurc_interval"]).all() and figures["curve"] == [{"coverage": 1, "risk": 0}]
