"""Exchanged surroundings: the content of the target rectangle stays, everything else is another image's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rsam_app.config import AugmentConfig
from rsam_app.data.augmentation.random_view import TrainAugment
from rsam_app.data.augmentation.surroundings import exchange_surroundings
from rsam_app.data.loader import Views
from rsam_app.data.records import Record
from rsam_app.geometry.types import Rectangle

SIDE, COUNT = 64, 12
TARGET = Rectangle(32.0, 32.0, 20.0, 12.0, 0.0)


def test_content_stays_and_the_other_images_object_gives_way():
    view = np.full((SIDE, SIDE, 3), 10, np.uint8)
    other = np.full((SIDE, SIDE, 3), 200, np.uint8)
    other[4:14, 4:24] = 90
    hidden = torch.tensor([14.0, 9.0, 20.0, 10.0, 0.0])
    mixed = exchange_surroundings(view, torch.tensor(TARGET), other, hidden)
    assert (mixed[28:36, 24:40] <= 12).all()
    assert (mixed[50:, :] == 200).all() and (mixed[6:12, 6:22] > 195).all()
    assert (exchange_surroundings(view, torch.tensor(TARGET), other, None)[6:12, 6:22] == 90).all()


@pytest.fixture
def views(photographs):
    """Views of flat images, each of its own grey, with or without targets."""

    def make(exchanged: float, target: Rectangle | None = TARGET, augment: bool = False, count: int = COUNT) -> Views:
        chosen = photographs[:count]
        boxes = {record.id: (target, 5.0) for record in chosen} if target else {}
        random = TrainAugment(AugmentConfig(color=0), SIDE) if augment else None
        return Views(chosen, {"a": 0}, SIDE, random, boxes, 3, exchanged)

    return make


@pytest.fixture
def photographs(tmp_path) -> list[Record]:
    import cv2

    records = []
    for row in range(COUNT):
        path = tmp_path / f"{row}.png"
        cv2.imwrite(str(path), np.full((SIDE, SIDE, 3), 20 * row, np.uint8))
        records.append(Record(path.name, Path(path), "a", "train", SIDE, SIDE))
    return records


def test_all_views_get_the_surroundings_of_another_image(views):
    batch = views(1.0).__getitems__([(0, i) for i in range(COUNT)])
    inside, outside = batch["image"][:, 0, 32, 32], batch["image"][:, 0, 2, 2]
    assert inside.tolist() == [20 * row for row in range(COUNT)]
    assert all(o != i and o % 20 == 0 for i, o in zip(inside.tolist(), outside.tolist(), strict=True))
    assert len(set(outside.tolist())) > COUNT / 3
    assert torch.equal(batch["target"], views(0.0).__getitems__([(0, i) for i in range(COUNT)])["target"])


def test_a_share_of_the_views_is_exchanged_in_any_batch_alike(views):
    draws = [(epoch, i) for epoch in range(20) for i in range(COUNT)]
    plain, mixed = (views(share).__getitems__(draws)["image"] for share in (0.0, 0.25))
    changed = (plain != mixed).flatten(1).any(dim=1)
    assert 0.15 < float(changed.float().mean()) < 0.35
    alone = torch.stack([views(0.25)[draw]["image"] for draw in draws])
    assert torch.equal(alone, mixed)


def test_without_a_target_or_another_image_a_view_stays_as_it_is(views):
    for without in ({"target": None}, {"count": 1}):
        plain, mixed = (views(share, **without)[(0, 0)]["image"] for share in (0.0, 1.0))
        assert torch.equal(plain, mixed)


def test_a_view_that_hardly_shows_its_target_stays_as_it_is(views):
    """A crop may leave most of the target out: its content would be surroundings."""
    draws = [(epoch, 5) for epoch in range(60)]
    corner = Rectangle(8.0, 8.0, 14.0, 12.0, 0.0)
    plain, mixed = (views(share, corner, augment=True).__getitems__(draws) for share in (0.0, 1.0))
    shown = mixed["target_weight"] > 0.6 * 5.0
    changed = (plain["image"] != mixed["image"]).flatten(1).any(dim=1)
    assert 0 < int((~shown).sum()) < len(draws) and torch.equal(shown, changed)
