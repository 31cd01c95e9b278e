"""YOLO with oriented boxes: `images/SPLIT/`, `labels/SPLIT/` and `data.yaml`, in the format of Ultralytics.

A label line is `class x1 y1 x2 y2 x3 y3 x4 y4`, corners in order, relative to the image as displayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from rsam_app.data.records import SPLITS
from rsam_app.export.items import ExportItem, Mode, Source, Written
from rsam_app.export.names import UniqueNames, file_name
from rsam_app.export.staging import place
from rsam_app.geometry.clipping import clip_corners
from rsam_app.geometry.types import Points


def write(items: Sequence[ExportItem], folder: Path, mode: Mode, source: Source) -> Written:
    """Write one label file per image with its rectangle; without one inside the image the file is empty, which YOLO
    reads as an image without objects. Corners outside the image are moved to its border, as YOLO requires.
    """
    names = UniqueNames()
    number = {name: k for k, name in enumerate(source.classes)}
    files: list[str] = []
    empty, clipped = 0, 0
    for item in items:
        split = item.record.split
        # Numbered, because YOLO finds labels by the image's path without its suffix.
        files.append(f"images/{split}/{len(files):06d}-{file_name(item.record.path, names)}")
        place(item.record.path, folder / files[-1], mode)
        corners, whole = _corners(item)
        empty, clipped = empty + (not corners), clipped + (not whole)
        line = " ".join([str(number[item.label]), *(f"{v:.6f}" for point in corners for v in point)]) + "\n"
        label = (folder / "labels" / Path(files[-1]).relative_to("images")).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(line if corners else "", encoding="utf-8")
    _write_yaml(folder, items, source)
    notes = [f"{empty} images have no rectangle inside the image: their label files are empty"] if empty else []
    notes += [f"{clipped} rectangles extend beyond the image: their corners are moved to its border"] if clipped else []
    absent = sorted({"train", "val"} - {item.record.split for item in items})
    notes += [f"YOLO needs the splits train and val; {' and '.join(absent)} is missing"] if absent else []
    return Written(files, "ultralytics.YOLO('yolo11n-obb.pt').train(data={out} + '/data.yaml')", tuple(notes))


def _corners(item: ExportItem) -> tuple[Points, bool]:
    """Relative corners, none if the rectangle is outside the image, and whether all are unchanged."""
    width, height = item.record.width, item.record.height
    if item.rectangle is None or not (clamped := clip_corners(item.rectangle, width, height)):
        return [], True
    return [(x / width, y / height) for x, y in clamped[0]], clamped[1]


def _write_yaml(folder: Path, items: Sequence[ExportItem], source: Source) -> None:
    present = {item.record.split for item in items}
    content = {split: f"images/{split}" for split in SPLITS if split in present}
    names = dict(enumerate(source.classes))
    text = yaml.safe_dump({**content, "names": names}, allow_unicode=True, sort_keys=False)
    (folder / "data.yaml").write_text(text, encoding="utf-8")
