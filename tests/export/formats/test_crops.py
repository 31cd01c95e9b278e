"""Crops along rectangles: the right pixels, upright, with the smallest turn."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rsam_app.export.formats.crops import upright_crop
from rsam_app.export.subset import export
from rsam_app.geometry.clipping import rectangle_corners
from rsam_app.system.errors import UserError


def gradient(width: int, height: int) -> np.ndarray:
    """Red increases with x, green with y, by one per pixel."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.zeros_like(x)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("angle", [0.0, 0.3, -0.7, 1.2, -1.5, math.pi / 2 - 1e-3, -math.pi / 2])
def test_each_pixel_of_a_crop_is_from_the_right_place(angle: float) -> None:
    image = gradient(200, 160)
    crop = upright_crop(image, (100.0, 80.0, 60.0, 30.0, angle)).astype(float)
    tall = abs(angle) > math.pi / 4
    assert crop.shape == ((60, 30, 3) if tall else (30, 60, 3))
    turn = angle - round(angle / (math.pi / 2)) * math.pi / 2
    rows, columns = np.mgrid[: crop.shape[0], : crop.shape[1]]
    u, v = columns + 0.5 - crop.shape[1] / 2, rows + 0.5 - crop.shape[0] / 2
    x, y = 100 + u * math.cos(turn) - v * math.sin(turn), 80 + u * math.sin(turn) + v * math.cos(turn)
    np.testing.assert_allclose(crop[..., 0], x - 0.5, atol=0.75)
    np.testing.assert_allclose(crop[..., 1], y - 0.5, atol=0.75)
    assert crop[-1].mean(axis=0)[1] > crop[0].mean(axis=0)[1], "up stays up"


def test_an_upright_rectangle_is_cut_out_exactly() -> None:
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    np.testing.assert_array_equal(upright_crop(image, (30.0, 25.0, 20.0, 10.0, 0.0)), image[20:30, 20:40])


def test_the_border_is_repeated_outside() -> None:
    image = gradient(40, 30)
    crop = upright_crop(image, (0.0, 15.0, 20.0, 10.0, 0.0))
    assert (crop[:, :10, 0] == 0).all() and (crop[0, :, 1] == 10).all()


def test_items_without_a_rectangle_are_left_out_and_counted(aviary: Any, load: Any, tmp_path: Path) -> None:
    report = export(aviary.items, "crops", tmp_path / "out", source=aviary.source)
    with_rectangle = [i for i in aviary.items if i.rectangle and not i.excluded]
    assert report.images == len(with_rectangle)
    assert any("are left out: they have no rectangle inside the image" in note for note in report.notes)
    drawn = next(i for i in with_rectangle if i.rectangle_by == "person")
    corners = np.array(rectangle_corners(drawn.rectangle))
    name = next(line for line in (tmp_path / "out" / "records.csv").read_text().splitlines() if drawn.record.id in line)
    with Image.open(tmp_path / "out" / name.split(",")[0].strip('"')) as crop:
        assert crop.size == tuple(np.linalg.norm(np.diff(corners, axis=0), axis=1)[:2].round().astype(int))
    again = load("folder", tmp_path / "out")
    assert len(again.records) == len(with_rectangle) and not again.skipped


def test_nothing_to_crop_is_reported(aviary: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="all 1 images with the tag 'good' have no rectangle inside the image"):
        export([replace(aviary.items[1], rectangle=None)], "crops", tmp_path / "out", source=aviary.source)
