"""The contract of metrics.json, and the errors for tables that do not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import f1_score, log_loss, recall_score

from rsam_app.data.records import Dataset
from rsam_app.evaluation.metrics.summary import evaluate_predictions
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.system.errors import UserError


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(name), pa.array(values, type=table.schema.field(name).type))


def test_the_contract_holds_and_is_plain_json(dataset: Dataset, make_table: Any) -> None:
    metrics = evaluate_predictions(make_table(dataset.records), dataset, "test")
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert {"split", "n", "top1", "top5", "macro_top1", "nll", "ece", "localization"} <= set(metrics)
    assert {
        "mean_iou",
        "share_iou_50",
        "centre_box_mean_iou",
        "full_image_mean_iou",
        "max_box_acc_v2",
        "pointing_game",
    } <= set(metrics["localization"])
    assert metrics["n"] == 10
    assert metrics["top5"] == 1  # four classes
    assert set(metrics["absent"]) == {"worst_group"}  # the dataset has no groups
    assert metrics["localization"]["max_box_acc_v2_frozen"] is not None


def test_figures_agree_with_scikit_learn(dataset: Dataset, make_table: Any) -> None:
    table = make_table(dataset.records)
    rows = [row for row in table.to_pylist() if row["split"] == "test"]
    metrics = evaluate_predictions(table, dataset, "test")
    labels, predicted = [r["label"] for r in rows], [r["predicted"] for r in rows]
    assert metrics["top1"] == pytest.approx(np.mean([a == b for a, b in zip(labels, predicted, strict=True)]))
    assert metrics["balanced_accuracy"] == pytest.approx(metrics["macro_top1"])
    assert metrics["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert metrics["selective"]["curve"][-1]["risk"] == pytest.approx(1 - metrics["top1"])
    for name in ("macro_f1", "balanced_accuracy", "macro_auroc"):
        low, high = metrics[f"{name}_interval"]
        assert 0 <= low <= metrics[name] <= high <= 1
    present = sorted(set(labels))
    recall = recall_score(labels, predicted, labels=present, average="macro")
    assert metrics["macro_top1"] == pytest.approx(recall)
    logits = np.array([r["logits"] for r in rows])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    index = [dataset.class_index[name] for name in labels]
    assert metrics["nll"] == pytest.approx(log_loss(index, probabilities, labels=range(4)))


def test_a_class_without_images_has_null_recall(dataset: Dataset, make_table: Any) -> None:
    entry = evaluate_predictions(make_table(dataset.records), dataset, "test")["per_class"][3]
    assert entry["class"] == "never seen"
    assert entry["n"] == 0
    assert entry["recall"] is None
    assert entry["mean_iou"] is None


def test_missing_figures_are_explained(dataset: Dataset, make_table: Any) -> None:
    alone = evaluate_predictions(make_table(dataset.split("test")), dataset, "test")
    assert alone["calibration"]["temperature"] is None
    assert set(alone["absent"]) == {
        "calibration.temperature",
        "localization.max_box_acc_v2_frozen",
        "worst_group",
    }
    grouped = replace(dataset, records=tuple(replace(r, group="sea") for r in dataset.records))
    metrics = evaluate_predictions(make_table(grouped.records), grouped, "test")
    assert metrics["worst_group"]["n"] == metrics["n"]
    assert metrics["absent"] == {}
    without = evaluate_predictions(make_table(dataset.records, rectangles=False), dataset, "test")
    assert "localization" not in without
    assert "no attention" in without["absent"]["localization"]
    bare = replace(dataset, records=tuple(replace(r, boxes=()) for r in dataset.records))
    assert "box or a mask" in evaluate_predictions(make_table(bare.records), bare, "test")["absent"]["localization"]
    onval = evaluate_predictions(make_table(dataset.records), dataset, "val")
    assert "itself" in onval["absent"]["calibration.temperature"]


def test_images_without_prediction_or_rectangle_are_counted(dataset: Dataset, make_table: Any) -> None:
    table = make_table(dataset.split("test")[:7])
    assert evaluate_predictions(table, dataset, "test")["n_without_prediction"] == 3
    for name in RECTANGLE_FIELDS:
        table = with_column(table, name, [None, *table.column(name).to_pylist()[1:]])
    located = evaluate_predictions(table, dataset, "test")["localization"]
    assert located["n_without_rectangle"] == 1
    assert located["n"] == 6


def test_an_empty_split_is_a_user_error(dataset: Dataset, make_table: Any) -> None:
    with pytest.raises(UserError, match=r"no predictions for the split 'val' \(have: test, train\)"):
        evaluate_predictions(make_table([r for r in dataset.records if r.split != "val"]), dataset, "val")
    with pytest.raises(UserError, match="have: none"):
        evaluate_predictions(make_table([]), dataset, "test")


def test_tables_that_do_not_fit_are_rejected(dataset: Dataset, make_table: Any) -> None:
    table = make_table(dataset.records)
    n = table.num_rows
    broken = {
        "are not in the dataset": with_column(table, "id", [f"gone {i}" for i in range(n)]),
        "not one of the model's": with_column(table, "label", ["typo"] * n),
        "by another model": with_column(table, "logits", [[0.0, 1.0]] * n),
        "logits are not finite": with_column(table, "logits", [[float("nan")] * 4] * n),
        "negative size": with_column(table, "width", [-1.0] * n),
        "rectangles are not finite": with_column(table, "angle", [float("inf")] * n),
    }
    for message, wrong in broken.items():
        with pytest.raises(UserError, match=message):
            evaluate_predictions(wrong, dataset, "test")


def test_ten_thousand_images(make_table: Any, dataset: Dataset) -> None:
    """A long table that repeats a short one has the same figures."""
    record = dataset.split("test")[0]
    many = tuple(replace(record, id=str(i), label=dataset.classes[i % 2], boxes=()) for i in range(10_000))
    large = replace(dataset, records=many)
    base = make_table([replace(record, label=dataset.classes[i % 2], boxes=()) for i in range(10)])
    table = with_column(pa.concat_tables([base] * 1000), "id", [r.id for r in many])
    short = replace(large, records=many[:10])
    found, expected = (evaluate_predictions(t, d, "test") for t, d in ((table, large), (table.slice(0, 10), short)))
    for key in ("top1", "macro_top1", "nll", "ece"):
        assert found[key] == pytest.approx(expected[key]), key
