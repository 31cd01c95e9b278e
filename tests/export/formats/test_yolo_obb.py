"""Oriented boxes for YOLO, parsed by the format's specification and compared with rendered rectangles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

from rsam_app.export.subset import export
from rsam_app.geometry.clipping import clip_corners, rectangle_corners
from rsam_app.geometry.types import Rectangle


def labels_of(out: Path) -> dict[Path, list[list[float]]]:
    """The numbers in each image's label file, whose path has `labels` for the last `images`, as in YOLO."""
    found = {}
    for image in sorted(p for p in (out / "images").rglob("*") if p.is_file()):
        label = (out / "labels" / image.relative_to(out / "images")).with_suffix(".txt")
        found[image] = [[float(v) for v in line.split()] for line in label.read_text().splitlines()]
    return found


def render(points: np.ndarray, width: int, height: int) -> np.ndarray:
    canvas = Image.new("1", (width * 8, height * 8))
    ImageDraw.Draw(canvas).polygon([tuple(p) for p in points * 8], fill=1)
    return np.asarray(canvas)


def test_each_image_has_its_rectangle(aviary: Any, tmp_path: Path) -> None:
    report = export(aviary.items, "yolo-obb", tmp_path / "out", source=aviary.source)
    items = [i for i in aviary.items if not i.excluded]
    by_bytes = {i.record.path.read_bytes(): i for i in items}
    config = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text(encoding="utf-8"))
    assert list(config["names"].values()) == list(aviary.dataset.classes)
    assert {s: config[s] for s in ("train", "val", "test")} == {s: f"images/{s}" for s in ("train", "val", "test")}
    labels = labels_of(tmp_path / "out")
    assert len(labels) == len(items)
    with_rectangle = 0
    for image, lines in labels.items():
        item = by_bytes[image.read_bytes()]
        assert image.parent.name == item.record.split
        assert len(lines) == (item.rectangle is not None)
        for number, *corners in lines:
            assert config["names"][int(number)] == item.label
            points = np.array(corners).reshape(4, 2) * [item.record.width, item.record.height]
            np.testing.assert_allclose(points, rectangle_corners(item.rectangle), atol=1e-3)
            with_rectangle += 1
    assert with_rectangle > 40
    assert any(f"{len(items) - with_rectangle} images have no rectangle" in note for note in report.notes)


@pytest.mark.parametrize("rectangle", [Rectangle(2.0, 3.0, 30.0, 10.0, 0.4), Rectangle(38.0, 15.0, 30.0, 60.0, -1.2)])
def test_corners_beyond_the_image_are_moved_to_its_border(rectangle: Any) -> None:
    width, height = 40, 30
    corners, own = clip_corners(rectangle, width, height)
    points = np.array(corners)
    assert not own and (points >= 0).all() and (points <= [width, height]).all()
    outline = np.array(rectangle_corners(rectangle))
    visible = render(outline, width, height)
    simply = render(outline.clip(0, [width, height]), width, height)
    kept = render(points, width, height)
    assert (visible & kept).sum() / (visible | kept).sum() > 0.8
    assert (visible & ~kept).sum() <= (visible & ~simply).sum(), "no more is lost than by moving its own corners"


def test_a_rectangle_outside_is_an_image_without_objects(aviary: Any, tmp_path: Path) -> None:
    away = replace(aviary.items[1], rectangle=(500.0, 500.0, 8.0, 8.0, 0.0))
    report = export([away], "yolo-obb", tmp_path / "out", source=aviary.source)
    assert list(labels_of(tmp_path / "out").values()) == [[]]
    assert "1 images have no rectangle inside the image: their label files are empty" in report.notes
    assert any("val is missing" in note for note in report.notes)
