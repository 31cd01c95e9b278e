"""Parquet shards that contain the images, like datasets on the Hugging Face hub.

`datasets.load_dataset("parquet", …)` and `layout: huggingface` read them with class names and images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsam_app.data.records import SPLITS
from rsam_app.export.formats.folders import columns
from rsam_app.export.items import ExportItem, Mode, Source, Written, note_masks

if TYPE_CHECKING:
    import pyarrow as pa

SHARD_BYTES = 400 * 2**20
"""Bytes of images per shard, about as many as on the hub."""
GROUP_ROWS = 64
"""Rows per row group, which writer and readers hold in memory; an image takes some hundred kilobytes."""


def write(items: Sequence[ExportItem], folder: Path, mode: Mode, source: Source) -> Written:
    """Write `SPLIT-00000-of-0000N.parquet`: `image` (unchanged bytes, and the file's name), `label` (a ClassLabel of
    all classes in the dataset's order), `id`, `rectangle`, `rectangle_by`, `boxes`."""
    files: dict[str, str] = {}
    for split in SPLITS:
        of_split = [item for item in items if item.record.split == split]
        shards = list(_shards(of_split))
        for k, shard in enumerate(shards):
            name = f"{split}-{k:05d}-of-{len(shards):05d}.parquet"
            _write_shard(folder / name, shard, source)
            files |= {item.record.id: f"{name}#{row}" for row, item in enumerate(shard)}
    ordered = [files[item.record.id] for item in items]
    return Written(ordered, "layout: huggingface\nroot: '{out}'", note_masks(items))


def _shards(items: Sequence[ExportItem]) -> Iterator[list[ExportItem]]:
    shard: list[ExportItem] = []
    size = 0
    for item in items:
        weight = item.record.path.stat().st_size
        if shard and size + weight > SHARD_BYTES:
            yield shard
            shard, size = [], 0
        shard.append(item)
        size += weight
    if shard:
        yield shard


def _write_shard(path: Path, items: Sequence[ExportItem], source: Source) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(source)
    number = {name: k for k, name in enumerate(source.classes)}
    with pq.ParquetWriter(path, schema) as writer:
        for begin in range(0, len(items), GROUP_ROWS):
            rows = [_row(item, number) for item in items[begin : begin + GROUP_ROWS]]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _row(item: ExportItem, number: dict[str, int]) -> dict[str, Any]:
    path = item.record.path
    image = {"bytes": path.read_bytes(), "path": path.name}
    return {"image": image, **columns(item), "label": number[item.label]}


def _schema(source: Source) -> pa.Schema:
    import pyarrow as pa

    numbers = pa.list_(pa.float64())
    fields = [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("label", pa.int64()),
        ("id", pa.string()),
        ("rectangle", numbers),
        ("rectangle_by", pa.string()),
        ("boxes", pa.list_(numbers)),
    ]
    number, text = {"dtype": "float64", "_type": "Value"}, {"dtype": "string", "_type": "Value"}
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(source.classes), "_type": "ClassLabel"},
        "id": text,
        "rectangle": {"feature": number, "_type": "List"},
        "rectangle_by": text,
        "boxes": {"feature": {"feature": number, "_type": "List"}, "_type": "List"},
    }
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})
