"""COCO: images in `data/`, rectangles in `labels.json`, the dataset's own boxes in `boxes.json`.

Two files, because a detector would count an object twice that is in one file as rectangle and as box. COCO's pixel
coordinates are those of `rsam_app.geometry`: (0, 0) is the image's corner, not the centre of its first pixel.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rsam_app.data.records import Record
from rsam_app.export.items import ExportItem, Mode, Source, Written, note_masks
from rsam_app.export.names import flat_files
from rsam_app.export.staging import place_images
from rsam_app.geometry.clipping import box_corners, clip_polygon, rectangle_corners
from rsam_app.geometry.types import Points


def write(items: Sequence[ExportItem], folder: Path, mode: Mode, source: Source) -> Written:
    """Write `labels.json`: one annotation per image, the rectangle as polygon and its upright box, both clipped to the
    image, with `rectangle` (the five numbers, not clipped) and `by` (person or model). An image without a rectangle has
    no annotation; its entry still has `label` and `split`. Category ids count the classes from 1.
    """
    files = flat_files(items, "data")
    place_images(items, files, folder, mode)
    images = [_image(k, item, file) for k, (item, file) in enumerate(zip(items, files, strict=True), start=1)]
    category = {name: k for k, name in enumerate(source.classes, start=1)}
    rectangles, boxes = [], []
    for image, item in zip(images, items, strict=True):
        shared = {"image_id": image["id"], "category_id": category[item.label], "iscrowd": 0}
        if item.rectangle and (shape := _annotation(rectangle_corners(item.rectangle), item.record)):
            rectangles.append({**shared, **shape, "rectangle": item.rectangle, "by": item.rectangle_by})
        for box in item.record.boxes:
            if shape := _annotation(box_corners(box), item.record):
                boxes.append({**shared, **shape})
    head = _head(source, category)
    _write(folder / "labels.json", head, images, rectangles)
    if boxes:
        _write(folder / "boxes.json", head, images, boxes)
    return Written(files, _reading(bool(boxes)), _notes(items, rectangles))


def _image(number: int, item: ExportItem, file: str) -> dict[str, Any]:
    width, height = item.record.width, item.record.height
    name = file.removeprefix("data/")
    shared = {"id": number, "file_name": name, "width": width, "height": height, "license": 1}
    return {**shared, "label": item.label, "split": item.record.split}


def _head(source: Source, category: dict[str, int]) -> dict[str, Any]:
    return {
        "info": {"description": f"{source.dataset}, tag {source.tag}, run {source.run}"},
        "licenses": [{"id": 1, "name": source.licence, "url": ""}],
        "categories": [{"id": k, "name": name, "supercategory": source.dataset} for name, k in category.items()],
    }


def _write(path: Path, head: dict[str, Any], images: list[dict[str, Any]], shapes: list[dict[str, Any]]) -> None:
    annotations = [{"id": k, **shape} for k, shape in enumerate(shapes, start=1)]
    content = {**head, "images": images, "annotations": annotations}
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _annotation(outline: Points, record: Record) -> dict[str, Any] | None:
    shape = clip_polygon(outline, record.width, record.height)
    if shape is None:
        return None
    segmentation = [[value for point in shape.points for value in point]]
    return {"segmentation": segmentation, "bbox": list(shape.box), "area": shape.area}


def _reading(boxes: bool) -> str:
    lines = [
        "kind = fiftyone.types.COCODetectionDataset",
        "rectangles = fiftyone.Dataset.from_dir({out}, dataset_type=kind, use_polylines=True)",
    ]
    own = "boxes = fiftyone.Dataset.from_dir({out}, dataset_type=kind, labels_path='boxes.json', use_polylines=True)"
    return "\n".join([*lines, own] if boxes else lines)


def _notes(items: Sequence[ExportItem], rectangles: list[dict[str, Any]]) -> tuple[str, ...]:
    missing = len(items) - len(rectangles)
    note = f"{missing} images have no rectangle inside the image, so they have no annotation in labels.json"
    return (note, *note_masks(items)) if missing else note_masks(items)
