"""MaxBoxAccV2 against brute force: every threshold, with another library's connected components."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from rsam_app.evaluation.metrics import max_box_accuracy
from rsam_app.geometry import rectangles as geometry


def brute_force(soft_mask: np.ndarray, true_boxes: np.ndarray) -> np.ndarray:
    """The definition, threshold by threshold."""
    height, width = soft_mask.shape
    mask = soft_mask.astype(np.float64)
    best = np.zeros(1000)
    for k in range(1000):
        region = (mask >= k / 1000 * mask.max()).astype(np.uint8)
        contours, _ = cv2.findContours(region, cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
        for contour in contours:
            columns, rows = contour[:, 0, 0], contour[:, 0, 1]
            left, right = columns.min() / width, (columns.max() + 1) / width
            top, bottom = rows.min() / height, (rows.max() + 1) / height
            for x0, y0, x1, y1 in true_boxes:
                shared = max(0, min(right, x1) - max(left, x0)) * max(0, min(bottom, y1) - max(top, y0))
                union = (right - left) * (bottom - top) + (x1 - x0) * (y1 - y0) - shared
                best[k] = max(best[k], shared / union)
    return best


def assert_brute_force(soft_mask: np.ndarray, true_boxes: np.ndarray) -> None:
    soft_mask = soft_mask.astype(np.float32)
    levels = max_box_accuracy.threshold_levels(soft_mask)
    found = max_box_accuracy.best_iou_by_threshold(soft_mask, levels, true_boxes)
    np.testing.assert_allclose(found, brute_force(soft_mask, true_boxes), atol=1e-6)


BOXES = np.array([[0.2, 0.3, 0.7, 0.8], [0.0, 0.0, 0.3, 0.2]])


@pytest.mark.parametrize("softness", [0.05, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("seed", range(3))
def test_rendered_rectangles(softness: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    rectangle = [*generator.uniform(5, 55, 2), *generator.uniform(1, 50, 2), generator.uniform(-1.5, 1.5)]
    assert_brute_force(geometry.soft_mask(torch.tensor([rectangle]), 48, 60, softness)[0].numpy(), BOXES)


def test_a_thin_slanted_rectangle_falls_apart_on_the_grid() -> None:
    assert_brute_force(geometry.soft_mask(torch.tensor([[30.0, 24, 50, 0.4, 0.31]]), 48, 60, 0.15)[0].numpy(), BOXES)


def test_several_peaks_and_holes() -> None:
    y, x = np.mgrid[:48, :60]
    ring = np.exp(-((np.hypot(x - 30, y - 24) - 14) ** 2) / 20) * (1 + 0.2 * (x > 30))
    noise = cv2.GaussianBlur(np.random.default_rng(0).random((48, 60)), (0, 0), 3)
    for soft_mask in (ring, noise):
        assert_brute_force(soft_mask, BOXES)


def test_a_rectangle_outside_the_image_and_even_masks() -> None:
    assert_brute_force(geometry.soft_mask(torch.tensor([[-20.0, -9, 10, 8, 0.4]]), 48, 60, 1.0)[0].numpy(), BOXES)
    assert_brute_force(np.full((48, 60), 0.3), BOXES)


def test_a_mask_of_zeros_has_no_box() -> None:
    zeros = np.zeros((48, 60), dtype=np.float32)
    levels = max_box_accuracy.threshold_levels(zeros)
    assert not max_box_accuracy.best_iou_by_threshold(zeros, levels, BOXES).any()


def test_levels_are_the_highest_threshold_reached() -> None:
    mask = np.random.default_rng(0).random((40, 50)).astype(np.float32) * 0.37
    levels = max_box_accuracy.threshold_levels(mask)
    peak = float(mask.max())
    for k in (0, 1, 17, 500, 999):
        assert np.array_equal(levels >= k, mask.astype(np.float64) >= k / 1000 * peak)


def test_thresholds_are_an_oracle_unless_given() -> None:
    best_iou = np.zeros((4, 1000), dtype=np.float32)
    best_iou[:3, 200] = 0.6
    best_iou[:2, 700] = 0.9
    accuracy, chosen = max_box_accuracy.max_box_accuracy(best_iou)
    assert accuracy.tolist() == [0.75, 0.75, 0.5]
    assert chosen.tolist() == [200, 200, 700]
    frozen, _ = max_box_accuracy.max_box_accuracy(best_iou, np.array([700, 700, 200]))
    assert frozen.tolist() == [0.5, 0.5, 0]
