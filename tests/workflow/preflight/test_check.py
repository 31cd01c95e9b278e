"""Nothing is written or removed before everything cheap has been checked, and all problems are named at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from rsam_app.config import load_pipeline
from rsam_app.run.folder import RunFolder
from rsam_app.run.job import Job
from rsam_app.system.errors import UserError
from rsam_app.system.progress import Reporter
from rsam_app.workflow.preflight.check import check_training, pass_preflight
from rsam_app.workflow.preflight.report import preflight_report
from tests.command import rsam
from tests.patches import write_set
from tests.workflow.preflight.conftest import add_image


def job_of(pipeline: Path, *overrides: str) -> Job:
    return Job.of_pipeline(str(pipeline), list(overrides), pipeline.parent / "run", Reporter())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_problems_are_named_at_once_and_nothing_is_written(pipeline):
    wrong = ("model.backbone=resnet19", "select.strategy=margn", "train.precision=float16")
    job = job_of(pipeline, *wrong)
    with pytest.raises(UserError) as raised:
        pass_preflight(job, review=True)
    lines = str(raised.value).splitlines()
    assert lines[0] == "3 problems, and nothing was written:"
    assert [line.split(":")[0] for line in lines[1:] if line.startswith("- ")] == [
        "- model.backbone",
        "- train.precision",
        "- select.strategy",
    ]
    assert not job.run.path.exists()


def test_a_problem_of_the_data_does_not_hide_one_of_the_model(pipeline):
    for image in (pipeline.parent / "photos" / "auk").iterdir():
        image.unlink()
    found = check_training(job_of(pipeline, "model.weights=gone.safetensors"))
    assert len(found.problems) == 2
    assert "has no image" in found.problems[0] and "gone.safetensors" in found.problems[1]


@pytest.mark.parametrize("setting", ["model.backbone=test_resnett", "model.weights=gone.pth", "model.image_size=8"])
def test_a_typo_leaves_a_finished_run_as_it_was(pipeline, setting):
    run = pipeline.parent / "run"
    rsam("train", pipeline, "--run", run)
    before = contents(run)
    for command in ("train", "run"):
        rsam(command, pipeline, "--run", run, "--set", setting, check=2)
        assert contents(run) == before


def test_a_finished_run_does_not_hide_problems(pipeline):
    run = pipeline.parent / "run"
    rsam("train", pipeline, "--run", run)
    (pipeline.parent / "photos").rename(pipeline.parent / "elsewhere")
    refused = rsam("train", pipeline, "--run", run, "--set", "model.backbone=resnet19", check=2).stderr
    assert "2 problems" in refused and "photos" in refused and "resnet19" in refused


def test_a_folder_that_is_no_run_is_refused_before_anything_is_written(pipeline):
    run = pipeline.parent / "run"
    run.mkdir()
    (run / "thesis.txt").write_text("mine")
    assert "not a run" in rsam("train", pipeline, "--run", run, check=2).stderr
    assert contents(run) == {"thesis.txt": b"mine"}
    file = pipeline.parent / "file"
    file.write_text("mine")
    assert "is a file" in rsam("train", pipeline, "--run", file, check=2).stderr


def test_a_disk_without_room_is_named_before_training(pipeline, monkeypatch):
    import shutil

    usage = shutil.disk_usage(pipeline)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    (problem,) = check_training(job_of(pipeline)).problems
    assert "MiB of disk" in problem and "--run" in problem


def test_warnings_name_small_classes_similar_names_and_odd_sizes(pipeline):
    photos = pipeline.parent / "photos"
    for n in range(3):
        add_image(photos / "wrens " / f"{n}.png", 100 + n, (400, 30))
        add_image(photos / "great auk" / f"{n}.png", 200 + n, (10, 9))
        add_image(photos / "great_auk" / f"{n}.png", 300 + n)
    warnings = check_training(job_of(pipeline)).warnings
    found = "\n".join(warnings)
    assert "3 classes with fewer than 5 training images: great auk (" in found
    assert "'great auk' and 'great_auk'" in found
    assert "3 images are smaller than half of the network's input, 32 pixels: great auk/0.png" in found
    assert "3 images are more than 4 times as long as wide" in found


def test_the_report_says_what_would_be_used(pipeline, fiftyone_module):
    add_image(pipeline.parent / "photos" / "auk" / "odd.png", 7)
    (pipeline.parent / "photos" / "auk" / "odd.png").write_text("no image")
    card = pipeline.parent / "birds.yaml"
    (card.parent / "kinds.csv").write_text("class,kind\nauk,bird\nwren,bird\n")
    keys = {"max_broken_share": 0.1, "taxonomy": "kinds.csv"}
    card.write_text(yaml.safe_dump(yaml.safe_load(card.read_text()) | keys))
    result = json.loads(rsam("check", pipeline, "--run", pipeline.parent / "run", "--json").stdout)
    assert result["problems"] == []
    assert result["data"]["images"] == 28 == sum(result["data"]["splits"].values())
    assert sum(sum(counts.values()) for counts in result["data"]["classes"].values()) == 28
    assert result["data"]["sizes"] == {key: [40, 30] for key in ("smallest", "median", "largest")}
    assert any("auk/odd.png (not an image)" in line for line in result["left out"])
    assert result["taxonomy"] == "class: 2, kind: 1"
    assert result["run"].endswith("run: new") and not (pipeline.parent / "run").exists()
    assert result["device"].endswith(("float32", "bfloat16"))
    assert result["cost"]["disk_mib"] >= 1 and result["cost"]["minutes"] > 0
    done = rsam("check", pipeline, "--run", pipeline.parent / "run")
    text = done.stdout
    assert "auk/odd.png" not in done.stderr, "the report has it"
    assert "class     auk: " in text and "left out  1 image is left out: auk/odd.png" in text


def test_a_second_look_that_training_may_choose_is_said(tmp_path, fiftyone_module):
    pipeline = write_set(tmp_path, 1.0)
    for look, words in (
        ("auto", ", with a second look if cross-validation finds it better"),
        ("false", ""),
        ("true", ", with a second look"),
    ):
        job = job_of(pipeline, f"model.second_look={look}")
        assert preflight_report(job).facts["model"] == f"test_resnet, attention rsam, 64 pixels{words}"


def test_a_card_of_another_folder_with_this_name_is_found_before_training(pipeline, fiftyone_module):
    fo, theirs = fiftyone_module, pipeline.parent / "their runs" / "birds"
    RunFolder(theirs).save_pipeline(load_pipeline(str(pipeline)))
    birds = fo.Dataset("preflight")
    try:
        birds.info["rsam"] = {"runs": {"birds": {"path": str(theirs)}}}
        birds.add_sample(fo.Sample(filepath=str(pipeline), record_id="auk/1.png"))
        birds.save()
        text = rsam("check", pipeline, "--run", pipeline.parent / "run", check=2).stdout
        assert f"FiftyOne dataset 'preflight' shows other images, e.g. {pipeline}, of the run {theirs}" in text
        with pytest.raises(UserError, match="shows other images"):
            pass_preflight(job_of(pipeline), review=True)
        assert not check_training(job_of(pipeline)).problems, "`rsam train` writes no review"
    finally:
        fo.delete_dataset("preflight")


def test_check_ends_with_2_if_something_is_wrong(pipeline, fiftyone_module):
    text = rsam("check", pipeline, "--set", "model.backbone=resnet19", check=2).stdout
    assert "PROBLEM   model.backbone: timm has no 'resnet19'. Did you mean 'resnet18'?" in text


def test_the_disk_estimate_covers_the_run_without_exaggerating(pipeline, fiftyone_module):
    run = pipeline.parent / "run"
    rsam("train", pipeline, "--run", run)
    written = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    estimate = preflight_report(job_of(pipeline)).facts["cost"]["disk_mib"] * 2**20
    assert 0.8 * written < estimate < 4 * written


def test_the_state_of_the_run_is_said(pipeline, fiftyone_module):
    assert preflight_report(job_of(pipeline)).facts["run"].endswith(": new")
    rsam("train", pipeline, "--run", pipeline.parent / "run")
    assert preflight_report(job_of(pipeline)).facts["run"].endswith(": trained; nothing changed")
    changed = preflight_report(job_of(pipeline, "train.epochs=2")).facts["run"]
    assert changed.endswith("`rsam run` trains it again")
