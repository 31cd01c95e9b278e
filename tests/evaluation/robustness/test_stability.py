"""A model that follows the object is stable, one that points at a fixed place is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from evaluation.known_models import MEAN, SIZE, STD, always_the_same, clean_outputs, finds_red, red_blocks, runner_of

from rsam_app.evaluation.robustness.stability import TRANSFORMS, angle_errors, recolour, stability, transformed
from rsam_app.geometry.image_views import GEOMETRIC, warp


def test_rectangles_go_where_the_pixels_go() -> None:
    """The block's pixels in the view are where its transformed rectangle is."""
    runner, subset = runner_of(finds_red), red_blocks(4)
    images = runner.normalise(subset.images)
    clean = finds_red(images)[1].double().numpy()
    for name, make in GEOMETRIC.items():
        seen = finds_red(warp(images, make(SIZE)))[1].double().numpy()
        moved = transformed(clean, make(SIZE).double())
        np.testing.assert_allclose(seen[:, :4], moved[:, :4], atol=0.6, err_msg=name)
        assert angle_errors(moved, seen).max() < 0.03, name


def test_a_model_that_follows_the_object_is_stable() -> None:
    runner, subset = runner_of(finds_red), red_blocks()
    found = stability(runner, subset, clean_outputs(runner, subset))
    assert set(found["by_transform"]) == set(TRANSFORMS)
    assert found["rotated_iou"] > 0.93
    assert found["angle_error"] < 0.02
    assert found["same_class"] == found["top1"] == 1
    assert found["fixed_rotated_iou"] < 0.85
    assert found["in_frame"] == pytest.approx(1, abs=0.02)
    assert found["by_transform"]["flip"]["rotated_iou"] > 0.97


def test_a_model_that_points_at_a_place_is_not() -> None:
    runner, subset = runner_of(always_the_same), red_blocks()
    found = stability(runner, subset, clean_outputs(runner, subset))
    assert found["by_transform"]["flip"]["rotated_iou"] < 0.1
    assert found["by_transform"]["flip"]["angle_error"] == pytest.approx(0.8, abs=1e-5)  # from .4 to -.4
    assert found["by_transform"]["rotate_right"]["angle_error"] == pytest.approx(math.radians(15), abs=1e-5)
    assert found["by_transform"]["colour"]["rotated_iou"] == pytest.approx(1)
    for entry in found["by_transform"].values():
        assert entry["rotated_iou"] == pytest.approx(entry["fixed_rotated_iou"], abs=1e-5)
    assert found["same_class"] == 1
    assert found["top1"] == 0


def test_without_attention_only_classes_are_compared() -> None:
    runner, subset = runner_of(lambda images: (finds_red(images)[0], None)), red_blocks(3)
    found = stability(runner, subset, clean_outputs(runner, subset))
    assert {"n", "same_class", "top1", "by_transform"} == set(found)


def test_in_frame_is_the_share_that_the_crop_keeps() -> None:
    """A rectangle over the whole image loses 1 - .8² of itself to the crop, and nothing to a flip."""
    whole = torch.tensor([[SIZE / 2, SIZE / 2, SIZE, SIZE, 0.0]])
    runner = runner_of(lambda images: (torch.zeros(len(images), 2), whole.expand(len(images), 5)))
    subset = red_blocks(2)
    found = stability(runner, subset, clean_outputs(runner, subset))["by_transform"]
    assert found["crop"]["in_frame"] == pytest.approx(0.64, abs=1e-5)
    assert found["flip"]["in_frame"] == found["scale"]["in_frame"] == pytest.approx(1, abs=1e-5)


def test_angles_are_compared_modulo_what_a_rectangle_is() -> None:
    def of(angle: float, height: float) -> np.ndarray:
        return np.array([[0, 0, 10, height, angle]], dtype=np.float64)

    assert angle_errors(of(1.5, 4), of(-1.5, 4))[0] == pytest.approx(math.pi - 3)
    assert angle_errors(of(0.0, 4), of(math.pi / 2, 4))[0] == pytest.approx(math.pi / 2)
    assert angle_errors(of(0.1, 9), of(math.pi / 2, 9))[0] == pytest.approx(0.1)
    assert angle_errors(of(0.0, 9), of(math.pi / 4, 9))[0] == pytest.approx(math.pi / 4)


def test_recolouring_keeps_grey_grey_and_brightens() -> None:
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    grey = torch.full((1, 3, 4, 4), 0.5)
    seen = recolour((grey - mean) / std, mean, std) * std + mean
    torch.testing.assert_close(seen, torch.full_like(seen, 0.6), atol=2e-3, rtol=0)
