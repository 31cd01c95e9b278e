"""Kept parts are unchanged, erased parts are uninformative; models that use their rectangle, and one that does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from evaluation.known_models import SIZE, clean_outputs, finds_red, red_blocks, redness, runner_of
from scipy.ndimage import gaussian_filter

from rsam_app.evaluation.robustness.counterfactual import BLUR, FILLS, blurred, keep, use
from rsam_app.geometry import rectangles as geometry


def test_inside_and_outside_make_up_the_image() -> None:
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    rectangles = torch.tensor([[30.0, 30, 24, 16, 0.3], [40.0, 20, 20, 20, 0]])
    filled = FILLS["mean_colour"](images)
    inside, outside = (keep(images, filled, rectangles, kept) for kept in (True, False))
    torch.testing.assert_close(inside + outside, images)
    middle, corner = (slice(None), slice(None), 28, 30), (slice(None), slice(None), 60, 4)
    torch.testing.assert_close(inside[0][middle[1:]], images[0][middle[1:]], atol=1e-2, rtol=0)
    assert inside[corner].abs().max() < 1e-6
    torch.testing.assert_close(outside[corner], images[corner])


def test_the_blur_is_gaussian_and_keeps_an_even_image() -> None:
    image = np.zeros((1, 1, 96, 96), np.float32)
    image[0, 0, 40:56, 44:52] = 1
    expected = gaussian_filter(image[0, 0].astype(np.float64), BLUR * 96, mode="constant", truncate=8)
    seen = blurred(torch.from_numpy(image))[0, 0].numpy()
    np.testing.assert_allclose(seen[30:66, 30:66], expected[30:66, 30:66], atol=2e-3)
    even = torch.full((1, 3, 32, 32), 0.7)
    torch.testing.assert_close(blurred(even), even)


def test_a_model_that_decides_by_its_rectangle_scores_near_one() -> None:
    runner, subset = runner_of(finds_red), red_blocks()
    found = use(runner, subset, clean_outputs(runner, subset))
    for fill in FILLS:
        assert found[fill]["difference"] > 0.9, fill
        assert found[fill]["top1_inside"] == 1
        assert found[fill]["top1_outside"] == 0
        assert -1 <= found[fill]["fixed_difference"] <= found[fill]["difference"]


def test_an_irrelevant_rectangle_scores_low() -> None:
    """The class depends on the red block, the rectangle is in an empty corner."""

    def points_elsewhere(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        corner = torch.tensor([[6.0, 6.0, 8.0, 8.0, 0.0]]).expand(len(images), 5)
        return finds_red(images)[0], corner

    runner, subset = runner_of(points_elsewhere), red_blocks()
    found = use(runner, subset, clean_outputs(runner, subset))
    assert found["p_whole"] > 0.99
    for fill in FILLS:
        assert found[fill]["difference"] < -0.9
        assert found[fill]["fixed_difference"] == pytest.approx(found[fill]["difference"], abs=0.02)


def test_a_model_without_rectangle_is_rejected() -> None:
    runner, subset = runner_of(lambda images: (finds_red(images)[0], None)), red_blocks(2)
    with pytest.raises(ValueError, match="no rectangle"):
        use(runner, subset, clean_outputs(runner, subset))


def test_the_stand_in_model_sees_red_only() -> None:
    subset = red_blocks(2)
    assert redness(runner_of(finds_red).normalise(subset.images)).sum() > 50
    rectangles = geometry.from_moments(redness(runner_of(finds_red).normalise(subset.images)))
    assert (rectangles[:, :2] - SIZE / 2).abs().max() < 12
