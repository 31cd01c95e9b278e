"""The summary of localisation: its contract, its baselines, real boxes and masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


def l_shape(path: Path) -> Path:
    """A mask of 100 × 80 pixels, an L of 1,800 in the box x 20 to 70, y 10 to 70."""
    region = np.zeros((80, 100), dtype=np.uint8)
    region[10:70, 20:40] = region[50:70, 40:70] = 1
    Image.fromarray(region).save(path)
    return path


SHAPE = (20.0, 10.0, 50.0, 60.0)
ON_SHAPE = [45.0, 40.0, 50.0, 60.0, 0.0]
PLAIN = Record("n", Path("n"), "x", "test", 100, 80)


def test_masks_alone_are_scored_by_their_boxes_and_by_their_pixels(tmp_path: Path) -> None:
    masked = replace(PLAIN, mask=l_shape(tmp_path / "m.png"))
    found = localization(np.array([ON_SHAPE, ON_SHAPE]), [masked, PLAIN], [masked], softness=0.002)
    assert (found["truth"], found["boxes_from"], found["box_agreement"]) == ("boxes", "masks", None)
    assert (found["n"], found["n_without_truth"]) == (found["masks"]["n"], found["masks"]["n_without_truth"]) == (1, 1)
    assert (found["mean_iou"], found["centre_box_mean_iou"]) == (1, 1)
    assert found["centre_box"] == found["masks"]["centre_box"] == [0.2, 0.125, 0.7, 0.875]
    assert found["full_image_mean_iou"] == 3000 / 8000
    assert found["max_box_acc_v2"] == 1
    assert found["masks"]["mean_iou"] == found["masks"]["centre_box_mean_iou"] == 1800 / 3000
    assert found["masks"]["full_image_mean_iou"] == 1800 / 8000
    assert "max_box_acc_v2" not in found["masks"] and "px_ap" not in found and "own_boxes" not in found


def test_own_boxes_that_agree_with_masks_lead(tmp_path: Path) -> None:
    both = replace(PLAIN, boxes=(SHAPE,), mask=l_shape(tmp_path / "m.png"))
    boxed = replace(PLAIN, boxes=((0.0, 0.0, 100.0, 60.0),))
    found = localization(np.array([ON_SHAPE] * 3), [both, boxed, PLAIN], [])
    assert (found["boxes_from"], found["box_agreement"]) == ("boxes", 1)
    assert (found["n"], found["n_without_truth"]) == (2, 1)
    assert (found["masks"]["n"], found["masks"]["n_without_truth"]) == (1, 2)
    assert found["mean_iou"] == pytest.approx((1 + 2500 / 6500) / 2)
    assert found["masks"]["mean_iou"] == 0.6
    assert "own_boxes" not in found


def test_boxes_of_a_part_stand_under_their_own_name_and_are_never_mixed(tmp_path: Path) -> None:
    """The part is the upper half of the shape's box."""
    part = replace(PLAIN, boxes=((20.0, 10.0, 50.0, 30.0),))
    both = replace(part, mask=l_shape(tmp_path / "m.png"))
    found = localization(np.array([ON_SHAPE] * 4), [both, part, part, PLAIN], [part], softness=0.002)
    assert (found["boxes_from"], found["box_agreement"]) == ("masks", 0.5)
    assert (found["n"], found["n_without_truth"], found["mean_iou"]) == (1, 3, 1)
    assert found["centre_box"] is None, "no training record has a mask"
    assert (found["own_boxes"]["n"], found["own_boxes"]["mean_iou"]) == (3, 0.5)
    assert found["own_boxes"]["centre_box_mean_iou"] == 1, "that of the part"


def test_boxes_alone_have_no_other_figures() -> None:
    found = localization(np.array([ON_SHAPE] * 2), [replace(PLAIN, boxes=(SHAPE,)), PLAIN], [])
    assert (found["truth"], found["boxes_from"], found["box_agreement"]) == ("boxes", "boxes", None)
    assert (found["n"], found["n_without_truth"], found["mean_iou"]) == (1, 1, 1)
    assert not {"masks", "own_boxes", "px_ap"} & set(found)


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
    assert (found["truth"], found["boxes_from"]) == ("boxes", "masks")
    assert found["box_agreement"] == pytest.approx(0.32, abs=0.03)  # of all 353 records with both
    assert found["n"] + found["n_without_truth"] == len(records)
    assert found["masks"]["n"] == found["n"]
    assert 0 < found["own_boxes"]["n"] <= len(records)
    assert found["masks"]["mean_object_covered"] > 0.8
    assert found["mean_iou"] > found["masks"]["mean_iou"]  # no rectangle matches an outline
    assert found["mean_iou"] > found["own_boxes"]["mean_iou"]  # a head is a small part of the animal
    assert found["masks"]["full_image_mean_iou"] < found["masks"]["px_ap"] <= 1
