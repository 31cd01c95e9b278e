"""Files of a run that were cut, mutated or made by somebody else: one line that names the file, and no traceback."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from rsam_app.config import Card, ModelConfig
from rsam_app.data.download.checksums import FirstDownloads
from rsam_app.data.layouts import read_listing
from rsam_app.data.synthetic.planting import read_planted
from rsam_app.model.adopted import plain_classifier
from rsam_app.model.fitted import read_fitted, save_fitted
from rsam_app.model.named_backbone import of_architecture, place_of_backbone
from rsam_app.model.pretrained import pretrained_weights
from rsam_app.model.store import load_model
from rsam_app.review.annotation_tools.files import read_cvat, read_label_studio
from rsam_app.run.corrections import read_corrections
from rsam_app.run.folder import RunFolder
from rsam_app.run.metrics_log import cut_log, read_log
from rsam_app.run.predictions import (
    class_names,
    embeddings_path,
    read_batches,
    read_columns,
    read_embeddings,
    read_logits,
    read_predictions,
    write_predictions,
)
from rsam_app.run.trained_on import training_ids, training_order
from rsam_app.selection.select import replay
from rsam_app.selection.simulation.run import Cells
from rsam_app.system.errors import UserError
from rsam_app.training.discovery.targets import stored_targets

DEEP = "[" * 100_000 + "]" * 100_000
DEEP_OBJECT = '{"split": ' * 100_000


def read_coco(path: Path) -> object:
    return read_listing(Card(name="x", layout="inaturalist", root=str(path.parent), splits={"train": path.stem}))


def of_network(path: Path, use: Callable[[ModelConfig], object]) -> object:
    config = ModelConfig(backbone=f"local-dir:{path.parent}", weights="none")
    return use(config)


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "run.json": ("run.json", lambda path: RunFolder(path.parent).read_json()),
    "metrics": ("evaluation/metrics.json", lambda path: RunFolder(path.parent.parent).read_metrics()),
    "class names": ("model/config.json", lambda path: class_names(RunFolder(path.parent.parent))),
    "fitted": ("model/config.json", lambda path: read_fitted(path.parent, "temperature")),
    "fitting": ("model/config.json", lambda path: save_fitted(path.parent, temperature=1.0)),
    "model": ("model/config.json", lambda path: load_model(path.parent)),
    "checkpoint of timm": ("model/config.json", lambda path: plain_classifier(f"local-dir:{path.parent}", None)),
    "file of weights": (
        "model/config.json",
        lambda path: plain_classifier(str(path.parent / "model.safetensors"), None),
    ),
    "backbone": (
        "model/config.json",
        lambda path: of_network(path, lambda c: of_architecture(c, place_of_backbone(c))),  # type: ignore[arg-type]
    ),
    "weights of a run": (
        "model/config.json",
        lambda path: pretrained_weights(ModelConfig(weights=str(path.parent / "model.safetensors")), 2),
    ),
    "training ids": ("training_records.json", training_ids),
    "order of ids": ("training_records.json", training_order),
    "discovered": ("discovered.json", stored_targets),
    "selection": ("selection/manifest.json", lambda path: replay(RunFolder(path.parent.parent), path)),
    "cells": ("cells.jsonl", lambda path: Cells(path, "x").read()),
    "planted": ("planted.json", read_planted),
    "downloads": ("downloads.json", FirstDownloads),
    "Label Studio": ("export.json", lambda path: list(read_label_studio(path))),
    "CVAT": ("export.xml", lambda path: list(read_cvat(path))),
    "COCO": ("coco.json", read_coco),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "content", [DEEP, DEEP_OBJECT, '{"split": ', "3", "\udcff"], ids=["[[[", "{{{", "cut", "3", "ff"]
)
def test_json_that_is_nested_cut_or_of_another_kind_is_named(tmp_path: Path, reader: str, content: str) -> None:
    name, read = READERS[reader]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    save_file({"fc.weight": np.zeros((2, 2), np.float32)}, path.parent / "model.safetensors")
    path.write_bytes((content + "\n").encode(errors="surrogateescape"))
    before = path.read_bytes()
    if (reader, content) == ("downloads", "3"):
        return  # a number holds no downloads
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path.parent) in message and len(message) < 2200 and message.count("\n") <= 1, message
    assert path.read_bytes() == before


def test_a_log_that_was_cut_is_read_and_shortened(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"epoch": 1, "train_loss": 2.5}\n' + DEEP + '\n{"train_loss": 1}\n{"epoch": 2}\n{"epoch": 3, "tr')
    assert [line.get("epoch") for line in read_log(log)[0]] == [1, None, 2]
    assert cut_log(log, 1) == 3
    assert log.read_text() == '{"epoch": 1, "train_loss": 2.5}\n'
    assert cut_log(tmp_path / "none", 1) == 0


def table(images: int = 40) -> pa.Table:
    ids = [f"{number}.jpg" for number in range(images)]
    texts = {"id": ids, "path": ids, "split": ["test"] * images, "label": ["auk"] * images, "predicted": ids}
    numbers = {name: np.random.rand(images) for name in ("confidence", "margin", "entropy", "misattention")}
    places = {name: np.ones(images) for name in ("cx", "cy", "width", "height", "angle")}
    lists = {"logits": [[0.0, 1.5]] * images, "corners": [[0.5] * 8] * images, "box": [[0.5] * 4] * images}
    return pa.table({**texts, **numbers, **places, **lists})


def mutations(content: bytes, number: int) -> list[bytes]:
    """Cut, overwritten and repeated in random places, more often in the footer that describes the rest."""
    chance, found = random.Random(0), []
    for _ in range(number):
        data = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(data) if chance.random() < 0.5 else min(400, len(data)))
            data[-1 - place] = chance.choice((0, 255, 127, chance.randrange(256)))
        found.append(bytes(data[: chance.randrange(len(data))] if chance.random() < 0.2 else data))
    return found


def read_all(folder: Path) -> None:
    path = folder / "test.parquet"
    reads: list[Callable[[], Any]] = [
        lambda: read_predictions(folder).to_pylist(),
        lambda: read_columns(folder, ["id", "misattention"]).to_pylist(),
        lambda: read_logits(path),
        lambda: [batch.to_pylist() for batch in read_batches(path, 16)],
        lambda: read_embeddings(folder),
    ]
    for read in reads:
        try:
            read()
        except UserError as error:
            assert str(folder) in str(error) and str(error).count("\n") <= 1


def test_mutated_predictions_and_embeddings_are_read_or_named(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "predictions"
    path = folder / "test.parquet"
    write_predictions(path, table(), np.zeros((40, 3)))
    for file, number in ((path, 300), (embeddings_path(path), 150)):
        whole = file.read_bytes()
        for content in mutations(whole, number):
            file.write_bytes(content)
            read_all(folder)
        file.write_bytes(whole)
    read_all(folder)
    assert read_predictions(folder).num_rows == len(read_embeddings(folder)) == 40


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.drop_columns(["logits"]), "lacks the columns logits"),
        (lambda t: t.set_column(8, "logits", pa.array([[1.0], [1.0, 2.0]] * 20)), "logits differ in number"),
        (lambda t: t.set_column(5, "confidence", pa.array(["high"] * 40)), "high"),
    ],
)
def test_a_table_of_another_form_is_named(tmp_path: Path, change: Callable[[pa.Table], pa.Table], reason: str) -> None:
    path = tmp_path / "predictions" / "test.parquet"
    write_predictions(path, table())
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(UserError, match=reason):
        read_predictions(path.parent)


def test_foreign_arrays_beside_predictions_are_named(tmp_path: Path) -> None:
    path = tmp_path / "predictions" / "test.parquet"
    write_predictions(path, table(), np.zeros((40, 3)))
    for foreign in (np.array([{}] * 40), np.zeros(40), np.array([["a"]] * 40)):
        np.save(embeddings_path(path), foreign, allow_pickle=True)
        with pytest.raises(UserError, match="is damaged"):
            read_embeddings(path.parent)
    np.savez(tmp_path / "x.npz", a=np.zeros((40, 3)))
    embeddings_path(path).write_bytes((tmp_path / "x.npz").read_bytes())
    with pytest.raises(UserError, match="is damaged"):
        read_embeddings(path.parent)


def test_deep_json_in_a_correction_is_named(tmp_path: Path) -> None:
    path = tmp_path / "birds.csv"
    path.write_text(f'id,kind,before,after,who,when,run\na.jpg,rectangle,,"{"[" * 100_000}",me,2026,r\n')
    with pytest.raises(UserError, match="line 2") as caught:
        read_corrections(path)
    assert len(str(caught.value)) < 2200
    assert str(caught.value).endswith("Fix or delete the line.")
