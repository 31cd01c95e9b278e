"""Tampered files of a run, and every command that reads them: one message, exit code 2, and nothing else is touched."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import yaml
from command import rsam
from PIL import Image
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
    "adopt": ("adopt", "local-dir:{plain}", "--data", "{card}", "--run", "{out}/adopted"),
}
MODEL, CONFIG = "{run}/model/model.safetensors", "{run}/model/config.json"

TAMPERED: list[tuple[str, str, Change, Sequence[str]]] = [
    (MODEL, "cut", cut, ("predict photographs", "push", "export-model")),
    (MODEL, "header of 2^63 bytes", huge_header, ("predict photographs",)),
    (MODEL, "wrong shape", FLAT, ("push",)),
    (MODEL, "NaN", NAN, ("predict photographs", "push", "export-model")),
    (CONFIG, "cut", cut, ("predict photographs", "evaluate", "push")),
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
    ("{run}/run.json", "cut", cut, ("evaluate", "compare", "resume", "push")),
    ("{run}/run.json", "stages as a list", entry("stages", [1]), ("evaluate", "compare")),
    ("{run}/run.json", "a stage as a number", entry("stages.train", 3), ("resume", "doctor")),
    ("{run}/run.json", "rows as a text", entry("round.corrections.rows", "x"), ("evaluate", "resume")),
    (
        "{run}/config.yaml",
        "not YAML",
        lambda path: path.write_text("a: }{"),
        ("evaluate", "predict photographs", "compare", "select", "push"),
    ),
    ("{run}/config.yaml", "unknown key", entry("train.speed", 1), ("select", "export-model")),
    ("{run}/config.yaml", "a long name", entry("dataset", "x" * 3000), ("evaluate",)),
    ("{run}/predictions/train.parquet", "cut", cut, ("select",)),
    ("{run}/predictions/train.parquet", "score as text", column("misattention", lambda n: ["x"] * n), ("select",)),
    ("{run}/predictions/train.parquet", "no logits", column("logits", lambda n: [[]] * n), ("select",)),
    ("{run}/predictions/train.parquet", "one id", column("id", lambda n: ["a"] * n), ("select", "evaluate")),
    ("{run}/predictions/train.parquet", "six corners", column("corners", lambda n: [[0.5] * 6] * n), ("select",)),
    ("{run}/predictions/test.parquet", "other split", column("split", lambda n: ["val"] * n), ("compare",)),
    ("{run}/evaluation/metrics.json", "cut", cut, ("compare", "push")),
    ("{run}/evaluation/metrics.json", "accuracy as text", entry("top1", "high"), ("push",)),
    ("{run}/evaluation/metrics.json", "no classes", entry("per_class", []), ("push",)),
    ("{run}/training_records.json", "numbers", lambda path: path.write_text("[1, 2]"), ("evaluate", "select")),
    ("{run}/held_out_probabilities.npy", "cut", cut, ("select",)),
    ("{run}/held_out_probabilities.npy", "no classes", lambda p: np.save(p, np.load(p)[:, :0]), ("select",)),
    ("{run}/selection/made.json", "ids as a number", entry("ids", 3), ("replay",)),
    ("{run}/selection/made.json", "unknown strategy", entry("strategy", "luck"), ("replay",)),
    ("{corrections}", "unknown kind", row("a.jpg,guess,,b"), ("evaluate", "resume")),
    ("{corrections}", "endless number", row(f'a.jpg,rectangle,,"[{"9" * 400}, 1, 1, 1, 1]"'), ("evaluate",)),
    ("{plain}/model.safetensors", "cut", cut, ("adopt",)),
    ("{plain}/model.safetensors", "NaN", NAN, ("adopt",)),
    ("{plain}/config.json", "std as a text", entry("pretrained_cfg.std", "x"), ("adopt",)),
]
CASES = [(file, change, command) for file, _, change, commands in TAMPERED for command in commands]
NAMES = [f"{Path(file).name}, {name}: {command}" for file, name, _, commands in TAMPERED for command in commands]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An evaluated run and all that the commands name, made once."""
    folder = tmp_path_factory.mktemp("tampered")
    draws = np.random.default_rng(0)
    for split, number in (("train", 6), ("val", 2), ("test", 2)):
        for name in "abcd":
            for n in range(number):
                path = folder / "images" / split / name / f"{n}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draws.integers(0, 255, (70, 80, 3), dtype=np.uint8)).save(path)
    card, pipeline, run = folder / "card.yaml", folder / "birds.yaml", folder / "runs" / "one"
    card.write_text(f"name: birds\nlayout: folder\nroot: {folder / 'images'}\n")
    model = {"backbone": "test_resnet", "weights": "none", "image_size": 64}
    train = {"epochs": 1, "batch_size": 12, "workers": 0, "trackers": [], "discover_objects": False}
    pipeline.write_text(yaml.safe_dump({"dataset": str(card), "model": model, "train": train, "select": {"budget": 4}}))
    rsam("train", pipeline, "--run", run)
    rsam("evaluate", run)
    rsam("select", run, "--no-tag")
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
    for made in (corrections.parent, folder / "out"):
        made.mkdir()
    named = {"run": run, "other": folder / "runs" / "two", "card": card, "pipeline": pipeline, "out": folder / "out"}
    return named | {"photograph": path, "plain": folder / "plain", "corrections": corrections}


def digests(folder: Path) -> dict[str, str]:
    """Of all files below but the run's lock and log, which every command writes."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("lock", "log.txt")]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(("file", "change", "command"), CASES, ids=NAMES)
def test_a_tampered_file_is_refused_in_a_line(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch, file: str, change: Change, command: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    path = Path(file.format(**places))
    whole = path.read_bytes() if path.exists() else None
    folder = places["card"].parent
    try:
        change(path)
        before = digests(folder)
        done = rsam(*(word.format(**places) for word in COMMANDS[command]), check=2)
        after = digests(folder)
    finally:
        path.unlink() if whole is None else path.write_bytes(whole)
    said = done.stderr[done.stderr.index("rsam: ") :]
    assert said.count("\n") <= 2 and "Traceback" not in done.stderr, done.stderr
    assert path.name in said or path.parent.name in said, said
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == set()
