"""YOLO with oriented boxes: `images/SPLIT/`, `labels/SPLIT/` and `data.yaml`, as Ultralytics trains detectors from.

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
from rsam_app.geometry.clipping import Points, clamped_corners


def write(items: Sequence[ExportItem], folder: Path, mode: Mode, source: Source) -> Written:
    """Write one label file an image with its rectangle; an image without one inside of it gets an empty file, which
    YOLO takes for an image without objects. Corners outside the image come to its border: YOLO refuses others.
    """
    names = UniqueNames()
    number = {name: k for k, name in enumerate(source.classes)}
    files: list[str] = []
    empty, cut = 0, 0
    for item in items:
        split = item.record.split
        # Numbered, because YOLO finds the label by the image's path without its suffix.
        files.append(f"images/{split}/{len(files):06d}-{file_name(item.record.path, names)}")
        place(item.record.path, folder / files[-1], mode)
        corners, whole = _corners(item)
        empty, cut = empty + (not corners), cut + (not whole)
        line = " ".join([str(number[item.label]), *(f"{v:.6f}" for point in corners for v in point)]) + "\n"
        label = (folder / "labels" / Path(files[-1]).relative_to("images")).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(line if corners else "", encoding="utf-8")
    _write_yaml(folder, items, source)
    notes = [f"{empty} images have no rectangle inside of them: empty label files"] if empty else []
    notes += [f"{cut} rectangles reach beyond their image: their corners are put on its border"] if cut else []
    absent = sorted({"train", "val"} - {item.record.split for item in items})
    notes += [f"YOLO trains on a split train and a split val; {' and '.join(absent)} is missing"] if absent else []
    return Written(files, "ultralytics.YOLO('yolo11n-obb.pt').train(data={out} + '/data.yaml')", tuple(notes))


def _corners(item: ExportItem) -> tuple[Points, bool]:
    """Relative corners, none where nothing of the rectangle is inside the image, and whether none was moved."""
    width, height = item.record.width, item.record.height
    if item.rectangle is None or not (found := clamped_corners(item.rectangle, width, height)):
        return [], True
    return [(x / width, y / height) for x, y in found[0]], found[1]


def _write_yaml(folder: Path, items: Sequence[ExportItem], source: Source) -> None:
    present = {item.record.split for item in items}
    content = {split: f"images/{split}" for split in SPLITS if split in present}
    names = dict(enumerate(source.classes))
    text = yaml.safe_dump({**content, "names": names}, allow_unicode=True, sort_keys=False)
    (folder / "data.yaml").write_text(text, encoding="utf-8")
