"""`rsam predict MODEL PATH…`: answers about any photographs, as rows of a file, lines, or pictures."""

from __future__ import annotations

import csv
import glob
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rsam_app.data.layouts.folder import SUFFIXES, images_below
from rsam_app.data.layouts.ignored import Ignored
from rsam_app.data.records import Skipped
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.system.errors import UserError
from rsam_app.system.files import replace_atomically
from rsam_app.system.paths import is_address, misread
from rsam_app.system.progress import printable
from rsam_app.system.spreadsheets import csv_cell

if TYPE_CHECKING:
    import pyarrow as pa

    from rsam_app.evaluation.inference.answers import Answer
    from rsam_app.evaluation.inference.trained_model import TrainedModel

LIST = "-"
"""The argument that stands for a list of paths on standard input, one a line."""

ROWS = 512
"""Answers that a Parquet file takes at once."""

LONGEST_NAME = 100
"""Letters of a picture's name at most."""

DRAWN_SIDE = 1280
"""Longest side of a drawn picture, pixels."""


class PictureError(UserError):
    """A photograph could be answered about, but not read again to draw it."""


@dataclass
class Count:
    """Photographs that were answered about, and the files that could not be read."""

    answered: int = 0
    broken: int = 0


def listed_photographs(arguments: Sequence[str], stdin: TextIO) -> list[str]:
    """The photographs that the arguments name, each file once: files, addresses, folders at any depth, globs, and `-`
    for a list on `stdin`. Raises `UserError` for an argument that names nothing."""
    found: dict[str, str] = {}
    for argument in arguments:
        lines = (line.rstrip("\r\n") for line in stdin) if argument == LIST else [argument]
        for name in filter(None, lines):
            for photograph in _below(name):
                real = photograph if is_address(photograph) else os.path.realpath(photograph)
                _require_utf8(photograph)
                found.setdefault(real, photograph)
    if not found:
        raise UserError("no photographs: the list is empty. Give paths or addresses, on standard input one a line.")
    return list(found.values())


def _require_utf8(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{printable(name)}: its name is not UTF-8. Rename the file.") from error


def _below(name: str) -> list[str]:
    """What an argument names: itself, the images below a folder, or the matches of a glob."""
    if is_address(name):
        return [name]
    path = os.path.expanduser(name)
    if os.path.isdir(path):
        images = _images(path)
        if not images:
            raise UserError(f"{name}: no images in this folder ({', '.join(sorted(SUFFIXES))}).")
        return images
    if glob.has_magic(path) and not os.path.exists(path):
        matches = sorted(glob.glob(path, recursive=True))
        if not matches:
            raise UserError(f"{name}: no file matches. Check the pattern; ** stands for folders at any depth.")
        listed = [image for match in matches for image in (_images(match) if os.path.isdir(match) else [match])]
        if not listed:
            raise UserError(f"{name}: no images in the folders that match ({', '.join(sorted(SUFFIXES))}).")
        return listed
    if not os.path.exists(path):
        raise UserError(f"{name}: no such file or folder.{misread(Path(name))} Give photographs, folders or addresses.")
    return [path]


def _images(folder: str) -> list[str]:
    below = images_below(Path(folder), Counter(), Ignored(Path(folder), ()))
    return [os.path.join(folder, image) for image in below]


def predict_photographs(
    model: TrainedModel,
    photographs: Sequence[str],
    write: Callable[[Answer], object],
    broken: Callable[[Skipped], object],
    advance: Callable[[int], object] = lambda images: None,
) -> Count:
    """Call `write` with the answer about each photograph, in order, or `broken` if it cannot be read."""
    count = Count()
    for answer in model.stream(photographs):
        if isinstance(answer, Skipped):
            broken(answer)
            count.broken += 1
        else:
            try:
                write(answer)
                count.answered += 1
            except PictureError as error:
                broken(Skipped(Path(answer.image), str(error), answer.image))
                count.broken += 1
        advance(1)
    return count


# ---- rows


def row_of(answer: Answer) -> dict[str, Any]:
    """An answer as a row: the columns of the predictions table, then `calibrated_confidence`, `unknown`, `sure`
    with its level and probability, `top` and `top_probabilities`."""
    from rsam_app.evaluation.inference.predictions_table import confidence_columns
    from rsam_app.model.calibration import calibrated_probabilities
    from rsam_app.run.predictions import sure_columns

    width, height = answer.size
    shares = confidence_columns(calibrated_probabilities(answer.logits[None], None))
    rectangle = answer.rectangle
    corners = [value for x, y in answer.corners or () for value in (x / width, y / height)]
    return {
        "id": answer.image,
        "path": answer.image,
        "split": None,
        "label": None,
        "predicted": answer.label,
        **{name: float(values[0]) for name, values in shares.items()},
        "logits": answer.logits.tolist(),
        **dict(zip(RECTANGLE_FIELDS, rectangle or [None] * 5, strict=True)),
        "corners": corners or None,
        "box": None if answer.box is None else [v / e for v, e in zip(answer.box, (width, height) * 2, strict=True)],
        "calibrated_confidence": answer.probability,
        "unknown": answer.unknown,
        **{name: value for name, (value,) in sure_columns([answer.sure]).items()},
        "top": [name for name, _ in answer.top],
        "top_probabilities": [share for _, share in answer.top],
    }


def row_writer(path: Path) -> AbstractContextManager[Callable[[Answer], None]]:
    """A writer of answers into a new file; the file is complete when the block ends, and absent if it failed.

    The ending chooses the format. Raises `UserError` for another ending, or if the file cannot be written.
    """
    writers = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}
    if path.suffix.lower() not in writers:
        raise UserError(f"--output {path}: unknown ending {path.suffix!r}. Give a file {', '.join(writers)}.")
    if path.is_dir() or not path.absolute().parent.is_dir():
        what = "is a folder" if path.is_dir() else f"there is no folder {path.absolute().parent}"
        raise UserError(f"--output {path}: {what}. Give a file in an existing folder.")
    return writers[path.suffix.lower()](path)


@contextmanager
def _csv(path: Path) -> Iterator[Callable[[Answer], None]]:
    """Rows of comma-separated values; lists are JSON in one cell."""
    with replace_atomically(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer: csv.DictWriter[str] | None = None

        def write(answer: Answer) -> None:
            nonlocal writer
            row = {k: json.dumps(v) if isinstance(v, list) else csv_cell(v) for k, v in row_of(answer).items()}
            if writer is None:
                writer = csv.DictWriter(stream, list(row), lineterminator="\n")
                writer.writeheader()
            writer.writerow(row)

        yield write


@contextmanager
def _json_lines(path: Path) -> Iterator[Callable[[Answer], None]]:
    with replace_atomically(path) as partial, partial.open("w", encoding="utf-8") as stream:
        yield lambda answer: print(json_line(answer), file=stream)


def json_line(answer: Answer) -> str:
    """An answer's row as one line of JSON."""
    return json.dumps(row_of(answer), ensure_ascii=False)


@contextmanager
def _parquet(path: Path) -> Iterator[Callable[[Answer], None]]:
    import pyarrow.parquet as pq

    schema = _schema()
    with replace_atomically(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        rows: list[dict[str, Any]] = []

        def flush() -> None:
            import pyarrow as pa

            writer.write_table(pa.Table.from_pylist(rows, schema))
            rows.clear()

        def write(answer: Answer) -> None:
            rows.append(row_of(answer))
            if len(rows) == ROWS:
                flush()

        yield write
        flush()


def _schema() -> pa.Schema:
    import pyarrow as pa

    from rsam_app.run.predictions import SCHEMA, SURE

    scores = {"calibrated_confidence": pa.float32(), "unknown": pa.float32()}
    top = {"top": pa.list_(pa.string()), "top_probabilities": pa.list_(pa.float32())}
    return pa.schema([*SCHEMA, *scores.items(), *SURE, *top.items()])


# ---- lines and pictures


def line_of(answer: Answer) -> str:
    """An answer as a line of the terminal: class, calibrated probability, rectangle, path."""
    where = "-"
    if answer.rectangle is not None:
        cx, cy, width, height, angle = answer.rectangle
        where = f"{width:.0f}x{height:.0f} at {cx:.0f},{cy:.0f} rotated {math.degrees(angle):.0f}°"
    return f"{printable(answer.label)}\t{answer.probability:.3f}\t{where}\t{printable(answer.image)}"


HEADER = "class\tprobability\trectangle\tphotograph"
"""The line above those of `line_of`."""


def broken_line(skipped: Skipped) -> str:
    """A line about a photograph that could not be read."""
    return f"{printable(skipped.id)}: {' '.join(skipped.reason.split())}"


def closing_line(count: Count, output: Path | None) -> str:
    """The last line: how many photographs were answered about, where the rows are, and how many files were broken."""
    what = "1 prediction" if count.answered == 1 else f"{count.answered:,} predictions"
    broken = f"; {count.broken:,} could not be read: see above" if count.broken else ""
    return f"{what}{f' written to {output}' if output else ''}{broken}"


class Pictures:
    """Saves each photograph with its rectangle and label into a new or empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._taken: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise UserError(f"--draw {folder}: is not empty. Give a new folder.")
        except OSError as error:
            raise UserError(f"--draw {folder}: cannot create this folder ({error}). Give another.") from error

    def __call__(self, answer: Answer) -> None:
        """Save the picture about an answer as `NAME.jpg`; a name that is taken gets a number."""
        from PIL import Image

        from rsam_app.evaluation.inference.photographs import decode

        try:
            picture = Image.fromarray(decode(answer.image).pixels)
        except UserError as error:
            raise PictureError(f"its picture cannot be drawn: {error}") from error
        picture.thumbnail((DRAWN_SIDE, DRAWN_SIDE))
        stem = (Path(answer.image.rpartition("/")[2]).stem or "photograph")[:LONGEST_NAME]
        name, number = stem, 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._taken.add(name.casefold())
        try:
            with replace_atomically(self.folder / f"{name}.jpg") as partial:
                answer.draw(picture).save(partial, "JPEG", quality=90)
        except OSError as error:
            raise UserError(
                f"--draw {self.folder}: {name}.jpg could not be written ({error.strerror or error}).\n"
                "Free disk space, empty the folder and rerun."
            ) from error


def all_of(writers: Iterable[Callable[[Answer], object]]) -> Callable[[Answer], None]:
    """One writer that calls several."""
    several = list(writers)

    def write(answer: Answer) -> None:
        for writer in several:
            writer(answer)

    return write


def terminal_lines(as_json: bool, echo: Callable[[str], object]) -> Callable[[Answer], object]:
    """A writer of lines: a table with a header, or JSON."""
    if as_json:
        return lambda answer: echo(json_line(answer))
    if sys.stdout.isatty():
        echo(HEADER)
    return lambda answer: echo(line_of(answer))
