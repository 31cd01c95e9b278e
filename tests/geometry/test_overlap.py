"""Overlaps against Monte-Carlo estimates, and for rectangles outside the image or without area."""

from __future__ import annotations

import numpy as np
import pytest

from rsam_app.geometry import overlap


def inside(points: np.ndarray, rectangle: np.ndarray) -> np.ndarray:
    """Return whether points lie in a rectangle, by their coordinates in its own frame."""
    cx, cy, width, height, angle = rectangle
    local = (points - [cx, cy]) @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (np.abs(local) <= [width / 2, height / 2]).all(axis=1)


def test_rotated_overlap_agrees_with_counting_random_points() -> None:
    generator = np.random.default_rng(1)
    points = generator.uniform(-60, 160, (400_000, 2))
    for _ in range(15):
        rectangle = np.concatenate(
            [generator.uniform(20, 80, 2), generator.uniform(15, 90, 2), generator.uniform(-2, 2, 1)]
        )
        low = generator.uniform(0, 50, 2)
        edges = np.concatenate([low, low + generator.uniform(15, 60, 2)])
        in_r = inside(points, rectangle)
        in_g = ((points >= edges[:2]) & (points <= edges[2:])).all(axis=1)
        both = (in_r & in_g).sum()
        found = [float(v[0]) for v in overlap.rotated_overlap(rectangle[None], edges[None])]
        assert found == pytest.approx([both / (in_r | in_g).sum(), both / in_r.sum(), both / in_g.sum()], abs=0.02)


def test_a_quarter_turn_swaps_width_and_height() -> None:
    first = np.array([[50.0, 40, 30, 10, 0.4]])
    same = np.array([[50.0, 40, 10, 30, 0.4 - np.pi / 2]])
    assert overlap.rotated_iou(first, same)[0] == pytest.approx(1)


def test_positive_angles_turn_clockwise_as_displayed() -> None:
    falling = np.array([50.0, 50, 80, 4, np.pi / 4])  # from top left to bottom right, y down
    mask = overlap.rasterise(falling, 100, 100)
    assert mask[70, 70]
    assert not mask[30, 70]


def test_the_upright_box_is_clipped_and_empty_outside_the_image() -> None:
    rectangles = np.array([[0.0, 5, 10, 4, 0], [-50, -50, 10, 10, 0.3]])
    edges = overlap.upright_edges(rectangles, np.array([[20.0, 10]] * 2))
    np.testing.assert_allclose(edges[0], [0, 3, 5, 7])
    assert overlap.box_iou(edges, np.array([[0.0, 0, 20, 10]] * 2)).tolist() == [0.1, 0]


@pytest.mark.parametrize("size", [(0.0, 0.0), (0.0, 12.0), (1e-12, 5.0)])
def test_a_rectangle_without_area_overlaps_nothing(size: tuple[float, float]) -> None:
    found = overlap.rotated_overlap(np.array([[5.0, 5, *size, 0.2]]), np.array([[0.0, 0, 10, 10]]))
    assert [float(v[0]) for v in found] == [0, 0, 0]


def test_visible_areas_are_shares_of_the_image() -> None:
    rectangles = np.array([[10.0, 10, 100, 100, 0.3], [10, 10, 10, 5, 0], [0, 0, 10, 10, 0], [-99, 0, 5, 5, 0]])
    found = overlap.visible_areas(rectangles, np.array([[20.0, 20]] * 4))
    np.testing.assert_allclose(found, [1, 50 / 400, 25 / 400, 0], atol=1e-12)


def test_pixels_agree_with_polygons() -> None:
    generator = np.random.default_rng(5)
    box = np.zeros((300, 400), dtype=bool)
    box[60:220, 90:330] = True
    for _ in range(10):
        rectangle = np.array(
            [*generator.uniform(140, 260, 2), *generator.uniform(40, 130, 2), generator.uniform(-1.5, 1.5)]
        )
        pixels = overlap.pixel_overlap(overlap.rasterise(rectangle, 300, 400), box)
        polygons = overlap.rotated_overlap(rectangle[None], np.array([[90.0, 60, 330, 220]]))
        assert pixels == pytest.approx([float(v[0]) for v in polygons], abs=0.015)


def test_an_empty_region_overlaps_nothing() -> None:
    empty, full = np.zeros((4, 4), dtype=bool), np.ones((4, 4), dtype=bool)
    assert overlap.pixel_overlap(empty, full) == (0, 0, 0)
    assert overlap.pixel_overlap(full, empty) == (0, 0, 0)
