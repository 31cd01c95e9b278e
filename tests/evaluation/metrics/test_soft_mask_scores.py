"""Energy and PxAP against scikit-learn and by hand; rendering against the rectangle itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from rsam_app.data.records import Record
from rsam_app.evaluation.metrics import soft_mask_scores
from rsam_app.evaluation.metrics.max_box_accuracy import LEVELS, threshold_levels
from rsam_app.geometry.overlap import rasterise


def test_a_rendered_mask_tends_to_the_rectangle_in_an_image_of_another_shape() -> None:
    rectangle = np.array([[200.0, 90, 120, 60, 0.0]])
    mask = next(soft_mask_scores.render(rectangle, np.array([[400.0, 200]]), softness=0.001))
    upright = rasterise(np.array([112.0, 100.8, 67.2, 67.2, 0]), 224, 224)  # the same, squeezed to the square grid
    assert np.mean((mask > 0.5) != upright) < 0.003


def test_pixel_average_precision_agrees_with_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    truth = generator.random(3000) < 0.3
    levels = np.clip(generator.normal(400 + 150 * truth, 200), 0, 999).astype(int)
    found = soft_mask_scores.pixel_average_precision(
        np.bincount(levels, weights=truth, minlength=LEVELS), np.bincount(levels, minlength=LEVELS).astype(float)
    )
    assert found == pytest.approx(average_precision_score(truth, levels))


def test_coverage_is_the_boxes_area_and_counts_an_overlap_once() -> None:
    boxes = np.array([[0.13, 0.2, 0.57, 0.91]])
    assert soft_mask_scores.cell_coverage(boxes, 10).mean() == pytest.approx(0.44 * 0.71)
    twice = np.concatenate([boxes, boxes])
    assert soft_mask_scores.cell_coverage(twice, 10).mean() == pytest.approx(0.44 * 0.71)


def test_energy_inside_is_one_within_the_object_and_its_area_for_an_even_mask() -> None:
    coverage = soft_mask_scores.cell_coverage(np.array([[0.25, 0.25, 0.75, 0.75]]), 8)
    even = np.ones((8, 8), dtype=np.float32)
    assert soft_mask_scores.energy_inside(even, coverage) == pytest.approx(0.25)
    assert soft_mask_scores.energy_inside(even * (coverage > 0), coverage) == 1
    assert np.isnan(soft_mask_scores.energy_inside(0 * even, coverage))


def test_records_without_truth_are_left_out() -> None:
    bare = Record("a", Path("a"), "x", "test", 100, 80)
    boxed = Record("b", Path("b"), "x", "test", 100, 80, boxes=((10.0, 10, 40, 40),))
    rectangles = np.array([[50.0, 40, 30, 30, 0], [30, 30, 40, 40, 0]])
    scores = soft_mask_scores.score_soft_masks(rectangles, [bare, boxed], "boxes", softness=0.01)
    assert scores.best_iou.shape == (1, LEVELS)
    assert scores.best_iou.max() > 0.97
    assert scores.energy_inside[0] > 0.9
    assert scores.all_pixels.sum() == soft_mask_scores.GRID**2


def test_level_counts_hold_every_pixel_once() -> None:
    mask = next(soft_mask_scores.render(np.array([[40.0, 40, 30, 20, 0.5]]), np.array([[80.0, 80]]), softness=0.05))
    assert np.bincount(threshold_levels(mask).ravel(), minlength=LEVELS).sum() == mask.size
