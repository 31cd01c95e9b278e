"""A FiftyOne dataset on disk: `data/` and `samples.json`, with labels, rectangles, boxes and tags."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rsam_app.export.items import ExportItem, Mode, Source, Written, note_masks
from rsam_app.export.names import flat_files
from rsam_app.export.staging import place_images
from rsam_app.geometry.boxes import relative_box
from rsam_app.geometry.clipping import rectangle_corners
from rsam_app.geometry.types import RECTANGLE_FIELDS


def write(items: Sequence[ExportItem], folder: Path, mode: Mode, source: Source) -> Written:
    """Write a dataset for `fiftyone.Dataset.from_dir`. Fields: `ground_truth` (corrected), `prediction`, `rectangle`
    (Polylines: rotated, with the five numbers in image pixels and `by`), `ground_truth_boxes`, `split`, `record_id`,
    tags. FiftyOne does not place the images, so that hard links work too. Needs the FiftyOne database.
    """
    from rsam_app.system.mongodb.connection import import_fiftyone

    fo = import_fiftyone()
    import fiftyone.utils.data as fou

    files = flat_files(items, "data")
    place_images(items, files, folder, mode)
    samples = [_sample(fo, item, folder / file) for item, file in zip(items, files, strict=True)]
    temporary = fo.Dataset()
    try:
        temporary.add_samples(samples, dynamic=True, progress=False)
        temporary.default_classes = list(source.classes)
        temporary.info = {"dataset": source.dataset, "licence": source.licence, "run": source.run, "tag": source.tag}
        temporary.save()
        exporter = fou.FiftyOneDatasetExporter(str(folder), export_media=False, rel_dir=str(folder))
        temporary.export(dataset_exporter=exporter, progress=False)
    finally:
        temporary.delete()
    reading = "fiftyone.Dataset.from_dir({out}, dataset_type=fiftyone.types.FiftyOneDataset)"
    return Written(files, reading, note_masks(items))


def _sample(fo: Any, item: ExportItem, path: Path) -> Any:
    record = item.record
    sample = fo.Sample(
        filepath=os.path.abspath(path),
        tags=list(item.tags),
        metadata=fo.ImageMetadata(width=record.width, height=record.height),
        record_id=record.id,
        split=record.split,
        ground_truth=fo.Classification(label=item.label),
    )
    if item.predicted:
        sample["prediction"] = fo.Classification(label=item.predicted, confidence=item.confidence)
    if item.rectangle:
        relative = [(x / record.width, y / record.height) for x, y in rectangle_corners(item.rectangle)]
        numbers = dict(zip(RECTANGLE_FIELDS, item.rectangle, strict=True))
        outline = fo.Polyline(
            label=item.label, points=[relative], closed=True, filled=True, by=item.rectangle_by, **numbers
        )
        sample["rectangle"] = fo.Polylines(polylines=[outline])
    if record.boxes:
        sample["ground_truth_boxes"] = fo.Detections(detections=_true_boxes(fo, item))
    return sample


def _true_boxes(fo: Any, item: ExportItem) -> list[Any]:
    record = item.record
    if not record.width or not record.height:
        return []
    boxes = [relative_box(x, y, x + w, y + h, (record.width, record.height)) for x, y, w, h in record.boxes]
    return [fo.Detection(label=item.label or None, bounding_box=box, original_box=list(box)) for box in boxes]
