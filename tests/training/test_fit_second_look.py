"""The threshold of a second look at unsure images, fitted when training ends, and the crop of a resumed training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from patches import write_set
from scipy.special import softmax

from rsam_app.model import load_model
from rsam_app.model.attention.second_look import CONTEXT, LOOSE
from rsam_app.run.job import Job
from rsam_app.system.progress import Reporter
from rsam_app.training.loop import train
from rsam_app.training.setup import begin, model_outputs, set_up


@pytest.mark.parametrize("look", ["unsure", "only"])
def test_a_third_of_the_validation_images_are_unsure(tmp_path: Path, look: str) -> None:
    pipeline = str(write_set(tmp_path, usual=0.5))
    job = Job.of_pipeline(pipeline, [f"model.second_look={look}"], tmp_path / "run", Reporter())
    job.run.path.mkdir()
    job.create_run()
    train(job, "patches", resume=False)
    model = load_model(job.run.model)
    assert model.second_look == look and (model.second_look_below < np.inf) == (look == "unsure")
    if look == "unsure":
        model.second_look = False
        confidence = softmax(model_outputs(job, model, "val").logits, axis=1).max(axis=1)
        assert (confidence < model.second_look_below).mean() == pytest.approx(1 / 3, abs=0.04)


def test_a_resumed_training_crops_as_it_began(tmp_path: Path) -> None:
    job = Job.of_pipeline(str(write_set(tmp_path, usual=0.5)), ["model.second_look=true"], tmp_path / "run", Reporter())
    job.run.path.mkdir()
    job.create_run()
    set_up(job, "", True, *begin(job, fresh=True))
    assert set_up(job, "", False, *begin(job, fresh=False)).bare.crop_context == CONTEXT
    begun = job.run.read_json()
    del begun["crop_context"]  # as in runs that earlier versions began
    (job.run.path / "run.json").write_text(json.dumps(begun))
    resumed = set_up(job, "", False, *begin(job, fresh=False)).bare
    assert resumed.crop_context == resumed._model_args["crop_context"] == LOOSE
