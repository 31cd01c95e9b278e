"""Calibration against scikit-learn, by hand, and by inverting a known scaling."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from rsam_app.evaluation.metrics import calibration


@pytest.fixture
def calibrated() -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their probabilities."""
    generator = np.random.default_rng(0)
    logits = generator.normal(scale=2, size=(20_000, 4))
    cumulative = softmax(logits, axis=1).cumsum(axis=1)
    labels = (generator.random(20_000)[:, None] > cumulative).sum(axis=1).clip(max=3)
    return logits, labels


def test_negative_log_likelihood_agrees_with_scikit_learn(calibrated: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = calibrated
    assert calibration.negative_log_likelihood(logits, labels) == pytest.approx(
        log_loss(labels, softmax(logits, axis=1))
    )


def test_negative_log_likelihood_survives_huge_logits() -> None:
    assert calibration.negative_log_likelihood(np.array([[1e4, -1e4]]), np.array([1])) == pytest.approx(2e4)


def test_expected_calibration_error_by_hand() -> None:
    # Two images in (13/15, 14/15], one correct: |0.5 - 0.9|. Two in (0, 1/15], one at its edge: |0.5 - 0.05|.
    confidence = np.array([0.88, 0.92, 1 / 15, 0.1 - 1 / 15])
    curve = calibration.reliability(confidence, np.array([1, 0, 1, 0]))
    assert calibration.expected_calibration_error(curve) == pytest.approx(0.5 * 0.4 + 0.5 * 0.45)
    assert curve.n.tolist() == [2] + [0] * 12 + [2, 0]
    assert np.isnan(curve.accuracy[5])


def test_certainty_and_zero_fall_into_the_outer_bins() -> None:
    assert calibration.reliability(np.array([1.0, 0.0]), np.array([1, 0])).n.tolist() == [1] + [0] * 13 + [1]


def test_reliability_agrees_with_scikit_learn(calibrated: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = calibrated
    confidence, correct = calibration.confidences(logits), logits.argmax(axis=1) == labels
    accuracy, mean = calibration_curve(correct, confidence, n_bins=15, strategy="uniform")
    curve = calibration.reliability(confidence, correct)
    filled = curve.n > 0
    np.testing.assert_allclose(curve.accuracy[filled], accuracy)
    np.testing.assert_allclose(curve.confidence[filled], mean)


@pytest.mark.parametrize("distortion", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_a_scaling_of_the_logits(
    calibrated: tuple[np.ndarray, np.ndarray], distortion: float
) -> None:
    logits, labels = calibrated
    temperature = calibration.fit_temperature(distortion * logits, labels)
    assert temperature == pytest.approx(distortion, rel=0.03)
    scaled = calibration.confidences(distortion * logits, temperature)
    curve = calibration.reliability(scaled, logits.argmax(axis=1) == labels)
    assert calibration.expected_calibration_error(curve) < 0.015


def test_the_temperature_is_bounded_on_data_that_is_separated_perfectly() -> None:
    temperature = calibration.fit_temperature(np.eye(3), np.arange(3))
    assert temperature == pytest.approx(calibration.TEMPERATURES[0], rel=0.01)


def test_without_a_mistake_there_is_no_temperature_to_apply_but_a_reason() -> None:
    labels = np.arange(21) % 3
    logits = np.eye(3)[labels]
    assert calibration.temperature_to_apply(logits, labels) == (
        None,
        "all 21 val images are predicted correctly, so no temperature can be fitted to them",
    )
    assert calibration.temperature_to_apply(logits[:0], labels[:0]) == (None, "no predictions of the val split")
    labels[:5] = 1  # three mistakes: a label's probability must become 18 / 21 = 12 / (12 + 2)
    temperature, reason = calibration.temperature_to_apply(logits, labels)
    assert temperature == pytest.approx(1 / np.log(12), rel=1e-3) and not reason


def test_a_handful_of_images_gives_no_temperature() -> None:
    labels = np.arange(calibration.LEAST_IMAGES) % 3
    logits = np.eye(3)[labels]
    labels[0] = 1
    assert calibration.temperature_to_apply(logits[:1], labels[:1]) == (
        None,
        "val has 1 of the 20 images that it takes; probabilities stay as trained",
    )
    assert calibration.fit_temperature(logits[:1], labels[:1]) == pytest.approx(20, rel=0.01), "it would say 20"
    assert calibration.temperature_to_apply(logits[:-1], labels[:-1])[0] is None
    assert calibration.temperature_to_apply(logits, labels)[0] is not None
