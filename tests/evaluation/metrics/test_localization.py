"""The summary of localisation: its contract, its baselines, real boxes and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rsam_app.config import load_card
from rsam_app.data.records import Dataset, Record
from rsam_app.evaluation.metrics.ground_truth import image_sizes, mean_box
from rsam_app.evaluation.metrics.localization import localization
from rsam_app.evaluation.metrics.rectangles import score_rectangles


def exact(records: tuple[Record, ...]) -> np.ndarray:
    """Rectangles equal to the records' first boxes."""
    return np.array([[x + w / 2, y + h / 2, w, h, 0] for x, y, w, h in (r.boxes[0] for r in records)])


def test_perfect_rectangles_reach_the_top_of_every_figure(dataset: Dataset) -> None:
    records, training = dataset.split("test"), dataset.split("train")
    found = localization(exact(records), records, training, exact(training), softness=0.002)
    assert found["truth"] == "boxes"
    assert found["n"] == len(records)
    for key in (
        "mean_iou",
        "mean_rotated_iou",
        "share_iou_50",
        "mean_on_object",
        "mean_object_covered",
        "pointing_game",
    ):
        assert found[key] == pytest.approx(1), key
    assert found["max_box_acc_v2"] == found["max_box_acc_v2_frozen"] == 1
    assert found["energy_inside"] > 0.95
    assert 0 < found["full_image_mean_iou"] < found["centre_box_mean_iou"] < 1
    assert found["area_share"] == pytest.approx(found["full_image_mean_iou"])


def test_the_centre_box_scores_like_its_baseline(dataset: Dataset) -> None:
    records, training = dataset.split("test"), dataset.split("train")
    box = mean_box(training, "boxes") * np.tile(image_sizes(records), 2)
    rectangles = np.concatenate(
        [(box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2], np.zeros((len(box), 1))], axis=1
    )
    found = localization(rectangles, records, training)
    assert found["mean_iou"] == pytest.approx(found["centre_box_mean_iou"])
    assert found["share_iou_50"] == found["centre_box_share_iou_50"]
    assert found["pointing_game"] == found["centre_box_pointing_game"]


def test_the_pointing_game_is_averaged_over_classes() -> None:
    def record(name: str, label: str) -> Record:
        return Record(name, Path(name), label, "test", 100, 100, boxes=((0.0, 0, 20, 20),))

    records = [record("a", "x"), record("b", "x"), record("c", "x"), record("d", "y")]
    rectangles = np.array([[10.0, 10, 5, 5, 0]] * 3 + [[90, 90, 5, 5, 0]])
    assert localization(rectangles, records, [])["pointing_game"] == 0.5


def test_without_training_truth_the_baseline_is_null(dataset: Dataset) -> None:
    records = dataset.split("test")
    found = localization(exact(records), records, [])
    assert found["centre_box"] is None
    assert found["centre_box_mean_iou"] is None
    assert found["max_box_acc_v2_frozen"] is None


def test_records_without_any_truth_raise() -> None:
    with pytest.raises(ValueError, match="no record has a box"):
        localization(np.zeros((1, 5)), [Record("a", Path("a"), "x", "test", 10, 10)], [])


def test_centre_box_baseline_on_cub(photographs: Path) -> None:
    """The reference point that was measured for the first 50 classes of CUB: IoU .518, 56 % above .5."""
    from rsam_app.data.dataset import load_dataset

    dataset = load_dataset(load_card("cub_200_2011"))
    flags = (photographs / "CUB_200_2011" / "train_test_split.txt").read_text().split()[1::2]
    assert len(dataset.split("test")) == flags.count("0")
    records, training = ([r for r in dataset.split(s) if int(r.label[:3]) <= 50] for s in ("test", "train"))
    scores = score_rectangles(exact(records), records, "boxes", mean_box(training, "boxes"))
    assert len(scores.rows) == len(records)
    assert scores.centre_box_iou.mean() == pytest.approx(0.518, abs=0.001)
    assert (scores.centre_box_iou >= 0.5).mean() == pytest.approx(0.56, abs=0.005)
    assert scores.iou.mean() > 0.999


def test_head_boxes_and_trimaps_of_pets_are_reported_separately(photographs: Path) -> None:
    from rsam_app.data.dataset import load_dataset

    records = [r for r in load_dataset(load_card("oxford_iiit_pet")).records if r.split != "test"][::8]
    rectangles = np.array([[r.width / 2, r.height / 2, r.width * 0.8, r.height * 0.8, 0] for r in records])
    found = localization(rectangles, records, records)
    assert found["truth"] == "masks"
    assert found["n"] + found["n_without_truth"] == len(records)
    assert 0 < found["boxes"]["n"] <= len(records)
    assert found["mean_object_covered"] > 0.8
    assert found["mean_iou"] > found["boxes"]["mean_iou"]  # a head is a small part of the animal
    assert found["full_image_mean_iou"] < found["px_ap"] <= 1
