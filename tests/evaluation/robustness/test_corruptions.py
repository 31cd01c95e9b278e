"""Each corruption damages an image, more at a higher severity, and reproducibly."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation.known_models import always_the_same, clean_outputs, finds_red, red_blocks, runner_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rsam_app.evaluation.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt, corruption_robustness


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """A smooth coloured scene with an edge."""
    y, x = np.mgrid[0:112, 0:112] / 112
    scene = np.stack([0.3 + 0.4 * x, 0.6 - 0.3 * y, 0.4 + 0.2 * np.sin(9 * x * y)], axis=-1)
    scene[30:70, 40:80] *= 0.4
    return np.rint(255 * scene).astype(np.uint8)


def damage(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(float) - second).mean())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severity_zero_is_the_image_and_more_is_worse(name: str, photograph: np.ndarray) -> None:
    corrupted = [corrupt(photograph, name, severity, 0, "a") for severity in range(6)]
    np.testing.assert_array_equal(corrupted[0], photograph)
    assert all(s.shape == photograph.shape and s.dtype == np.uint8 for s in corrupted)
    harm = [damage(s, photograph) for s in corrupted]
    if name == "saturation":  # two severities paler, three more vivid
        assert 0 < harm[1] < harm[2]
        assert 0 < harm[3] < harm[4] < harm[5]
    else:
        assert 0.1 < harm[1] < harm[3] < harm[5]
    np.testing.assert_array_equal(corrupted[3], corrupt(photograph, name, 3, 0, "a"))


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "motion_blur", "haze"])
def test_what_is_random_depends_on_seed_and_image(name: str, photograph: np.ndarray) -> None:
    seen = corrupt(photograph, name, 3, 0, "a")
    assert damage(seen, corrupt(photograph, name, 3, 1, "a")) > 0.05
    assert damage(seen, corrupt(photograph, name, 3, 0, "b")) > 0.05


@pytest.mark.parametrize("name", ["defocus_blur", "motion_blur", "pixelate", "contrast"])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_uniform_image_stays_uniform(name: str, severity: int) -> None:
    even = np.full((48, 48, 3), (120, 90, 60), np.uint8)
    assert damage(corrupt(even, name, severity, 0, "a"), even) < 2


def test_noise_is_as_strong_as_stated() -> None:
    grey = np.full((128, 128, 3), 128, np.uint8)
    assert corrupt(grey, "gaussian_noise", 1, 0, "a").std() / 255 == pytest.approx(0.08, rel=0.03)
    assert corrupt(grey, "shot_noise", 1, 0, "a").std() / 255 == pytest.approx(np.sqrt(0.502 / 60), rel=0.03)


def test_a_blur_reaches_as_far_in_a_larger_input() -> None:
    """A point spreads over the same share of the side at 112 and at 224 pixels."""

    def spread(size: int) -> float:
        image = np.zeros((size, size, 3), np.uint8)
        image[size // 2 - size // 28 : size // 2 + size // 28, size // 2 - size // 28 : size // 2 + size // 28] = 255
        return float((corrupt(image, "defocus_blur", 5, 0, "a")[..., 0] > 4).mean())

    assert spread(112) == pytest.approx(spread(224), rel=0.1)


@settings(deadline=None, max_examples=30)
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(32, 40), st.integers(32, 40), st.just(3))),
    st.sampled_from(sorted(CORRUPTIONS)),
    st.sampled_from((1, 5)),
)
def test_any_image_can_be_corrupted(image: np.ndarray, name: str, severity: int) -> None:
    assert corrupt(image, name, severity, 0, "a").shape == image.shape


def test_an_unknown_severity_is_refused(photograph: np.ndarray) -> None:
    with pytest.raises(ValueError, match="0 to 5"):
        corrupt(photograph, "jpeg", 6, 0, "a")


def test_a_model_that_ignores_the_image_is_robust_and_stable() -> None:
    runner, subset = runner_of(always_the_same), red_blocks(3)
    right = type(subset)(subset.records, np.zeros(3, dtype=np.int64), subset.images)
    found = corruption_robustness(runner, right, clean_outputs(runner, right), seed=0)
    assert found["clean_top1"] == found["top1"] == found["relative"] == 1
    assert found["rotated_iou"] == pytest.approx(1)
    assert set(found["by_corruption"]) == set(CORRUPTIONS)
    assert all(len(entry["top1_by_severity"]) == len(SEVERITIES) for entry in found["by_corruption"].values())


def test_a_model_that_is_never_right_has_no_relative_accuracy() -> None:
    runner, subset = runner_of(always_the_same), red_blocks(2)
    assert corruption_robustness(runner, subset, clean_outputs(runner, subset), seed=0)["relative"] is None


def test_a_rectangle_that_follows_colour_is_disturbed() -> None:
    runner, subset = runner_of(finds_red), red_blocks(3)
    found = corruption_robustness(runner, subset, clean_outputs(runner, subset), seed=0)
    by = found["by_corruption"]
    assert by["jpeg"]["rotated_iou"] > 0.6
    assert by["gaussian_noise"]["rotated_iou"] < by["jpeg"]["rotated_iou"]
    assert found["rotated_iou"] == pytest.approx(np.mean([entry["rotated_iou"] for entry in by.values()]))
