"""Refitting the rectangle after fine-tuning: repeatable, close to its targets, undone if classification suffers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from patches import write_set
from safetensors.torch import load_file
from torch import Tensor

from rsam_app.geometry import rectangles as geometry
from rsam_app.model import load_model, save_model
from rsam_app.run.job import Job
from rsam_app.system.progress import Reporter
from rsam_app.training import losses
from rsam_app.training.discovery.targets import stored_targets
from rsam_app.training.loop import train
from rsam_app.training.refit import refit_rectangle
from rsam_app.training.setup import feature_source


def weights(job: Job) -> dict[str, Tensor]:
    return load_file(job.run.model / "model.safetensors")


def are_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def distance_to_targets(job: Job) -> float:
    """The mean loss between the saved model's rectangles and the discovered ones."""
    model, targets = load_model(job.run.model), stored_targets(job.run.path / "discovered.json")
    records = [record for record in job.corrected.dataset.split("train") if record.id in targets]
    evidence = feature_source(job, model).evidence(records, job.pipeline.model.image_size)
    height, width = evidence[-1].shape[2:]
    wanted = torch.tensor([targets[record.id] for record in records])
    to_map = torch.cat([geometry.scaling(width / r.width, height / r.height, wanted) for r in records])
    with torch.no_grad():
        found = model.attention_module.predictor([maps.float() for maps in evidence])
    return float(losses.to_target(found, geometry.transform(wanted, to_map), width).mean())


def tune(folder: Path, *overrides: str) -> Job:
    """The job of a fine-tuned run in `folder`."""
    values = ["train.frozen_backbone=false", "train.epochs=3", "train.learning_rate=0.003", *overrides]
    job = Job.of_pipeline(str(write_set(folder, usual=0.5)), values, folder / "run", Reporter())
    job.run.path.mkdir()
    job.create_run()
    train(job, "patches", resume=False)
    return job


def best_checkpoint(job: Job) -> dict[str, Tensor]:
    return load_file(next((job.run.checkpoints / "best").rglob("model.safetensors")))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A fine-tuned run whose rectangle was refitted."""
    return tune(tmp_path_factory.mktemp("refit"))


def test_a_repeated_refit_changes_nothing(tuned: Job) -> None:
    before = weights(tuned)
    refit_rectangle(tuned)
    assert are_equal(before, weights(tuned))


def test_a_rectangle_that_was_lost_is_found_again(tuned: Job) -> None:
    right = distance_to_targets(tuned)
    model = load_model(tuned.run.model)
    with torch.no_grad():
        for parameter in model.attention_module.predictor.parameters():
            parameter.add_(torch.randn_like(parameter))
    save_model(model, tuned.run.model)
    assert distance_to_targets(tuned) > 2 * right
    refit_rectangle(tuned)
    assert distance_to_targets(tuned) == pytest.approx(right)


def test_only_the_predictor_changes(tuned: Job) -> None:
    trained = best_checkpoint(tuned)
    kept = [name for name, value in weights(tuned).items() if name in trained and torch.equal(value, trained[name])]
    changed = set(weights(tuned)) - set(kept)
    assert changed and all("predictor" in name for name in changed)


def test_the_rectangle_stays_as_trained_if_fewer_validation_images_would_be_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Behind a published gate nothing is left of a patch that the rectangle misses."""
    job = tune(tmp_path, "model.gate=published", "train.epochs=6")
    trained, place = weights(job), job.run.path / "discovered.json"
    place.write_text(json.dumps(dict.fromkeys(stored_targets(place), (6, 6, 8, 8, 0))))
    capsys.readouterr()
    refit_rectangle(job)
    assert "the rectangle stays as trained" in capsys.readouterr().err
    assert are_equal(trained, weights(job))
