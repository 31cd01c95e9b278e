"""Speed of writing a run into FiftyOne, against `sample.save()` in a loop and FiftyOne's own bulk calls.

    python benchmarks/fiftyone_write.py [--images 10000] [--saved 1000] [--records 200000]

The work for every image: the sample with its label, size and true box, and of one run the prediction with 200 logits,
the rectangle (Polylines), its box (Detections with `model_box` and five attributes) and eight scores. The rows are
random, there are no images, and the database is a private one on this machine's disk. Near-duplicates are read from
the run's folder, where `rsam predict` stores them.

Three writers take turns in every round, each into a new dataset: `write_run` with views, sidebar and indexes;
FiftyOne's bulk calls (`add_samples`, then `set_values` for each field); and the loop of the tutorials (fetch a sample,
set its fields, `sample.save()`), on fewer images, its time scaled. Then `write_run` again with the same rows in a new
file, and with every row changed. Finally the largest memory of this process, above that before, while 20,000 and
200,000 records are written. Results: `benchmarks/results/fiftyone_write.json`.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measuring.surroundings import where

from rsam_app.config import Pipeline
from rsam_app.data.near_duplicates.result import Duplicates
from rsam_app.data.near_duplicates.table import files_state, write_table
from rsam_app.data.records import Dataset, Record
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import SCHEMA

RESULTS = Path(__file__).resolve().parent / "results" / "fiftyone_write.json"
CLASSES = tuple(f"{i:03}.class" for i in range(200))
SCORES = tuple(f"score_{i}" for i in range(8))
PIECE = 5000
KEY = "run"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--saved", type=int, default=1_000, help="images of the `sample.save()` loop")
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    folder = _private_database()
    report: dict[str, Any] = {"environment": where(), "images": arguments.images, "logits": len(CLASSES)}
    rounds = [_round(folder, arguments.images, arguments.saved) for _ in range(arguments.rounds)]
    report["seconds"] = {name: [round(r[name], 2) for r in rounds] for name in rounds[0]}
    report["ratios"] = _ratios(rounds)
    print(json.dumps({name: report[name] for name in ("seconds", "ratios")}, indent=2), flush=True)
    if arguments.records:
        report["memory"] = [_memory(folder, n) for n in (arguments.records // 10, arguments.records)]
        print(json.dumps(report["memory"], indent=2), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _private_database() -> Path:
    """Import FiftyOne with a database of this benchmark, which is deleted with the process."""
    folder = Path(tempfile.mkdtemp(prefix="rsam-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in ("FIFTYONE_DATABASE_URI", "FIFTYONE_DATABASE_DIR"):
        os.environ.pop(name, None)
    os.environ |= {
        "RSAM_DATABASE_DIR": str(folder / "database"),
        "FIFTYONE_CONFIG_PATH": str(folder / "config.json"),
        "FIFTYONE_DATABASE_NAME": f"rsam-bench-{os.getpid()}",
        "FIFTYONE_DO_NOT_TRACK": "true",
        "FIFTYONE_SHOW_PROGRESS_BARS": "false",
    }
    from rsam_app.system.mongodb.connection import import_fiftyone

    import_fiftyone()
    return folder


def _round(folder: Path, images: int, saved: int) -> dict[str, float]:
    """Return the seconds of every writer, once."""
    dataset = _dataset("bench", images)
    run = _run(folder / "run", dataset, seed=0)
    times = {"sample.save() loop": _timed(lambda: _save_loop(dataset, run, saved)) * images / saved}
    times["add_samples and set_values"] = _timed(lambda: _library(dataset, run))
    times["write_run"] = _timed(lambda: _write(run, dataset))
    _run(folder / "run", dataset, seed=0, row_group=PIECE // 3)  # another file, the same rows
    times["write_run, the same rows again"] = _timed(lambda: _write(run, dataset))
    _run(folder / "run", dataset, seed=1)
    times["write_run, every row changed"] = _timed(lambda: _write(run, dataset))
    _remove(dataset.name, run)
    return times


def _ratios(rounds: list[dict[str, float]]) -> dict[str, float]:
    ours = "write_run"
    return {
        "faster than sample.save()": round(median(r["sample.save() loop"] / r[ours] for r in rounds), 2),
        "faster than add_samples and set_values": round(
            median(r["add_samples and set_values"] / r[ours] for r in rounds), 2
        ),
        "the same rows again, of the first write": round(
            median(r["write_run, the same rows again"] / r[ours] for r in rounds), 3
        ),
    }


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


# ---- the data


def _dataset(name: str, images: int) -> Dataset:
    folder = Path("/nowhere/images")
    records = (
        Record(
            f"{i % 200:03}/{i:06}.jpg",
            folder / f"{i:06}.jpg",
            CLASSES[i % 200],
            "train",
            500,
            375,
            ((60, 40, 300, 250),),
        )
        for i in range(images)
    )
    return Dataset(name, tuple(records), CLASSES, "CC0")


def _run(path: Path, dataset: Dataset, seed: int, row_group: int = PIECE) -> RunFolder:
    """Return a run with random predictions, written in pieces."""
    run = RunFolder(path)
    if not run.config_path.exists():
        run.save_pipeline(Pipeline(name="bench", dataset="bench"))
    run.predictions.mkdir(exist_ok=True)
    schema = pa.schema([*SCHEMA, *((name, pa.float32()) for name in SCORES)])
    rng = np.random.default_rng(seed)
    with pq.ParquetWriter(run.predictions / "train.parquet", schema) as writer:
        for start in range(0, len(dataset.records), PIECE):
            piece = _rows(dataset.records[start : start + PIECE], rng)
            writer.write_table(pa.table(piece, schema=schema), row_group_size=row_group)
    count = len(dataset.records)  # as `predict` stores them; missing images cannot be compared
    none = Duplicates(np.arange(count), np.zeros((0, 2), dtype=np.int64), np.zeros(0))
    write_table(run.near_duplicates, none, dataset.records, files_state(dataset.records))
    return run


def _rows(records: tuple[Record, ...], rng: np.random.Generator) -> dict[str, Any]:
    count = len(records)
    logits = rng.normal(size=(count, len(CLASSES))).astype(np.float32)
    numbers = {name: rng.random(count, dtype=np.float32) for name in ("confidence", "margin", "entropy", *SCORES)}
    five = {name: rng.uniform(50, 300, count).astype(np.float32) for name in RECTANGLE_FIELDS}
    return {
        "id": [r.id for r in records],
        "path": [str(r.path) for r in records],
        "split": [r.split for r in records],
        "label": [r.label for r in records],
        "predicted": [CLASSES[i] for i in logits.argmax(axis=1)],
        "logits": list(logits),
        "corners": list(rng.random((count, 8), dtype=np.float32)),
        "box": list(rng.uniform(0.1, 0.4, (count, 4)).astype(np.float32)),
        **numbers,
        **five,
    }


# ---- the writers


def _write(run: RunFolder, dataset: Dataset) -> None:
    from rsam_app.review.writing.write_run import write_run

    write_run(run, dataset, KEY)


def _objects(dataset: Dataset, run: RunFolder) -> Iterator[tuple[Record, dict[str, Any]]]:
    """Yield FiftyOne's objects for every row."""
    import fiftyone as fo

    from rsam_app.review.dataset.fields import score_fields

    with pq.ParquetFile(run.predictions / "train.parquet") as table:
        rows = (row for batch in table.iter_batches(2000) for row in batch.to_pylist())
        for record, row in zip(dataset.records, rows, strict=True):
            common = {"label": row["predicted"], "confidence": row["confidence"]}
            five = {name: row[name] for name in RECTANGLE_FIELDS}
            box = fo.Detection(**common, bounding_box=row["box"], model_box=list(row["box"]), **five)
            points = [list(zip(row["corners"][0::2], row["corners"][1::2], strict=True))]
            polyline = fo.Polyline(**common, points=points, closed=True, filled=True)
            logits = np.asarray(row["logits"], dtype=np.float32)
            yield (
                record,
                {
                    f"{KEY}_prediction": fo.Classification(**common, logits=logits),
                    f"{KEY}_attention": fo.Detections(detections=[box]),
                    f"{KEY}_rectangle": fo.Polylines(polylines=[polyline]),
                    **{f"{KEY}_{name}": row[name] for name in score_fields(list(row))},
                },
            )


def _values(record: Record) -> dict[str, Any]:
    import fiftyone as fo

    from rsam_app.review.dataset.record_fields import true_boxes_document

    return {
        "metadata": fo.ImageMetadata(width=record.width, height=record.height),
        "ground_truth": fo.Classification(label=record.label),
        "ground_truth_boxes": fo.Detections.from_dict(true_boxes_document(record)),
        "split": record.split,
    }


def _save_loop(dataset: Dataset, run: RunFolder, count: int) -> None:
    """Add samples, then fetch, set and save each, as in the tutorials."""
    with _new_set() as made:
        import fiftyone as fo

        made.add_samples([fo.Sample(filepath=str(r.path), record_id=r.id) for r in dataset.records[:count]])
        objects = _objects(dataset, run)
        for sample in made:
            record, values = next(objects)
            for name, value in {**_values(record), **values}.items():
                sample[name] = value
            sample.save()


def _library(dataset: Dataset, run: RunFolder) -> None:
    """Use FiftyOne's own bulk calls without their most expensive checks."""
    import fiftyone as fo

    from rsam_app.review.dataset.fields import declare_run

    with _new_set() as made:
        declare_run(made, KEY, [*SCHEMA.names, *SCORES])
        chunk: list[tuple[Record, dict[str, Any]]] = []
        for name, kind in (("ground_truth", fo.Classification), ("ground_truth_boxes", fo.Detections)):
            made.add_sample_field(name, fo.EmbeddedDocumentField, embedded_doc_type=kind)
        for name in ("record_id", "split"):
            made.add_sample_field(name, fo.StringField)
        for pair in _objects(dataset, run):
            chunk.append(pair)
            if len(chunk) == 2000:
                _set_values(made, chunk)
                chunk = []
        if chunk:
            _set_values(made, chunk)


def _set_values(made: Any, chunk: list[tuple[Record, dict[str, Any]]]) -> None:
    ids = _add_bare(made, [record for record, _ in chunk])
    rows = [{**_values(record), **values} for record, values in chunk]
    for name in rows[0]:
        values = {i: row[name] for i, row in zip(ids, rows, strict=True)}
        made.set_values(name, values, key_field="id", validate=False, expand_schema=False)


def _add_bare(made: Any, records: list[Record]) -> list[str]:
    import fiftyone as fo

    bare = [fo.Sample(filepath=str(r.path), record_id=r.id) for r in records]
    return list(made.add_samples(bare, validate=False, expand_schema=False, progress=False))


@contextmanager
def _new_set() -> Iterator[Any]:
    import fiftyone as fo

    made = fo.Dataset()
    yield made
    made.delete()


def _remove(name: str, run: RunFolder) -> None:
    import fiftyone as fo

    fo.delete_dataset(name)
    shutil.rmtree(run.path)


# ---- memory


def _memory(folder: Path, count: int) -> dict[str, Any]:
    """Measure the largest resident memory while `count` records are written, above that before."""
    dataset = _dataset(f"memory {count}", count)
    run = _run(folder / f"memory {count}", dataset, seed=0)
    before = _resident()
    highest, done = before, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.05):
            highest = max(highest, _resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        seconds = _timed(lambda: _write(run, dataset))
    finally:
        done.set()
        watcher.join()
    _remove(dataset.name, run)
    mebibytes = round((highest - before) / 2**20)
    return {
        "records": count,
        "seconds": round(seconds, 1),
        "held_before_mib": round(before / 2**20),
        "added_mib": mebibytes,
    }


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]
    return int(pages) * os.sysconf("SC_PAGESIZE")


if __name__ == "__main__":
    main()
