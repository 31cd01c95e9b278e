"""FiftyOne datasets on disk, loaded by FiftyOne."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from rsam_app.export.subset import export
from rsam_app.system.errors import UserError


@pytest.mark.parametrize("mode", ["copy", "hardlink", "symlink"])
def test_from_dir_gives_the_same_records(aviary: Any, mode: Any, tmp_path: Path, fiftyone_module: Any) -> None:
    fo, out = fiftyone_module, tmp_path / "out"
    before = fo.list_datasets()
    export(aviary.items, "fiftyone", out, mode, source=aviary.source)
    assert fo.list_datasets() == before, "no dataset is left in the database"
    moved = out.rename(tmp_path / "moved elsewhere")
    loaded = fo.Dataset.from_dir(str(moved), dataset_type=fo.types.FiftyOneDataset, progress=False)
    try:
        items = [i for i in aviary.items if not i.excluded]
        assert loaded.values("record_id") == [i.record.id for i in items]
        assert loaded.values("ground_truth.label") == [i.label for i in items]
        assert loaded.values("split") == [i.record.split for i in items]
        assert loaded.values("prediction.label") == [i.predicted or None for i in items]
        assert loaded.match_tags("relabel").count() == 1
        assert loaded.default_classes == list(aviary.dataset.classes)
        for sample, item in zip(loaded, items, strict=True):
            path = Path(sample.filepath)
            assert path.parent == moved / "data" and path.is_symlink() == (mode == "symlink")
            assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(item.record.path.read_bytes()).digest()
            if item.rectangle is None:
                assert sample.rectangle is None
                continue
            outline = sample.rectangle.polylines[0]
            points = [(x * item.record.width, y * item.record.height) for x, y in outline.points[0]]
            centre = [sum(v) / 4 for v in zip(*points, strict=True)]
            assert centre == pytest.approx(item.rectangle[:2])
            assert (outline.cx, outline.angle, outline.by) == (item.rectangle[0], item.rectangle[4], item.rectangle_by)
        assert loaded.count("ground_truth_boxes.detections") == sum(len(i.record.boxes) for i in items)
    finally:
        loaded.delete()


def test_a_missing_image_leaves_nothing(aviary: Any, tmp_path: Path, fiftyone_module: Any) -> None:
    before = fiftyone_module.list_datasets()
    aviary.items[-1].record.path.unlink()
    with pytest.raises(UserError, match="nothing left behind"):
        export(aviary.items, "fiftyone", tmp_path / "out", source=aviary.source)
    assert fiftyone_module.list_datasets() == before
    assert not [p for p in tmp_path.iterdir() if "out" in p.name]
