"""`rsam evaluate --robustness` on a run, from the command to metrics.json and the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rsam_app.config import ModelConfig, Pipeline
from rsam_app.data.synthetic import generate
from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.evaluation.robustness.measure import SECTIONS, measure_robustness
from rsam_app.model import build_model, save_model
from rsam_app.run.folder import RunFolder
from rsam_app.run.job import Job
from rsam_app.system.precision import choose_precision
from rsam_app.system.progress import Reporter
from rsam_app.workflow import stages
from rsam_app.workflow.predict import load_trained_model

SPECIES = 4


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("käfer")
    generate(folder / "data", seed=0, images_per_species=10, species=SPECIES)
    content = {"name": "beetles", "layout": "manifest", "root": str(folder / "data/manifest.csv"), "licence": "CC0-1.0"}
    (folder / "beetles.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder / "beetles.yaml"


def untrained(card: Path, folder: Path, attention: str, **evaluate: Any) -> Job:
    """The job of a run with an untrained model."""
    torch.manual_seed(0)
    config = ModelConfig(backbone="test_resnet", weights="none", attention=attention, image_size=64)
    pipeline = Pipeline(name="beetles", dataset=str(card), model=config, evaluate=evaluate)
    run = RunFolder(folder)
    run.save_pipeline(pipeline)
    job = Job(pipeline, run, Reporter())
    model = build_model(config, job.original.classes)
    torch.nn.init.normal_(model.get_classifier().weight)
    save_model(model, run.model)
    return job


@pytest.fixture(scope="module")
def robust(card: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, dict[str, Any]]:
    job = untrained(card, tmp_path_factory.mktemp("runs") / "mit aufmerksamkeit", "rsam", robustness_images=9)
    return job, stages.evaluate(job, "test", robustness=True)


def test_everything_is_in_metrics_json_and_on_the_page(robust: tuple[Job, dict[str, Any]]) -> None:
    job, metrics = robust
    assert json.loads((job.run.evaluation / "metrics.json").read_text(encoding="utf-8")) == metrics
    assert set(SECTIONS) <= set(metrics)
    assert not set(SECTIONS) & set(metrics["absent"])
    assert all(metrics[name]["n"] == 9 for name in ("stability", "use", "corruptions"))
    assert metrics["background_gap"]["n"] + metrics["background_gap"]["n_without_background"] == 9
    page = (job.run.evaluation / "report.html").read_text(encoding="utf-8")
    for title in (
        "Does it stay on the object?",
        "Does it use its rectangle?",
        "Is it robust to corrupted photographs?",
    ):
        assert title in page


def test_the_demos_groups_are_measured(robust: tuple[Job, dict[str, Any]]) -> None:
    metrics = robust[1]
    groups = metrics["worst_group"]["by_group"]
    assert {entry["group"] for entry in groups} == {"pink flowers", "no flowers"}
    assert len(groups) == 2 * SPECIES
    assert sum(entry["n"] for entry in groups) == metrics["n"]


def test_the_same_run_gives_the_same_figures(robust: tuple[Job, dict[str, Any]]) -> None:
    job, metrics = robust
    device = job.accelerator.device
    precision = choose_precision("auto", device)
    runner = ModelRunner(load_trained_model(job), device, precision, job.pipeline.evaluate.batch_size)
    again, absent = measure_robustness(runner, job.original, "test", 9, job.pipeline.seed)
    assert again == {name: metrics[name] for name in SECTIONS}
    assert not absent


def test_without_the_flag_metrics_say_how_to_get_them_and_the_pipeline_can_enable_them(
    card: Path, tmp_path: Path
) -> None:
    job = untrained(card, tmp_path / "run", "positionwise", robustness_images=4)
    plain = stages.evaluate(job, "test")
    assert not set(SECTIONS) & set(plain)
    assert all("--robustness" in plain["absent"][name] for name in SECTIONS)
    asking = job.pipeline.model_copy(update={"evaluate": job.pipeline.evaluate.model_copy(update={"robustness": True})})
    found = stages.evaluate(Job(asking, job.run, Reporter()), "test")
    assert set(SECTIONS) <= set(found)
    assert found["corruptions"]["rotated_iou"] <= 1


def test_a_model_without_attention_is_located_by_grad_cam(card: Path, tmp_path: Path) -> None:
    job = untrained(card, tmp_path / "run", "none", robustness_images=4)
    metrics = stages.evaluate(job, "test", robustness=True)
    assert "localization" not in metrics
    located = metrics["localization_grad_cam"]
    assert {"max_box_acc_v2", "pointing_game", "mean_iou", "share_iou_50", "centre_box_mean_iou"} <= set(located)
    assert {"px_ap", "pointing_game", "mean_iou", "share_iou_50", "centre_box_mean_iou"} <= set(located["masks"])
    assert located["n"] == metrics["n"]
    assert "use" not in metrics
    assert "no attention" in metrics["absent"]["use"]
    assert "rotated_iou" not in metrics["stability"]
    assert 0 <= metrics["corruptions"]["top1"] <= 1
    assert "Grad-CAM" in (job.run.evaluation / "report.html").read_text(encoding="utf-8")
