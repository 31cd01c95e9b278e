"""Tampered files of a run, and every command that reads them: one message, exit code 2, and nothing else is touched."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import yaml
from command import rsam
from faults.small_run import changed, digests, make_run, refusal_in
from safetensors.numpy import load_file, save_file
from timm.models import save_for_hf

Change = Callable[[Path], object]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def huge_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 2**63) + path.read_bytes()[8:])


def tensors(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Change the tensor with most axes, the first of these."""

    def changed(path: Path) -> None:
        held = load_file(path)
        name = max(held, key=lambda key: held[key].ndim)
        save_file({**held, name: np.ascontiguousarray(change(held[name]))}, path)

    return changed


def entry(keys: str, value: object) -> Change:
    """Set an entry of a JSON or YAML file, by its keys with full stops between."""

    def changed(path: Path) -> None:
        content: Any = yaml.safe_load(path.read_text())
        *outer, last = keys.split(".")
        inside = content
        for key in outer:
            inside = inside.setdefault(key, {})
        inside[last] = value
        path.write_text(json.dumps(content) if path.suffix == ".json" else yaml.safe_dump(content))

    return changed


def column(name: str, values: Callable[[int], list[Any]]) -> Change:
    def changed(path: Path) -> None:
        table = pq.read_table(path)
        place = table.column_names.index(name)
        pq.write_table(table.set_column(place, name, pa.array(values(table.num_rows))), path)

    return changed


def row(text: str) -> Change:
    return lambda path: path.write_text(f"id,kind,before,after,who,when,run\n{text},Ann,2025-01-01T00:00:00Z,one\n")


NAN, FLAT = tensors(lambda values: np.full_like(values, np.nan)), tensors(lambda values: values.reshape(-1))
COMMANDS: dict[str, Sequence[str]] = {
    "predict photographs": ("predict", "{run}", "{photograph}", "--output", "{out}/answers.csv"),
    "evaluate": ("evaluate", "{run}"),
    "select": ("select", "{run}", "--no-tag"),
    "replay": ("select", "{run}", "--no-tag", "--replay", "{run}/selection/made.json"),
    "compare": ("compare", "{run}", "{other}"),
    "resume": ("train", "{pipeline}", "--resume", "--run", "{run}"),
    "push": ("push", "{run}", "ann/birds", "--no-picture"),
    "export-model": ("export-model", "{run}", "{out}/model.pt2"),
    "doctor": ("doctor", "--report", "--run", "{run}"),
    "review": ("review", "{run}", "--no-app"),
    "apply": ("apply", "{run}"),
    "annotate": ("annotate", "{run}", "{out}/tasks.json", "--to", "label-studio"),
    "export": ("export", "{run}", "{out}/subset", "--tag", "relabel"),
    "adopt": ("adopt", "local-dir:{plain}", "--data", "{card}", "--run", "{out}/adopted"),
}
MODEL, CONFIG = "{run}/model/model.safetensors", "{run}/model/config.json"

TAMPERED: list[tuple[str, str, Change, Sequence[str]]] = [
    (MODEL, "cut", cut, ("predict photographs", "push", "export-model")),
    (MODEL, "header of 2^63 bytes", huge_header, ("predict photographs",)),
    (MODEL, "wrong shape", FLAT, ("push",)),
    (MODEL, "NaN", NAN, ("predict photographs", "push", "export-model")),
    (CONFIG, "cut", cut, ("predict photographs", "evaluate", "push", "review")),
    (CONFIG, "too many classes", entry("num_classes", 10**11), ("predict photographs", "push")),
    (
        CONFIG,
        "a class without a name",
        entry("label_names", ["a", None, "c", "d"]),
        ("predict photographs", "evaluate"),
    ),
    (CONFIG, "std of 0", entry("pretrained_cfg.std", [0.5, 0, 0.5]), ("predict photographs", "push")),
    (CONFIG, "mean of texts", entry("pretrained_cfg.mean", ["a", "b", "c"]), ("predict photographs",)),
    (CONFIG, "two sizes", entry("pretrained_cfg.input_size", [3, 64]), ("predict photographs",)),
    ("{run}/model/known_classes.safetensors", "NaN", NAN, ("predict photographs",)),
    ("{run}/model/known_classes.safetensors", "flat", FLAT, ("predict photographs",)),
    ("{run}/model/known_classes.safetensors", "narrow", tensors(lambda v: v[:, :2]), ("predict photographs",)),
    ("{run}/run.json", "cut", cut, ("evaluate", "compare", "resume", "push", "apply", "export")),
    ("{run}/run.json", "stages as a list", entry("stages", [1]), ("evaluate", "compare", "review", "apply", "export")),
    ("{run}/run.json", "a stage as a number", entry("stages.train", 3), ("resume", "doctor")),
    (
        "{run}/run.json",
        "rows as a text",
        entry("round.corrections.rows", "x"),
        ("evaluate", "resume", "review", "export"),
    ),
    (
        "{run}/config.yaml",
        "not YAML",
        lambda path: path.write_text("a: }{"),
        ("evaluate", "predict photographs", "compare", "select", "push", "review", "apply", "annotate", "export"),
    ),
    ("{run}/config.yaml", "unknown key", entry("train.speed", 1), ("select", "export-model", "review", "annotate")),
    ("{run}/config.yaml", "a long name", entry("dataset", "x" * 3000), ("evaluate",)),
    ("{run}/predictions/train.parquet", "cut", cut, ("select", "review", "export")),
    (
        "{run}/predictions/train.parquet",
        "score as text",
        column("misattention", lambda n: ["x"] * n),
        ("select", "review", "export"),
    ),
    ("{run}/predictions/train.parquet", "no logits", column("logits", lambda n: [[]] * n), ("select", "review")),
    ("{run}/predictions/train.parquet", "one id", column("id", lambda n: ["a"] * n), ("select", "evaluate", "review")),
    (
        "{run}/predictions/train.parquet",
        "six corners",
        column("corners", lambda n: [[0.5] * 6] * n),
        ("select", "review", "export"),
    ),
    ("{run}/predictions/test.parquet", "other split", column("split", lambda n: ["val"] * n), ("compare",)),
    ("{run}/evaluation/metrics.json", "cut", cut, ("compare", "push")),
    ("{run}/evaluation/metrics.json", "accuracy as text", entry("top1", "high"), ("push",)),
    ("{run}/evaluation/metrics.json", "no classes", entry("per_class", []), ("push",)),
    ("{run}/predictions/train.parquet", "no path", column("path", lambda n: [None] * n), ("review", "export")),
    (
        "{run}/training_records.json",
        "numbers",
        lambda path: path.write_text("[1, 2]"),
        ("evaluate", "select", "review"),
    ),
    ("{run}/held_out_probabilities.npy", "cut", cut, ("select", "review")),
    ("{run}/held_out_probabilities.npy", "no classes", lambda p: np.save(p, np.load(p)[:, :0]), ("select",)),
    ("{run}/selection/made.json", "ids as a number", entry("ids", 3), ("replay",)),
    ("{run}/selection/made.json", "unknown strategy", entry("strategy", "luck"), ("replay",)),
    ("{corrections}", "unknown kind", row("a.jpg,guess,,b"), ("evaluate", "resume", "review", "apply", "export")),
    ("{corrections}", "endless number", row(f'a.jpg,rectangle,,"[{"9" * 400}, 1, 1, 1, 1]"'), ("evaluate", "apply")),
    ("{plain}/model.safetensors", "cut", cut, ("adopt",)),
    ("{plain}/model.safetensors", "NaN", NAN, ("adopt",)),
    ("{plain}/config.json", "std as a text", entry("pretrained_cfg.std", "x"), ("adopt",)),
]
CASES = [(file, change, command) for file, _, change, commands in TAMPERED for command in commands]
NAMES = [f"{Path(file).name}, {name}: {command}" for file, name, _, commands in TAMPERED for command in commands]


@pytest.fixture(scope="module")
def places(fiftyone_module: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An evaluated run, written into FiftyOne, and all that the commands name, made once."""
    folder = tmp_path_factory.mktemp("tampered")
    made = make_run(folder)
    run = made["run"]
    rsam("review", run, "--no-app")
    rsam("select", run)
    next((run / "selection").glob("*.json")).rename(run / "selection" / "made.json")
    save_for_hf(
        timm.create_model("test_resnet", num_classes=4),
        folder / "plain",
        {"label_names": list("abcd")},
        safe_serialization=True,
    )
    np.save(run / "held_out_probabilities.npy", np.full((24, 4), 0.25, np.float32))
    shutil.copytree(run, folder / "runs" / "two")
    corrections = folder / "runs" / "corrections" / "birds.csv"
    corrections.parent.mkdir()
    return made | {"other": folder / "runs" / "two", "plain": folder / "plain", "corrections": corrections}


def documents(fiftyone: ModuleType) -> dict[str, str]:
    """Of FiftyOne's samples, as the database has them."""
    return {
        str(document["_id"]): repr(document) for document in fiftyone.load_dataset("birds")._sample_collection.find()
    }


@pytest.mark.parametrize(("file", "change", "command"), CASES, ids=NAMES)
def test_a_tampered_file_is_refused_in_a_line(
    places: dict[str, Path],
    fiftyone_module: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    change: Change,
    command: str,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    path = Path(file.format(**places))
    whole = path.read_bytes() if path.exists() else None
    folder = places["card"].parent
    try:
        change(path)
        before = digests(folder) | documents(fiftyone_module)
        done = rsam(*(word.format(**places) for word in COMMANDS[command]), check=2)
        after = digests(folder) | documents(fiftyone_module)
    finally:
        path.unlink() if whole is None else path.write_bytes(whole)
    said = refusal_in(done.stderr)
    assert path.name in said or path.parent.name in said, said
    assert changed(before, after) == set()
