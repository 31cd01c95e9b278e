"""The predictions table: one row per record, one Parquet file per split. Review, selection and export read this file,
never the model."""

from __future__ import annotations

import tokenize
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rsam_app.model.roll_up import Sure
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError, reason_of
from rsam_app.system.files import replace_atomically
from rsam_app.system.json_files import read_own

SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # the image's path below the dataset's root, unique
        ("path", pa.string()),  # the image's file
        ("split", pa.string()),  # `train`, `val`, `test` or `unlabelled`
        ("label", pa.string()),  # of the dataset, corrections applied
        ("predicted", pa.string()),  # the class with the highest probability
        ("confidence", pa.float32()),  # probability of the predicted class
        ("margin", pa.float32()),  # the highest probability minus the second highest
        ("entropy", pa.float32()),  # nats
        ("logits", pa.list_(pa.float32())),  # in the order of the model's class names
        ("cx", pa.float32()),  # centre in image pixels, as displayed; null if the model has no attention
        ("cy", pa.float32()),  # centre in image pixels, as displayed
        ("width", pa.float32()),  # image pixels, of the side along `angle`
        ("height", pa.float32()),  # image pixels, of the other side
        ("angle", pa.float32()),  # radians, clockwise as displayed, [-pi/2, pi/2)
        ("corners", pa.list_(pa.float32())),  # x0 y0 … x3 y3, relative to the image's width and height
        ("box", pa.list_(pa.float32())),  # x y w h, relative, clipped to the image
    ]
)
"""The fixed columns. Every further column is a score (float32), or one of `SURE`."""
SURE = pa.schema([("sure", pa.string()), ("sure_level", pa.string()), ("sure_probability", pa.float32())])
"""The columns of a model with a taxonomy: the finest node that is sure, its level and probability; null if none is."""
LENGTHS = {"corners": 8, "box": 4}
"""Numbers in a row of these columns."""
PARQUET_ERRORS = (pa.ArrowException, OSError, ValueError)
"""Errors of pyarrow for a damaged file; `ValueError` also for text that is not UTF-8."""
NPY_ERRORS = (OSError, ValueError, EOFError, MemoryError, SyntaxError, tokenize.TokenError, zipfile.BadZipFile)
"""Errors of NumPy for a damaged file: its header is read as Python, and may claim any size."""
READ_BYTES = 2**20
"""Bytes of a table that `read_batches` reads at once: a row group may be larger than the memory."""
COPY_MODEL = "Copy the model's folder again, or retrain with `rsam train PIPELINE --restart`."


def score_names(table: pa.Table) -> list[str]:
    """Names of the score columns: all but the fixed ones and those of the sure answer."""
    return [name for name in table.column_names if name not in (*SCHEMA.names, *SURE.names)]


def with_present_names(rows: pa.RecordBatch | pa.Table, names: Mapping[str, str]) -> Any:
    """Return rows whose labels and predicted classes have their present names, by the former ones."""
    for column in ("label", "predicted") if names else ():
        values = [names.get(value, value) for value in rows.column(column).to_pylist()]
        rows = rows.set_column(rows.schema.get_field_index(column), column, pa.array(values, pa.string()))
    return rows


def write_predictions(path: Path, table: pa.Table, embeddings: np.ndarray | None = None) -> None:
    """Write `table`, and `(N, D)` embeddings beside it as float16, each file atomically.

    The fixed columns are written first, cast to their types. Old embeddings are removed first, so that a crash leaves
    no embeddings rather than wrong ones. Raises `ValueError` if a fixed column is missing, an id repeats, or rows and
    embeddings differ in number.
    """
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        raise ValueError(f"predictions lack the columns {missing}")
    ids = table.column("id").to_pylist()
    if len(set(ids)) != len(ids):
        raise ValueError("predictions repeat a record id")
    if embeddings is not None and (embeddings.ndim != 2 or len(embeddings) != len(ids)):
        raise ValueError(f"{len(ids)} predictions, but embeddings of shape {embeddings.shape}")
    scores = [(name, pa.float32()) for name in score_names(table)]
    table = table.select([*SCHEMA.names, *(name for name, _ in scores)]).cast(pa.schema([*SCHEMA, *scores]))
    with replace_atomically(path) as partial:
        pq.write_table(table, partial)
        embeddings_path(path).unlink(missing_ok=True)
    if embeddings is not None:
        with replace_atomically(embeddings_path(path)) as partial, partial.open("wb") as stream:
            np.save(stream, embeddings.astype(np.float16))


def read_logits(path: Path) -> np.ndarray:
    """The logits `(N, C)` float32 of a predictions table."""
    table = _read_table(path, ["logits"])
    return np.asarray(pc.list_flatten(table.column("logits")).to_numpy().reshape(table.num_rows, -1))


def replace_columns(path: Path, columns: Mapping[str, np.ndarray | Sequence[Any] | None]) -> None:
    """Set columns `(N,)` of a predictions table, scores or those of `SURE`, atomically; NaN is null, None removes one.
    The embeddings beside it stay."""
    table = _read_table(path)
    present = [name for name in columns if name in table.column_names]
    if not present and all(values is None for values in columns.values()):
        return
    table = table.drop_columns(present)
    for name, values in columns.items():
        if values is not None:
            kind = SURE.field(name).type if name in SURE.names else pa.float32()
            table = table.append_column(name, pa.array(values, type=kind, from_pandas=True))
    with replace_atomically(path) as partial:
        pq.write_table(table, partial)


def sure_columns(answers: Sequence[Sure | None]) -> dict[str, Sequence[Any]]:
    """The columns `SURE` of so many answers."""
    values = [(None,) * len(SURE) if sure is None else (sure.name, sure.level, sure.probability) for sure in answers]
    return dict(zip(SURE.names, zip(*values, strict=True), strict=True))


def embeddings_path(path: Path) -> Path:
    """The embeddings of a predictions table: `SPLIT.embeddings.npy` beside `SPLIT.parquet`."""
    return path.with_name(path.stem + ".embeddings.npy")


def read_predictions(folder: Path, splits: list[str] | None = None) -> pa.Table:
    """All predictions in a run's `predictions/` folder, or those of some splits, as one table.

    A score that a split lacks is null there. Raises `UserError` if there are none, or if a file is damaged.
    """
    return pa.concat_tables([_read_table(p) for p in _files(folder, splits)], promote_options="permissive")


def read_columns(folder: Path, names: list[str]) -> pa.Table:
    """Some columns of all predictions of a run, in the order of `read_predictions`, without loading the others.

    A column that a split lacks is null there; one that all splits lack is left out. Raises as `read_predictions`.
    """
    parts = [_read_table(path, [n for n in names if n in _names(path)]) for path in _files(folder, None)]
    return pa.concat_tables(parts, promote_options="permissive")


def read_embeddings(folder: Path, splits: list[str] | None = None) -> np.ndarray:
    """Embeddings `(N, D)` float16 in the row order of `read_predictions(folder, splits)`.

    Raises `UserError` if a split lacks predictions or embeddings, or if they do not match.
    """
    parts = []
    for path in _files(folder, splits):
        remedy = f"Run `rsam predict {folder.parent} --split {path.stem}` again."
        if not embeddings_path(path).exists():
            raise UserError(f"{path}: has no embeddings beside it. {remedy}")
        part = read_rows(embeddings_path(path), remedy)
        if len(part) != len(_read_table(path, ["id"])):
            raise UserError(f"{embeddings_path(path)}: has another number of rows than {path.name}. {remedy}")
        parts.append(part)
    return np.concatenate(parts)


def read_batches(path: Path, rows: int) -> Iterator[pa.RecordBatch]:
    """Yield a predictions table in batches of so many rows. Raises `UserError` at one that is damaged."""
    try:
        with pq.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as table:
            require_columns(table.schema_arrow, SCHEMA.names)
            schema = pa.schema([_field(name) for name in table.schema_arrow.names])
            for batch in table.iter_batches(rows):
                batch.validate(full=True)
                _require_complete(pa.Table.from_batches([batch]))
                yield batch.cast(schema)
    except PARQUET_ERRORS as error:
        raise _damaged(path, error) from error


def read_rows(path: Path, remedy: str, shared: bool = False) -> np.ndarray:
    """The `(N, D)` floating-point array in a `.npy` file; `shared` leaves it in the file until it is used.

    Raises `UserError`, which ends with `remedy`, if the file is damaged; NumPy unpickles nothing.
    """
    try:
        stored = np.load(path, mmap_mode="r" if shared else None)
    except NPY_ERRORS as error:
        raise UserError(f"{path}: is damaged ({reason_of(error)}). {remedy}") from error
    if not isinstance(stored, np.ndarray) or stored.ndim != 2 or stored.dtype.kind != "f":
        raise UserError(f"{path}: is damaged (no table of numbers). {remedy}")
    return stored


def _files(folder: Path, splits: list[str] | None) -> list[Path]:
    present = sorted(folder.glob("*.parquet"))
    chosen = [p for p in present if splits is None or p.stem in splits]
    if not chosen or (splits and {p.stem for p in chosen} != set(splits)):
        have = ", ".join(p.stem for p in present) or "none"
        raise UserError(
            f"{folder}: no predictions for {', '.join(splits or ['any split'])} (have: {have}).\n"
            f"Run `rsam predict {folder.parent}` first."
        )
    return chosen


def _names(path: Path) -> list[str]:
    try:
        return list(pq.read_schema(path).names)
    except PARQUET_ERRORS as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"{path}: is damaged ({reason}).\nRun `rsam predict {path.parent.parent}` again.")


def _read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    try:
        table = pq.read_table(path, columns=columns)
        table.validate(full=True)  # reading does not check lengths and text; wrong ones would crash
        require_columns(table.schema, SCHEMA.names if columns is None else columns)
        table = table.cast(pa.schema([_field(name) for name in table.column_names]))
        _require_complete(table)
    except PARQUET_ERRORS as error:
        raise _damaged(path, error) from error
    return table


def require_columns(schema: pa.Schema, names: Sequence[str]) -> None:
    """Raise `ValueError` if a table lacks one of these columns."""
    if missing := [name for name in names if name not in schema.names]:
        raise ValueError(f"it lacks the columns {', '.join(missing)}")


def _field(name: str) -> pa.Field:
    """The type of a column: that of `SCHEMA` or `SURE`, or of a score."""
    known = next((schema.field(name) for schema in (SCHEMA, SURE) if name in schema.names), None)
    return known if known is not None else pa.field(name, pa.float32())


def _require_complete(table: pa.Table) -> None:
    """Raise `ValueError` if a text is missing, an id repeats, or lists have another length than they must."""
    for name in ("id", "path", "split", "predicted"):
        if name in table.column_names and table.column(name).null_count:
            raise ValueError(f"{name} is missing in {table.column(name).null_count} rows")
    if "id" in table.column_names and pc.count_distinct(table.column("id")).as_py() < table.num_rows:
        raise ValueError("it repeats an id")
    for name in ("logits", *LENGTHS) if table.num_rows else ():
        if name in table.column_names:
            lengths = set(pc.unique(pc.list_value_length(table.column(name))).to_pylist())
            allowed = {LENGTHS[name], None} if name in LENGTHS else {max(lengths, key=lambda n: n or 0) or -1}
            if not lengths <= allowed:
                raise ValueError(f"its {name} differ in number")


def class_names(run: RunFolder) -> tuple[str, ...]:
    """The class names in the model's configuration; empty if the run has no model, or the model no names."""
    config = run.model / "config.json"
    if not config.is_file():
        return ()
    names = read_own(config, dict, COPY_MODEL).get("label_names") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{config}: is damaged (`label_names` are not names). {COPY_MODEL}")
    return tuple(names)
