"""Soft masks of a predictions table."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from rsam_app.run.soft_masks import mask_file, masks_folder, place_masks, prepare_masks

IDS = ["a/b.jpg", "../odd: ä.png"]


def test_masks_are_small_smooth_images_of_the_same_values(tmp_path: Path) -> None:
    table = tmp_path / "test.parquet"
    masks = np.zeros((2, 7, 5), np.uint8)
    masks[0, 2:5, 1:4] = 255
    masks[1] = 40
    place_masks(table, prepare_masks(table, IDS, masks))
    first, second = (cv2.imread(str(mask_file(masks_folder(table), i)), cv2.IMREAD_UNCHANGED) for i in IDS)
    assert first.shape == second.shape == (56, 40)
    assert first.dtype == np.uint8
    assert (second == 40).all()
    assert (first[28, 20], first[0, 0]) == (255, 0)
    assert first.mean() == pytest.approx(masks[0].mean(), rel=0.05)


def test_masks_of_an_older_table_do_not_stay(tmp_path: Path) -> None:
    table = tmp_path / "test.parquet"
    masks = np.full((2, 3, 3), 9, np.uint8)
    place_masks(table, prepare_masks(table, IDS, masks))
    aside = prepare_masks(table, IDS[:1], masks[:1])
    assert not masks_folder(table).exists(), "between the tables there are none"
    place_masks(table, aside)
    assert [mask_file(masks_folder(table), i).exists() for i in IDS] == [True, False]
    place_masks(table, prepare_masks(table, IDS, None))
    assert list(tmp_path.iterdir()) == []


def test_a_mask_is_needed_for_every_record(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        prepare_masks(tmp_path / "test.parquet", IDS, np.zeros((1, 3, 3), np.uint8))
