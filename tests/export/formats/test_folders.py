"""Image folders for Hugging Face: metadata beside the images, and the same images loaded by their folders."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from rsam_app.export.subset import export


def test_metadata_names_every_image_once(aviary: Any, load: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = export(aviary.items, "imagefolder", out, source=aviary.source)
    items = {i.record.id: i for i in aviary.items if not i.excluded}
    seen = 0
    for split in ("train", "val", "test"):
        lines = (out / split / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
        images = {p for p in (out / split).rglob("*") if p.is_file() and p.name != "metadata.jsonl"}
        assert {out / split / json.loads(line)["file_name"] for line in lines} == images
        for row in map(json.loads, lines):
            item = items[row["id"]]
            assert (out / split / row["file_name"]).read_bytes() == item.record.path.read_bytes()
            assert (row["label"], split, row["rectangle_by"]) == (item.label, item.record.split, item.rectangle_by)
            assert (row["rectangle"] and tuple(row["rectangle"])) == item.rectangle
            assert [tuple(box) for box in row["boxes"]] == list(item.record.boxes)
            seen += 1
    assert seen == len(items)
    assert any("masks of" in note for note in report.notes)
    again = load("folder", out)
    assert Counter(r.split for r in again.records) == Counter(i.record.split for i in items.values())
