"""COCO exports, read by an independent reader and by FiftyOne's importer."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from rsam_app.export.subset import export


class Reader:
    """The part of COCO's format that detectors use, by its specification: annotations by image, names, masks."""

    def __init__(self, path: Path) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        self.images = {image["id"]: image for image in content["images"]}
        self.names = {category["id"]: category["name"] for category in content["categories"]}
        self.of_image: dict[int, list[dict[str, Any]]] = {k: [] for k in self.images}
        ids = [annotation["id"] for annotation in content["annotations"]]
        assert len(set(ids)) == len(ids) and all(isinstance(i, int) and i > 0 for i in ids)
        for annotation in content["annotations"]:
            assert annotation["category_id"] in self.names and annotation["iscrowd"] == 0
            self.of_image[annotation["image_id"]].append(annotation)

    def mask(self, annotation: dict[str, Any], scale: int) -> np.ndarray:
        """The polygon rendered at `scale` times the image's size."""
        image = self.images[annotation["image_id"]]
        canvas = Image.new("1", (image["width"] * scale, image["height"] * scale))
        for polygon in annotation["segmentation"]:
            ImageDraw.Draw(canvas).polygon([v * scale for v in polygon], fill=1)
        return np.asarray(canvas)


def inside_rectangle(image: dict[str, Any], rectangle: list[float], scale: int) -> np.ndarray:
    """Pixels (at `scale`) with their centre in the rotated rectangle, by its own coordinate frame."""
    cx, cy, width, height, angle = rectangle
    y, x = (np.mgrid[: image["height"] * scale, : image["width"] * scale] + 0.5) / scale
    u = (x - cx) * math.cos(angle) + (y - cy) * math.sin(angle)
    v = -(x - cx) * math.sin(angle) + (y - cy) * math.cos(angle)
    return (abs(u) <= width / 2) & (abs(v) <= height / 2)


@pytest.fixture
def out(aviary: Any, tmp_path: Path) -> Path:
    """The aviary as COCO."""
    export(aviary.items, "coco", tmp_path / "out", source=aviary.source)
    return tmp_path / "out"


def test_every_image_is_there_with_label_size_and_file(aviary: Any, out: Path) -> None:
    reader, items = Reader(out / "labels.json"), [i for i in aviary.items if not i.excluded]
    assert list(reader.names.values()) == list(aviary.dataset.classes)
    for image, item in zip(reader.images.values(), items, strict=True):
        assert (image["label"], image["split"]) == (item.label, item.record.split)
        with Image.open(out / "data" / image["file_name"]) as opened:
            assert opened.size == (image["width"], image["height"])


def test_rectangles_are_polygons_with_their_upright_box(aviary: Any, out: Path) -> None:
    reader, items = Reader(out / "labels.json"), [i for i in aviary.items if not i.excluded]
    counted = 0
    for item, found_here in zip(items, reader.of_image.values(), strict=True):
        assert len(found_here) == (item.rectangle is not None)
        for found in found_here:
            image = reader.images[found["image_id"]]
            assert reader.names[found["category_id"]] == item.label
            assert (tuple(found["rectangle"]), found["by"]) == (item.rectangle, item.rectangle_by)
            truth = inside_rectangle(image, found["rectangle"], 8)
            assert (reader.mask(found, 8) ^ truth).mean() < 0.01
            assert found["area"] == pytest.approx(truth.mean() * truth.size / 64, rel=0.02)
            rows, columns = np.nonzero(truth)
            x, y, width, height = found["bbox"]
            edges = [columns.min() / 8, rows.min() / 8, (columns.max() + 1) / 8, (rows.max() + 1) / 8]
            assert [x, y, x + width, y + height] == pytest.approx(edges, abs=0.3)
            counted += 1
    assert counted > 40


def test_true_boxes_are_in_a_separate_file_clipped(aviary: Any, out: Path) -> None:
    reader, items = Reader(out / "boxes.json"), [i for i in aviary.items if not i.excluded]
    for item, found_here in zip(items, reader.of_image.values(), strict=True):
        record = item.record
        expected = []
        for x, y, width, height in record.boxes:
            left, top, right, bottom = (
                max(x, 0),
                max(y, 0),
                min(x + width, record.width),
                min(y + height, record.height),
            )
            expected.append([left, top, right - left, bottom - top])
        assert [a["bbox"] for a in found_here] == [pytest.approx(box) for box in expected]


def test_without_boxes_or_rectangles(aviary: Any, tmp_path: Path) -> None:
    bare = [i for i in aviary.items if not i.rectangle and not i.record.boxes]
    report = export(bare, "coco", tmp_path / "bare", source=aviary.source)
    assert bare and not (tmp_path / "bare" / "boxes.json").exists()
    assert not any(Reader(tmp_path / "bare" / "labels.json").of_image.values())
    assert any(f"{len(bare)} images have no rectangle" in note for note in report.notes)


def test_fiftyone_imports_it_as_the_data_card_says(
    aviary: Any, out: Path, fiftyone_module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(out.parent)
    code = (out / "DATA_CARD.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    loaded: dict[str, Any] = {"fiftyone": fiftyone_module}
    exec(code, loaded)
    items = [i for i in aviary.items if not i.excluded]
    try:
        assert len(loaded["rectangles"]) == len(loaded["boxes"]) == len(items)
        labels = loaded["rectangles"].values("segmentations.polylines.label")
        assert sorted(found[0] for found in labels if found) == sorted(i.label for i in items if i.rectangle)
        for sample in loaded["boxes"].exists("detections"):
            left, top, width, height = sample.detections.detections[0].bounding_box
            assert 0 <= left <= left + width <= 1 + 1e-9 and 0 <= top <= top + height <= 1 + 1e-9
        assert loaded["boxes"].count("detections.detections") == sum(len(i.record.boxes) for i in items)
    finally:
        loaded["rectangles"].delete()
        loaded["boxes"].delete()
