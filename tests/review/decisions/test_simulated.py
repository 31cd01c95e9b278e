"""The simulated reviewer's decisions on a few generated beetles, as corrections that `rsam apply` writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from rsam_app.config import Card, Pipeline
from rsam_app.data import load_dataset
from rsam_app.data.records import Dataset
from rsam_app.data.synthetic import Planted, generate
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.review.dataset.schema import open_review
from rsam_app.review.decisions.apply import apply_to
from rsam_app.review.decisions.simulated import NAME, Truth, decide
from rsam_app.review.writing.write_run import write_run
from rsam_app.run.corrections import Correction, apply_corrections
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import SCHEMA, write_predictions

Reviewed = tuple[Planted, Dataset, RunFolder, list[Correction], dict[str, Any]]


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory, fiftyone_module: ModuleType) -> Iterator[Reviewed]:
    """40 beetles, three of which the reviewer decides about: one with a wrong label and its rectangle off, one with a
    wrong label and its rectangle right, and one with everything right."""
    folder = tmp_path_factory.mktemp("beetles")
    planted = generate(folder / "data", images_per_species=10, species=4)
    card = Card(name=f"few-{folder.name}", layout="manifest", root=str(folder / "data/manifest.csv"), licence="CC0")
    dataset = load_dataset(card, 0)
    train = [i for i, t in planted.images.items() if t.split == "train"]
    wrong = [i for i in train if i in planted.wrong_labels]
    chosen = {"both": wrong[0], "label": wrong[1], "right": next(i for i in train if i not in wrong)}
    run = RunFolder(folder / "runs" / "demo")
    run.save_pipeline(Pipeline(name="demo", dataset="demo"))
    for split in ("train", "test"):
        write_predictions(run.predictions / f"{split}.parquet", _table(planted, dataset, split, off=chosen["both"]))
    write_run(run, dataset)
    truths = {i: Truth(planted.images[i].species, planted.images[i].box) for i in chosen.values()}
    decided = decide(open_review(dataset.name), run.key, truths)
    applied = apply_to(run, dataset.name, run.key, NAME)
    assert not applied.problems
    yield planted, dataset, run, applied.added, {**chosen, "decided": decided}


def _table(planted: Planted, dataset: Dataset, split: str, off: str) -> pa.Table:
    """Predictions with every rectangle on its beetle but that of `off`, which is in the opposite corner."""
    rows = []
    for record in dataset.split(split):
        x, y, width, height = planted.images[record.id].box
        cx, cy = x + width / 2, y + height / 2
        if record.id == off:
            cx, cy, width, height = record.width - cx, record.height - cy, width / 3, height / 3
        five = dict(zip(RECTANGLE_FIELDS, (cx, cy, width, height, 0.0), strict=True))
        left, right = (cx - width / 2) / record.width, (cx + width / 2) / record.width
        top, bottom = (cy - height / 2) / record.height, (cy + height / 2) / record.height
        rows.append(
            {
                "id": record.id,
                "path": str(record.path),
                "split": split,
                "label": record.label,
                "predicted": record.label,
                "confidence": 0.9,
                "margin": 0.8,
                "entropy": 0.3,
                "logits": [0.0] * len(dataset.classes),
                **five,
                "corners": [left, top, right, top, right, bottom, left, bottom],
                "box": [left, top, right - left, bottom - top],
            }
        )
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _of(corrections: list[Correction], record_id: str) -> dict[str, Correction]:
    return {c.kind: c for c in corrections if c.id == record_id}


def test_a_wrong_label_is_corrected_and_the_true_box_drawn(reviewed: Reviewed) -> None:
    planted, _, _, added, chosen = reviewed
    truth, decisions = planted.images[chosen["both"]], _of(added, chosen["both"])
    assert (decisions["label"].before, decisions["label"].after) == (truth.label, truth.species)
    x, y, width, height = truth.box
    drawn = json.loads(decisions["rectangle"].after)
    assert drawn == pytest.approx([x + width / 2, y + height / 2, width, height, 0.0], abs=1e-3)
    assert decisions["place"].after.startswith("wrong ")


def test_a_rectangle_on_the_object_is_marked_right_even_if_the_label_is_wrong(reviewed: Reviewed) -> None:
    planted, _, _, added, chosen = reviewed
    for name, kinds in (("label", {"label", "place"}), ("right", {"place"})):
        decisions = _of(added, chosen[name])
        assert set(decisions) == kinds
        assert decisions["place"].after.startswith("right ")
    assert _of(added, chosen["label"])["label"].after == planted.images[chosen["label"]].species


def test_only_the_given_images_are_decided_in_the_name_of_the_simulated_reviewer(reviewed: Reviewed) -> None:
    _, _, _, added, chosen = reviewed
    assert {c.id for c in added} == {chosen["both"], chosen["label"], chosen["right"]}
    assert {c.who for c in added} == {"simulated reviewer"}
    assert "2 labels corrected, 1 rectangles drawn" in chosen["decided"].text()
    assert "and 2 marked right" in chosen["decided"].text()


def test_a_drawn_rectangle_is_a_target_and_a_lesson_and_one_marked_right_a_lesson(reviewed: Reviewed) -> None:
    _, dataset, _, added, chosen = reviewed
    corrected = apply_corrections(dataset, added)
    assert set(corrected.targets) == {chosen["both"]}
    assert set(corrected.answers.right) == {chosen["both"], chosen["label"], chosen["right"]}
