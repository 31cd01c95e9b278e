"""One shard of a Hugging Face dataset: its rows with images as files, and its class names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsam_app.system.cache.files import cache_folder, cached_file, write_cached
from rsam_app.system.errors import UserError
from rsam_app.system.files import fingerprint
from rsam_app.system.json_files import parse_json, read_json

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 64
"""Rows in memory at a time; an image has some hundred kilobytes."""
SUFFIX_OF_SIGNATURE = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
}
LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Row:
    """One image: its label, and either the `cached` file of its bytes or the `path` in the row."""

    label: str
    cached: Path | None
    path: str


@dataclass(frozen=True)
class Shard:
    """The rows of a file; `classes` is empty if the labels are text or plain numbers."""

    rows: tuple[Row, ...]
    classes: tuple[str, ...]


def read_shard(path: Path, image: str, label: str) -> Shard:
    """Read the rows of a Parquet or Arrow file. `image` and `label` name the columns; if empty, their types decide.

    The first time, images stored as bytes are written into the cache folder; later an unchanged shard is not read
    again. Raises `UserError` if the file is damaged or the columns are ambiguous.
    """
    status = path.stat()
    key = fingerprint(str(path.resolve()), status.st_size, status.st_mtime_ns, image, label)
    index = cache_folder() / "huggingface" / f"{key}.json"
    if cached := _read_index(index):
        return cached
    schema, batches = _open(path)
    features = _features(schema)
    images = _columns_of(schema, features, "Image") or _image_structs(schema)
    labels = _columns_of(schema, features, "ClassLabel") or [n for n in schema.names if n in ("label", "labels")]
    image_column = _one(path, schema, images, image, "image")
    label_column = _one(path, schema, labels, label, "label")
    named = features.get(label_column, {}).get("names")
    names = named if isinstance(named, list) else []
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
            return _checked(file.schema_arrow), _in_pieces(path, file.iter_batches(BATCH_ROWS))
        source = pa.memory_map(str(path))
        try:
            stream = pa.ipc.open_stream(source)  # as `save_to_disk` writes
        except pa.ArrowInvalid:
            whole = pa.ipc.open_file(source)
            return _checked(whole.schema), _in_pieces(
                path, (whole.get_batch(i) for i in range(whole.num_record_batches))
            )
        return _checked(stream.schema), _in_pieces(path, iter(stream))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(_damaged(path, error)) from error


def _checked(schema: pa.Schema) -> pa.Schema:
    """Return the schema. Raises `UnicodeDecodeError` for a name that is not UTF-8, at any depth."""
    fields = [schema.field(number) for number in range(len(schema))]
    names = []
    while fields:
        field = fields.pop()
        names.append(field.name)  # decoded only now
        fields += [field.type.field(number) for number in range(field.type.num_fields)]
    return schema


def _in_pieces(path: Path, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the batches in pieces of a few rows. Raises `UserError` if one is damaged."""
    import pyarrow as pa

    try:
        for batch in batches:
            batch.validate(full=True)  # reading does not check lengths and text; wrong ones would crash
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield batch.slice(start, BATCH_ROWS)
    except (pa.ArrowException, OSError) as error:
        raise UserError(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    with path.open("rb") as stream:
        pointer = stream.read(len(LFS_POINTER)) == LFS_POINTER
    if pointer:
        return f"{path}: is a Git LFS pointer, not the data. Run `git lfs pull` there."
    return f"{path}: cannot be read ({' '.join(str(error).split())}). Download it again."


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """Return the column types that `datasets` recorded, by name; nothing if another tool wrote the file."""
    written = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = parse_json(written)["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {k: v for k, v in features.items() if isinstance(v, dict)} if isinstance(features, dict) else {}


def _columns_of(schema: pa.Schema, features: dict[str, dict[str, Any]], kind: str) -> list[str]:
    return [name for name in schema.names if features.get(name, {}).get("_type") == kind]


def _image_structs(schema: pa.Schema) -> list[str]:
    """Return the columns of structures with the fields of an image."""
    import pyarrow as pa

    structs = [column for column in schema if pa.types.is_struct(column.type)]
    return [c.name for c in structs if {c.type.field(i).name for i in range(c.type.num_fields)} >= {"bytes", "path"}]


def _one(path: Path, schema: pa.Schema, candidates: list[str], chosen: str, what: str) -> str:
    if chosen in schema.names:
        return chosen
    if chosen or len(candidates) != 1:
        problem = f"has no column {chosen!r}" if chosen else f"has {len(candidates)} columns that may be the {what}"
        raise UserError(
            f"{path}: {problem} (its columns: {', '.join(schema.names)}).\n"
            f"Name the right one in the card: `options: {{{what}: COLUMN}}`."
        )
    return candidates[0]


def _label(value: Any, names: list[Any], where: str) -> str:
    if names and isinstance(value, int):
        if not 0 <= value < len(names):
            raise UserError(
                f"{where}: label {value} is not one of {len(names)} classes; -1 means unlabelled. Use another split."
            )
        return str(names[value])
    if isinstance(value, str | int) and str(value):
        return str(value)
    raise UserError(f"{where}: label {value!r} is neither text nor a number. Choose another column as the label.")


def _row(stored: Any, label: str, where: str) -> Row:
    content, path = (stored.get("bytes"), stored.get("path")) if isinstance(stored, dict) else (None, stored)
    if isinstance(content, bytes):
        return Row(label, cached_file(content, _suffix(content), "images"), "")
    if isinstance(path, str) and path:
        return Row(label, None, path)
    raise UserError(
        f"{where}: holds neither the bytes of an image nor its path. Remove the row, or choose another column."
    )


def _suffix(content: bytes) -> str:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for start, suffix in SUFFIX_OF_SIGNATURE.items() if content.startswith(start)), ".img")


def _read_index(index: Path) -> Shard | None:
    try:
        content = read_json(index)
        rows = tuple(Row(label, Path(cached) if cached else None, path) for label, cached, path in content["rows"])
        shard = Shard(rows, tuple(content["classes"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return shard if all(row.cached is None or row.cached.exists() for row in rows) else None


def _write_index(index: Path, shard: Shard) -> None:
    rows = [[row.label, str(row.cached or ""), row.path] for row in shard.rows]
    write_cached(index, json.dumps({"classes": shard.classes, "rows": rows}).encode())
