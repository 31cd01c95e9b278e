"""The demo's report, on predictions with a known result."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest

from rsam_app.data.synthetic import Planted, PlantedImage
from rsam_app.data.synthetic.planting import plan_images
from rsam_app.data.synthetic.species import SHORTCUT
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.system.errors import UserError
from rsam_app.workflow.demo.report import report_planted


@pytest.fixture(scope="module")
def planted() -> Planted:
    """A plan with every beetle upright in the middle of its image's left half, without images."""
    images = {
        p.id: PlantedImage(
            split=p.split,
            species=p.species,
            label=p.label,
            width=200,
            height=100,
            habitat="moss",
            box=(10.0, 20.0, 80.0, 60.0),
            rectangle=(50.0, 50.0, 80.0, 60.0, 0.0),
            flowers=(180.0, 0.0, 20.0, 20.0) if p.flowers else None,
        )
        for p in plan_images(0, images_per_species=40, species=8)
    }
    return Planted(0, images)


def _table(planted: Planted, **columns: object) -> pa.Table:
    """Predictions of a perfect model on every image; arguments replace columns, None drops one."""
    truth = planted.images.values()
    perfect: dict[str, object] = {
        "id": list(planted.images),
        "split": [t.split for t in truth],
        "label": [t.label for t in truth],
        "predicted": [t.species for t in truth],
        "confidence": [0.9] * len(truth),
        "label_quality": [float(t.label == t.species) for t in truth],
        "misattention": [0.1] * len(truth),
        **{name: [t.rectangle[i] for t in truth] for i, name in enumerate(RECTANGLE_FIELDS)},
    }
    return pa.table({k: v for k, v in (perfect | columns).items() if v is not None})


def _sentence(sentences: list[str], start: str) -> str:
    return next(s for s in sentences if s.startswith(start))


def test_a_perfect_run_finds_everything(planted: Planted) -> None:
    n = len(planted.wrong_labels)
    report = report_planted(planted, _table(planted))
    assert f"; {n} of them are among the {n} most suspect" in _sentence(report, "Wrong labels")
    assert "100% of 96 test images are right" in _sentence(report, "Species")
    assert "does not rely on them" in _sentence(report, "Shortcut")
    assert "mean IoU 1.00 with the true boxes, a fixed centre box 1.00" in _sentence(report, "Rectangles")


def test_wrong_labels_ranked_last_are_not_found(planted: Planted) -> None:
    worst = [float(t.label != t.species) for t in planted.images.values()]
    said = _sentence(report_planted(planted, _table(planted, label_quality=worst)), "Wrong labels")
    n = len(planted.wrong_labels)
    total = sum(t.split == "train" for t in planted.images.values())
    assert f"; 0 of them are among the {n} most suspect (by chance {n * n / total:.1f})" in said


def test_corrected_labels_are_counted_as_fixed(planted: Planted) -> None:
    first = next(iter(planted.wrong_labels))
    labels = [t.species if i == first else t.label for i, t in planted.images.items()]
    n = len(planted.wrong_labels)
    said = _sentence(report_planted(planted, _table(planted, label=labels)), "Wrong labels")
    assert f"{n - 1} of {sum(t.split == 'train' for t in planted.images.values())}" in said
    assert f"1 of {n} planted ones are corrected" in said
    everything = _table(planted, label=[t.species for t in planted.images.values()])
    assert "none is left" in _sentence(report_planted(planted, everything), "Wrong labels")


def test_a_model_that_relies_on_flowers_is_caught(planted: Planted) -> None:
    other = "ringed_lanternback"
    predicted = [
        SHORTCUT if t.flowers else (other if t.species == SHORTCUT else t.species) for t in planted.images.values()
    ]
    fooled = [(t.flowers is not None) != (t.species == SHORTCUT) for t in planted.images.values()]
    table = _table(planted, predicted=predicted, misattention=[0.9 if f else 0.2 for f in fooled])
    report = report_planted(planted, table)
    shortcut = _sentence(report, "Shortcut")
    assert "The model relies on them" in shortcut
    assert f"{SHORTCUT} is right in 100% with and 0% without them" in shortcut
    assert "others are taken for it in 100% with and 0% without them" in shortcut
    decided = sum(f for f, t in zip(fooled, planted.images.values(), strict=True) if t.split == "test")
    assert f"the shortcut misled the model in {decided} test images" in _sentence(report, "Misattention")
    assert "AUROC 1.00, low confidence with 0.50" in _sentence(report, "Misattention")


def test_rectangles_off_the_beetle_are_counted_and_ranked(planted: Planted) -> None:
    astray = np.arange(len(planted.images)) % 4 == 0
    table = _table(planted, cx=np.where(astray, 150.0, 50.0), misattention=np.where(astray, 0.8, 0.1))
    report = report_planted(planted, table)
    off = int(sum(a for a, t in zip(astray, planted.images.values(), strict=True) if t.split == "test"))
    said = next(s for s in report if "off the beetle" in s)
    assert f"{off} of 96 rectangles are off the beetle" in said
    assert "AUROC 1.00" in said
    share = re.search(r"mean IoU ([\d.]+) with the true boxes", _sentence(report, "Rectangles"))
    assert share and float(share[1]) == pytest.approx(1 - off / 96, abs=0.006)


def test_missing_scores_are_reported(planted: Planted) -> None:
    nothing = dict.fromkeys(RECTANGLE_FIELDS, pa.nulls(len(planted.images), pa.float32()))
    report = report_planted(planted, _table(planted, misattention=None, label_quality=None, **nothing))
    assert "this run has no label_quality" in _sentence(report, "Wrong labels")
    assert "this run has no misattention" in _sentence(report, "Misattention")
    assert report[-1] == "Rectangles: this run has none."


@pytest.mark.parametrize("split", ["train", "test"])
def test_one_split_alone(planted: Planted, split: str) -> None:
    table = _table(planted)
    only = table.filter(pa.array([s == split for s in table.column("split").to_pylist()]))
    report = " ".join(report_planted(planted, only))
    assert ("no predictions of the test split" in report) is (split == "train")
    assert ("no predictions of the train split" in report) is (split == "test")


def test_predictions_of_another_dataset_are_refused(planted: Planted) -> None:
    table = _table(planted, id=[f"birds/{n}.jpg" for n in range(len(planted.images))])
    with pytest.raises(UserError, match="none of the 320 generated images"):
        report_planted(planted, table)
