"""One shard of a Hugging Face dataset: its columns, its class names, its images as files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsam_app.system.cache.files import cache_folder, cached_file, write_cached
from rsam_app.system.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

AT_ONCE = 64
"""Rows in memory at a time; an image has some hundred kilobytes."""
SIGNATURES = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
}
LFS = b"version https://git-lfs"


@dataclass(frozen=True)
class Row:
    """One image: its label, and the file that its bytes were `kept` in or else the `path` that the row has."""

    label: str
    kept: Path | None
    path: str


@dataclass(frozen=True)
class Shard:
    """What a file holds; `classes` is empty where the labels are text or bare numbers."""

    rows: tuple[Row, ...]
    classes: tuple[str, ...]


def read_shard(path: Path, image: str, label: str) -> Shard:
    """The rows of a Parquet or Arrow file. `image` and `label` name the columns; found by their type where empty.

    Images stored as bytes are written into the cache folder the first time; after that the shard is not read again as
    long as it did not change. Raises `UserError` where the file is damaged or the columns are not clear.
    """
    status = path.stat()
    stamp = repr((str(path.resolve()), status.st_size, status.st_mtime_ns, image, label))
    index = cache_folder() / "huggingface" / f"{hashlib.sha256(stamp.encode()).hexdigest()}.json"
    if known := _indexed(index):
        return known
    schema, batches = _open(path)
    features = _features(schema)
    image_column, label_column = (
        _image_column(path, schema, features, image),
        _label_column(path, schema, features, label),
    )
    names = features.get(label_column, {}).get("names") or []
    rows: list[Row] = []
    for batch in batches:
        for stored, value in zip(batch[image_column].to_pylist(), batch[label_column].to_pylist(), strict=True):
            where = f"{path}, row {len(rows)}"
            rows.append(_row(stored, _label(value, names, where), where))
    shard = Shard(tuple(rows), tuple(map(str, names)))
    _write_index(index, shard)
    return shard


def _open(path: Path) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path)
            return file.schema_arrow, _guarded(path, file.iter_batches(AT_ONCE))
        source = pa.memory_map(str(path))
        try:
            stream = pa.ipc.open_stream(source)  # as `save_to_disk` writes
        except pa.ArrowInvalid:
            whole = pa.ipc.open_file(source)
            return whole.schema, _guarded(path, (whole.get_batch(i) for i in range(whole.num_record_batches)))
        return stream.schema, _guarded(path, iter(stream))
    except (pa.ArrowException, OSError) as error:
        raise UserError(_damaged(path, error)) from error


def _guarded(path: Path, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches in pieces of a few rows; damage found on the way is an error of the user's."""
    import pyarrow as pa

    try:
        for batch in batches:
            for start in range(0, batch.num_rows, AT_ONCE):
                yield batch.slice(start, AT_ONCE)
    except (pa.ArrowException, OSError) as error:
        raise UserError(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    with path.open("rb") as stream:
        pointer = stream.read(len(LFS)) == LFS
    if pointer:
        return f"{path}: is a pointer of Git LFS, not the data. Run `git lfs pull` there."
    return f"{path}: cannot be read ({' '.join(str(error).split())}). Fetch it again."


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """What `datasets` says about the columns, by name; nothing where the file was written by something else."""
    written = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(written)["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {k: v for k, v in features.items() if isinstance(v, dict)} if isinstance(features, dict) else {}


def _image_column(path: Path, schema: pa.Schema, features: dict[str, dict[str, Any]], chosen: str) -> str:
    import pyarrow as pa

    images = [n for n in schema.names if features.get(n, {}).get("_type") == "Image"]
    if not images:
        images = [
            f.name
            for f in schema
            if pa.types.is_struct(f.type)
            and {f.type.field(i).name for i in range(f.type.num_fields)} >= {"bytes", "path"}
        ]
    return _one(path, schema, images, chosen, "image")


def _label_column(path: Path, schema: pa.Schema, features: dict[str, dict[str, Any]], chosen: str) -> str:
    labels = [n for n in schema.names if features.get(n, {}).get("_type") == "ClassLabel"]
    return _one(path, schema, labels or [n for n in schema.names if n in ("label", "labels")], chosen, "label")


def _one(path: Path, schema: pa.Schema, found: list[str], chosen: str, what: str) -> str:
    if chosen in schema.names:
        return chosen
    if chosen or len(found) != 1:
        problem = f"has no column {chosen!r}" if chosen else f"has {len(found)} columns that may be the {what}"
        raise UserError(
            f"{path}: {problem} (its columns: {', '.join(schema.names)}).\n"
            f"Name the right one in the card: `options: {{{what}: COLUMN}}`."
        )
    return found[0]


def _label(value: Any, names: list[Any], where: str) -> str:
    if names and isinstance(value, int):
        if not 0 <= value < len(names):
            raise UserError(
                f"{where}: label {value} is none of {len(names)} classes; -1 stands for none. Use another split."
            )
        return str(names[value])
    if isinstance(value, str | int) and str(value):
        return str(value)
    raise UserError(f"{where}: label {value!r} is neither text nor a number. Name another column as the label.")


def _row(stored: Any, label: str, where: str) -> Row:
    content, path = (stored.get("bytes"), stored.get("path")) if isinstance(stored, dict) else (None, stored)
    if isinstance(content, bytes):
        return Row(label, cached_file(content, _suffix(content), "images"), "")
    if isinstance(path, str) and path:
        return Row(label, None, path)
    raise UserError(
        f"{where}: holds neither the bytes of an image nor its path. Take the row out, or name another column."
    )


def _suffix(content: bytes) -> str:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for start, suffix in SIGNATURES.items() if content.startswith(start)), ".img")


def _indexed(index: Path) -> Shard | None:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        rows = tuple(Row(label, Path(kept) if kept else None, path) for label, kept, path in content["rows"])
        shard = Shard(rows, tuple(content["classes"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return shard if all(row.kept is None or row.kept.exists() for row in rows) else None


def _write_index(index: Path, shard: Shard) -> None:
    rows = [[row.label, str(row.kept or ""), row.path] for row in shard.rows]
    write_cached(index, json.dumps({"classes": shard.classes, "rows": rows}).encode())
