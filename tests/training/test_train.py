"""Training through the command line: uninterrupted, interrupted, killed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from command import rsam, stop_at_first_checkpoint
from safetensors.torch import load_file


def weights(run: Path) -> dict[str, np.ndarray]:
    return {k: v.numpy() for k, v in load_file(run / "model" / "model.safetensors").items()}


@pytest.fixture(scope="module")
def whole_run(tiny_pipeline, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "tiny"
    rsam("train", tiny_pipeline, "--run", run)
    return run


def test_a_run_folder_has_the_documented_files(whole_run):
    content = json.loads((whole_run / "run.json").read_text())
    assert {"versions", "commit", "seed", "data", "stages"} <= set(content)
    log = [json.loads(line) for line in (whole_run / "metrics.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in log] == [1, 2, 3]
    assert log[-1]["train_loss"] < log[0]["train_loss"]
    assert (whole_run / "checkpoints" / "last").is_dir() and (whole_run / "checkpoints" / "best").is_dir()
    learned = np.load(whole_run / "training_probabilities.npy")
    assert learned.shape[1] == 3 and np.allclose(learned.sum(axis=1), 1, atol=0.01)


def test_predictions_are_complete_and_their_rectangles_as_documented(whole_run):
    rsam("predict", whole_run)
    table = pq.read_table(whole_run / "predictions" / "test.parquet").to_pydict()
    assert len(set(table["id"])) == 12 and set(table["split"]) == {"test"}
    assert all(-np.pi / 2 <= a < np.pi / 2 for a in table["angle"])
    corners = np.array(table["corners"]).reshape(12, 4, 2) * (64, 48)
    sides = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2)
    assert np.allclose(sides[:, 0], table["width"], rtol=1e-4) and np.allclose(sides[:, 1], table["height"], rtol=1e-4)
    boxes = np.array(table["box"])
    assert (boxes >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= 1 + 1e-6).all()
    assert all(0 <= v <= 1 for v in table["misattention"] + table["label_quality"])
    embeddings = np.load(whole_run / "predictions" / "test.embeddings.npy")
    assert len(embeddings) == 12 and embeddings.dtype == np.float16


def test_evaluation_is_the_same_on_two_processes(whole_run):
    done = rsam("evaluate", whole_run, "--json")
    one, top1 = done.stdout, json.loads(done.stdout)["top1"]
    assert f"test: top-1 {100 * top1:.1f} % of 12 images" in done.stderr
    before = pq.read_table(whole_run / "predictions" / "test.parquet")
    for table in (whole_run / "predictions").iterdir():
        table.unlink()
    content = json.loads((whole_run / "run.json").read_text())
    content["stages"] = {"train": content["stages"]["train"]}
    (whole_run / "run.json").write_text(json.dumps(content))
    two = rsam("evaluate", whole_run, "--json", "--processes", 2).stdout
    assert json.loads(two) == json.loads(one)
    assert pq.read_table(whole_run / "predictions" / "test.parquet").equals(before)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_stopped_run_resumes_to_the_very_same_weights(tiny_pipeline, whole_run, tmp_path, how):
    run = tmp_path / "stopped"
    code = stop_at_first_checkpoint(how, run, tiny_pipeline)
    assert code == (-signal.SIGKILL if how == signal.SIGKILL else 130)
    refused = rsam("train", tiny_pipeline, "--run", run, check=2)
    assert "--resume" in refused.stderr and "Traceback" not in refused.stderr
    with (run / "metrics.jsonl").open("a") as log:
        log.write('{"epoch": 3, "train_lo')  # as a crash cuts it
    resumed = rsam("train", tiny_pipeline, "--run", run, "--resume")
    assert "metrics.jsonl: 1 line could not be read and was removed" in resumed.stderr
    expected, found = weights(whole_run), weights(run)
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    assert (run / "metrics.jsonl").read_text().count("\n") == 3


def test_resuming_a_complete_run_changes_nothing(tiny_pipeline, whole_run):
    before = (whole_run / "metrics.jsonl").stat()
    done = rsam("train", tiny_pipeline, "--run", whole_run, "--resume", "--json")
    assert "training is already complete" in done.stderr
    assert json.loads(done.stdout)["stages"]["train"]
    assert (whole_run / "metrics.jsonl").stat() == before


def test_settings_of_a_stopped_run_cannot_change_under_it(tiny_pipeline, whole_run, tmp_path):
    import shutil

    run = tmp_path / "tiny"
    shutil.copytree(whole_run, run)
    content = json.loads((run / "run.json").read_text())
    del content["stages"]["train"]
    (run / "run.json").write_text(json.dumps(content))
    refused = rsam("train", tiny_pipeline, "--run", run, "--resume", "--set", "train.label_smoothing=0.3", check=2)
    assert "other settings" in refused.stderr


def test_a_second_writer_is_refused(tiny_pipeline, whole_run):
    import fcntl

    with (whole_run / "lock").open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        refused = rsam("train", tiny_pipeline, "--run", whole_run, check=2)
    assert "another process" in refused.stderr and "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "train.epochs=many"], "train.epochs"),
        (["--set", "train.epoch=2"], "epochs"),
        (["--set", "model.backbone=pit_ti_224"], "neither a feature map nor a grid of patches"),
        (["--set", "train.precision=float16"], "needs an accelerator"),
        (["--set", "model.weights=gone.safetensors"], "no such file"),
    ],
)
def test_mistakes_are_answered_in_one_or_two_lines(tiny_pipeline, tmp_path, arguments, said):
    refused = rsam("train", tiny_pipeline, "--run", tmp_path / "x", *arguments, check=2)
    message = refused.stderr.strip().partition("rsam: ")[2]
    assert said in message and "Traceback" not in refused.stderr
    assert len(message.splitlines()) <= 2


def test_corrections_reach_the_next_training(tiny_pipeline, tmp_path):
    from rsam_app.run.corrections import Correction, add_corrections, corrections_path

    run = tmp_path / "corrected"
    ids = ["00 é.png", "01 é.png", "02 é.png"]
    now = {"who": "reviewer", "when": "2026-01-01T00:00:00+00:00", "run": "before"}
    add_corrections(
        corrections_path(run, "blocks"),
        [
            Correction(ids[0], "label", "rot", "blau", **now),
            Correction(ids[1], "rectangle", "", "[30, 20, 24, 18, 0.1]", **now),
            Correction(ids[2], "exclude", "false", "true", **now),
        ],
    )
    done = rsam("train", tiny_pipeline, "--run", run, "--set", "train.epochs=1")
    assert "3 corrections" in done.stderr
    rsam("predict", run, "--split", "train")
    table = pq.read_table(run / "predictions" / "train.parquet").to_pydict()
    assert ids[2] not in table["id"]
    if ids[0] in table["id"]:
        assert table["label"][table["id"].index(ids[0])] == "blau"


def test_a_run_of_another_pipeline_is_not_overwritten(tiny_pipeline, whole_run):
    other = tiny_pipeline.with_name("other.yaml")
    other.write_text(tiny_pipeline.read_text())
    refused = rsam("train", other, "--run", whole_run, check=2)
    assert "belongs to the pipeline 'tiny'" in refused.stderr
    assert os.path.exists(whole_run / "model" / "model.safetensors")


def test_one_image_a_class_trains_without_a_val_split(tiny_pipeline, tmp_path):
    """Single images leave nothing to validate on: the last epoch is saved."""
    folder = tiny_pipeline.parent
    rows = (folder / "manifest.csv").read_text(encoding="utf-8").splitlines()
    kept = [rows[0], *rows[1:4], *(row for row in rows if ",test," in row)]
    (folder / "few.csv").write_text("\n".join(kept), encoding="utf-8")
    card = folder.joinpath("blocks.yaml").read_text().replace("manifest.csv", "few.csv").replace("blocks", "few")
    (folder / "few.yaml").write_text(card)
    (tmp_path / "few.yaml").write_text(
        tiny_pipeline.read_text().replace(str(folder / "blocks.yaml"), str(folder / "few.yaml"))
    )
    rsam("train", tmp_path / "few.yaml", "--run", tmp_path / "few", "--set", "train.batch_size=3")
    assert (tmp_path / "few" / "model" / "model.safetensors").exists()
    rsam("evaluate", tmp_path / "few")
