"""Parquet shards, loaded by the layout for the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rsam_app.export.formats import parquet
from rsam_app.export.subset import export
from rsam_app.system.errors import UserError


@pytest.mark.parametrize("shard_bytes", [400 * 2**20, 20_000])
def test_the_shards_load_as_the_same_records(
    aviary: Any, load: Any, tmp_path: Path, shard_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "SHARD_BYTES", shard_bytes)
    out = tmp_path / "out"
    export(aviary.items, "parquet", out, source=aviary.source)
    assert (len(list(out.glob("train-*.parquet"))) > 1) == (shard_bytes == 20_000)
    again = load("huggingface", out)
    items = [i for i in aviary.items if not i.excluded]
    assert again.classes == aviary.dataset.classes
    for split in ("train", "val", "test"):
        expected = [(i.label, i.record.path.read_bytes()) for i in items if i.record.split == split]
        assert [(r.label, r.path.read_bytes()) for r in again.split(split)] == expected


def test_rows_contain_the_metadata(aviary: Any, tmp_path: Path) -> None:
    export(aviary.items, "parquet", tmp_path / "out", source=aviary.source)
    items = {i.record.id: i for i in aviary.items if not i.excluded}
    listed = (tmp_path / "out" / "records.csv").read_text(encoding="utf-8")
    for path in (tmp_path / "out").glob("*.parquet"):
        table = pq.read_table(path)
        names = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
        for number, row in enumerate(table.to_pylist()):
            item = items.pop(row["id"])
            assert names[row["label"]] == item.label
            assert (row["rectangle"] and tuple(row["rectangle"])) == item.rectangle
            assert [tuple(box) for box in row["boxes"]] == list(item.record.boxes)
            assert row["image"]["path"] == item.record.path.name
            assert f"{path.name}#{number}," in listed
    assert not items


def test_shards_contain_copies(aviary: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="export --mode symlink: the format parquet"):
        export(aviary.items, "parquet", tmp_path / "out", "symlink", source=aviary.source)
