"""The look that is classified is chosen on held-out images, as they are and on exchanged surroundings."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from rsam_app.data.images.cache import caching_images
from rsam_app.data.records import Record
from rsam_app.model import load_model
from rsam_app.run.job import Job
from rsam_app.system.progress import Reporter
from rsam_app.training import choose_second_look, loop
from rsam_app.training.choose_second_look import Choice, may_choose, on_other_surroundings, rectangle_is_taught
from rsam_app.training.setup import decide_second_look
from tests.patches import answered, write_set


def unanswered(pipeline: Path, *overrides: str) -> Job:
    job = Job.of_pipeline(str(pipeline), list(overrides), pipeline.parent / "runs" / "run", Reporter())
    job.run.path.mkdir(parents=True)
    job.create_run()
    return job


def write_fine_set(folder: Path) -> Path:
    """Patches that differ in the direction of stripes of one pixel, which half the resolution does not show."""
    pipeline = write_set(folder, 0.5)
    stripes = np.tile(np.array([[0], [255]], np.uint8), (16, 32))
    for number in range(96):
        image = cv2.resize(cv2.imread(str(folder / f"{number}.png")), (128, 128), interpolation=cv2.INTER_NEAREST)
        image[48:80, 48:80] = (stripes if number % 2 else stripes.T)[..., None]
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return pipeline


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_only_an_open_look_is_chosen(tmp_path):
    pipeline = write_set(tmp_path, 1.0)
    alone = unanswered(pipeline)
    assert may_choose(alone) and not rectangle_is_taught(alone)
    assert may_choose(answered(pipeline)) and rectangle_is_taught(answered(pipeline))
    for setting in ("model.second_look=false", "model.second_look=true", "model.weights=none", "model.attention=none"):
        assert not may_choose(answered(pipeline, setting))


def test_without_objects_to_crop_along_nothing_is_chosen(tmp_path):
    pipeline = write_set(tmp_path, 1.0)
    for setting in ("train.discover_objects=false", "train.target_weight=0"):
        job = unanswered(pipeline, setting)
        assert not may_choose(job) and may_choose(answered(pipeline, setting))
        shutil.rmtree(job.run.path.parent)


def test_a_cache_of_decoded_images_serves_the_chosen_look(tmp_path, monkeypatch):
    """A crop needs twice the pixels; a cache of the others would never be read."""
    sides = []

    def noting(records, side, say):
        sides.append(side)
        return caching_images(records, side, say)

    monkeypatch.setattr(loop, "caching_images", noting)
    job = unanswered(write_fine_set(tmp_path), "train.frozen_backbone=false")
    loop.train(job, "patches", resume=False)
    assert load_model(job.run.model).second_look == "unsure" and sides == [128]


def test_details_that_the_whole_image_does_not_show_make_it_look_again_if_unsure(tmp_path):
    job = unanswered(write_fine_set(tmp_path))
    pipeline, model = decide_second_look(job, fresh=True)
    figures = job.run.read_json()["second_look"]["held_out"]
    assert figures.keys() == {"false", "unsure"} and figures["unsure"]["top1"] > figures["false"]["top1"]
    assert pipeline.model.second_look == "unsure" and model is not None
    assert decide_second_look(job, fresh=False)[0].train.exchange_surroundings == 0


def test_surroundings_that_give_the_class_away_make_it_crop(tmp_path):
    job = answered(write_set(tmp_path, 1.0))
    pipeline, model = decide_second_look(job, fresh=True)
    chosen = job.run.read_json()["second_look"]
    assert pipeline.model.second_look in (True, "only") and chosen["chosen"] == pipeline.model.second_look
    assert model is not None and model.second_look == pipeline.model.second_look
    assert model._model_args["second_look"] == pipeline.model.second_look
    figures = chosen["held_out"]
    assert figures["false"]["top1_exchanged"] < figures["only"]["top1_exchanged"]
    resumed, again = decide_second_look(job, fresh=False)
    assert resumed.model.second_look == chosen["chosen"] and again is None
    assert pipeline.train.exchange_surroundings == resumed.train.exchange_surroundings == 1


def test_surroundings_are_exchanged_for_a_chosen_crop_alone(tmp_path):
    pipeline = write_set(tmp_path, 1.0)
    for setting in ("model.second_look=false", "model.second_look=true", "model.second_look=only"):
        decided, _ = decide_second_look(answered(pipeline, setting), fresh=True)
        assert decided.train.exchange_surroundings == 0
    job = answered(pipeline, "model.second_look=true", "train.exchange_surroundings=.25")
    assert decide_second_look(job, fresh=True)[0].train.exchange_surroundings == 0.25


@pytest.mark.parametrize("job_of", [answered, unanswered])
def test_it_stays_with_the_whole_image_if_a_crop_is_no_better(job_of, tmp_path, monkeypatch):
    """Equal embeddings of whole image and crop: no look is better by a standard error."""
    job = job_of(write_set(tmp_path, 0.5))
    real = choose_second_look._embeddings

    def same(*arguments):
        whole = real(*arguments)[0]
        return [whole, whole]

    monkeypatch.setattr(choose_second_look, "_embeddings", same)
    pipeline, model = decide_second_look(job, fresh=True)
    assert pipeline.model.second_look is False and model is None
    assert job.run.read_json()["second_look"]["chosen"] is False


def test_answers_do_not_cost_a_second_look_that_pays(tmp_path):
    """Nothing is gained on exchanged surroundings, which do not mislead here, but details are seen."""
    job = answered(write_fine_set(tmp_path))
    pipeline, _ = decide_second_look(job, fresh=True)
    assert pipeline.model.second_look in ("unsure", True, "only")


def test_with_answers_training_images_are_never_held_out(tmp_path):
    """An earlier round's weights know them."""
    records = [Record(str(n), tmp_path, "a", "val" if n % 4 == 0 else "train") for n in range(8)]
    assert choose_second_look._folds(records, taught=True).tolist() == [0, -1, -1, -1, 0, -1, -1, -1]
    assert choose_second_look._folds(records, taught=False).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert choose_second_look._folds(records[1:4], taught=True).tolist() == [0, 1, 2]


def test_one_image_more_is_not_enough():
    """Its gain is one standard error exactly, which rounding must not decide."""
    for images in (10, 11, 20, 100, 1000):
        all_but_one, right = np.ones((1, images)), np.ones((1, images))
        all_but_one[0, 0] = 0
        assert not choose_second_look._is_better(right, all_but_one)
        all_but_one[0, 1] = 0
        assert choose_second_look._is_better(right, all_but_one)


def test_an_unsure_look_answers_from_the_crop_where_the_whole_image_leaves_it_least_sure():
    whole = torch.tensor([[4.0, 0.0], [0.1, 0.0], [3.0, 0.0]])
    crop = torch.tensor([[0.0, 9.0], [0.0, 9.0], [0.0, 9.0]])
    logits = torch.stack([whole, crop])[None]
    assert choose_second_look._answers(logits, "unsure").tolist() == [[0, 1, 0]]
    assert choose_second_look._answers(logits, True).tolist() == [[1, 1, 1]]


def test_the_sentence_names_all_figures():
    choice = Choice("only", {False: 0.8, True: 0.9, "only": 0.85}, {False: 0.1, True: 0.5, "only": 0.8})
    untaught = Choice("unsure", {False: 0.8, "unsure": 0.9}, {})
    assert untaught.line() == (
        "classified from now on: the whole image, and the crop if unsure; top-1 on held-out images: the whole image"
        " 0.800; the whole image, and the crop if unsure 0.900 (model.second_look)"
    )
    assert untaught.as_dict() == {
        "chosen": "unsure",
        "held_out": {"false": {"top1": 0.8}, "unsure": {"top1": 0.9}},
    }
    assert choice.line().startswith("classified from now on: the crop alone; ")
    assert "the whole image 0.800 and 0.100" in choice.line() and "the crop alone 0.850 and 0.800" in choice.line()
    assert choice.as_dict()["held_out"]["only"] == {"top1": 0.85, "top1_exchanged": 0.8}


def test_exchanged_surroundings_keep_the_content():
    images = torch.stack([torch.full((3, 160, 160), float(i)) for i in range(3)])
    mixed = on_other_surroundings(images, torch.tensor([[80.0, 80.0, 60.0, 60.0, 0.0]]).repeat(3, 1))
    assert torch.allclose(mixed[:, 0, 80, 80], torch.tensor([0.0, 1.0, 2.0]), atol=0.01)
    assert torch.allclose(mixed[:, 0, 0, 0], torch.tensor([2.0, 0.0, 1.0]), atol=0.01)
