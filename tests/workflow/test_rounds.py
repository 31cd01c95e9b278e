"""Rounds: the next run learns from new corrections, in a folder of its own, and can be resumed."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command import rsam

from rsam_app.data.records import Record
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.run.corrections import Correction, add_corrections
from rsam_app.run.folder import RunFolder
from rsam_app.run.job import Job
from rsam_app.system.errors import UserError
from rsam_app.system.progress import Reporter
from rsam_app.workflow.rounds import (
    RoundChange,
    begin_round,
    compare_predictions,
    next_round,
    report_change,
    round_folder,
    round_of,
)
from tests.blocks import write_blocks

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60)}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    return write_blocks(tmp_path_factory.mktemp("blocks"), "rounds_blocks", COLOURS)


@pytest.fixture(scope="module")
def first(pipeline, fiftyone_module, tmp_path_factory) -> Path:
    """The finished first round."""
    run = tmp_path_factory.mktemp("runs") / "blocks"
    rsam("run", pipeline, "--run", run)
    return run


def decide(run: Path, id: str, before: str, after: str, when: str = "2026-01-01T00:00:00.000Z") -> None:
    table = run.parent / "corrections" / "rounds_blocks.csv"
    add_corrections(table, [Correction(id, "label", before, after, "reviewer", when, "blocks")])


def job(pipeline: Path, run: Path, *overrides: str) -> Job:
    return Job.of_pipeline(str(pipeline), list(overrides), run, Reporter())


def copy_of(first: Path, tmp_path: Path) -> Path:
    """The first round in another folder of runs, without corrections."""
    shutil.copytree(first, tmp_path / "blocks")
    return tmp_path / "blocks"


def test_a_round_learns_from_the_decisions_and_leaves_the_first_run_alone(first, pipeline, fiftyone_module):
    assert "no corrections since round 1" in rsam("run", pipeline, "--run", first, "--round", check=2).stderr
    queue = json.loads(next((first / "selection").glob("*.json")).read_text())["ids"]
    decided = sorted(queue)[0]
    before = "red" if int(decided[:2]) % 2 == 0 else "green"
    after = "green" if before == "red" else "red"
    decide(first, decided, before, after)
    model = (first / "model" / "model.safetensors").read_bytes()
    done = rsam("run", pipeline, "--run", first, "--round", "--json")
    said, result = done.stderr, json.loads(done.stdout)
    second = first.with_name("blocks-round2")
    assert (result["run"], result["round"]["number"], result["metrics"]["n"]) == (str(second), 2, 8)
    assert "round 2" in said and "1 corrections" in said
    assert (first / "model" / "model.safetensors").read_bytes() == model
    table = (first.parent / "corrections" / "rounds_blocks.csv").read_bytes()
    kept = json.loads((second / "run.json").read_text())["round"]
    change = kept.pop("change")
    old, new = (pq.read_table(run / "predictions" / "test.parquet") for run in (first, second))
    right = [sum(np.array(table["predicted"]) == np.array(table["label"])) for table in (old, new)]
    assert (change["images"], change["right_before"], change["right_now"]) == (8, *right)
    assert change["mended"] - change["broken"] == right[1] - right[0]
    assert f"compared with {first} on the same 8 test images" in said
    assert kept == {
        "number": 2,
        "from": "blocks",
        "from_model_sha256": hashlib.sha256(model).hexdigest(),
        "corrections": {
            "file": "corrections/rounds_blocks.csv",
            "rows": 1,
            "sha256": hashlib.sha256(table).hexdigest(),
        },
    }
    rows = {
        row["id"]: row["label"]
        for split in ("train", "val")
        for row in pq.read_table(second / "predictions" / f"{split}.parquet").to_pylist()
    }
    assert rows[decided] == after
    chosen = json.loads(next((second / "selection").glob("*.json")).read_text())
    assert decided in chosen["excluded"] and decided not in chosen["ids"]
    review_set = fiftyone_module.load_dataset("rounds_blocks")
    assert review_set.exists("blocks_prediction").count() == review_set.exists("blocks_round2_prediction").count() == 24

    said = rsam("run", pipeline, "--run", first, "--round", check=2).stderr
    assert "no corrections since round 2" in said and str(second) in said


BOXED = [Record(name, Path(name), "x", "test", 100, 100, boxes=((0.0, 0.0, 100.0, 50.0),)) for name in "abc"]


def predictions(*rows: tuple[str, str | None, str, float | None]) -> pa.Table:
    """Each row's rectangle has this IoU with the box of `BOXED`: as wide, and a part of its height."""

    def row(id: str, label: str | None, predicted: str, iou: float | None) -> dict[str, Any]:
        place = dict(zip(RECTANGLE_FIELDS, (50.0, 25.0 * (iou or 0), 100.0, 50.0 * (iou or 0), 0.0), strict=True))
        drawn = place if iou is not None else dict.fromkeys(place)
        return {"id": id, "label": label, "predicted": predicted, "off_object": 0.0, **drawn}

    return pa.Table.from_pylist([row(*values) for values in rows])


def test_a_change_is_counted_image_by_image_under_the_present_labels():
    before = predictions(("a", "x", "x", 0.5), ("b", "x", "y", 0.3), ("c", "x", "x", None), ("gone", "x", "x", 0.9))
    now = predictions(
        ("new", "x", "x", 1.0), ("c", "y", "x", 0.8), ("b", "x", "x", 0.5), ("a", "x", "x", 0.5), ("d", None, "x", 0.9)
    )
    change = compare_predictions(before, now, BOXED)
    assert (change.images, change.right_before, change.right_now, change.mended, change.broken) == (3, 1, 2, 1, 0)
    assert (change.iou_before, change.iou_now) == (pytest.approx(0.4), pytest.approx(0.5))
    assert change.p == 1.0, "one image says nothing"
    assert change.summary("test", "runs/a") == (
        "compared with runs/a on the same 3 test images: 66.7 % right, before 33.3 %"
        " (1 fixed, 0 broken, p = 1 by McNemar's test; IoU 0.500, before 0.400)"
    )


def test_the_test_of_a_change_is_exact():
    """9 fixed and 1 broken: 2 · (1 + 10) / 2¹⁰."""
    assert RoundChange(100, 50, 58, 9, 1, None, None).p == pytest.approx(22 / 1024)


def test_nothing_in_common_is_no_change():
    assert compare_predictions(predictions(("a", "x", "x", 0.5)), predictions(("b", "x", "x", 0.5)), BOXED) is None


def test_a_round_before_without_predictions_is_reported(first, pipeline, tmp_path, capsys):
    run = copy_of(first, tmp_path)
    shutil.rmtree(run / "predictions")
    report_change(job(pipeline, first), RunFolder(run))
    assert f"no comparison with {run}: " in capsys.readouterr().err


def test_a_first_round_that_was_not_trained_is_asked_for(pipeline, tmp_path):
    with pytest.raises(UserError, match="the first round is not trained"):
        next_round(job(pipeline, tmp_path / "blocks"))
    assert not (tmp_path / "blocks").exists()


def test_a_stopped_round_resumes_with_the_corrections_it_began_with(first, pipeline, tmp_path):
    run = copy_of(first, tmp_path)
    decide(run, "00.png", "red", "green")
    begun = next_round(job(pipeline, run))
    assert begun.run.path == tmp_path / "blocks-round2" and not begun.run.path.exists()
    begin_round(begun)
    kept = begun.run.read_json()["round"]
    decide(run, "01.png", "green", "red", when="2026-01-02T00:00:00.000Z")
    again = next_round(job(pipeline, run))
    begin_round(again)
    assert again.run.path == begun.run.path and again.run.read_json()["round"] == kept
    assert again.learns_from == begun.learns_from
    labels = {r.id: r.label for r in again.corrected[0].records}
    assert (labels["00.png"], labels["01.png"]) == ("green", "green")
    done = {name: {"inputs": "", "seconds": 1.0, "ended": ""} for name in ("train", "evaluate", "review", "select")}
    again.run.update_json(stages=done, data={"learns_from": again.learns_from})
    third = next_round(job(pipeline, begun.run.path))
    assert third.run.path == tmp_path / "blocks-round3"
    assert {r.id: r.label for r in third.corrected[0].records}["01.png"] == "red"


def test_a_reverted_decision_is_nothing_to_learn_from(first, pipeline, tmp_path):
    run = copy_of(first, tmp_path)
    decide(run, "00.png", "red", "green")
    next_round(job(pipeline, run))
    decide(run, "00.png", "green", "red", when="2026-01-02T00:00:00.000Z")
    with pytest.raises(UserError, match="no corrections since round 1"):
        next_round(job(pipeline, run))


def test_fields_get_a_key_for_each_round(first, pipeline, tmp_path):
    run = copy_of(first, tmp_path)
    decide(run, "00.png", "red", "green")
    following = next_round(job(pipeline, run, "review.key=mine"))
    assert following.pipeline.review.key == "mine_round2"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("birds", ("birds", 1)),
        ("birds-round2", ("birds", 2)),
        ("birds-round12", ("birds", 12)),
        ("birds-round1", ("birds-round1", 1)),
        ("a-round2-round3", ("a-round2", 3)),
    ],
)
def test_a_folder_says_its_round(tmp_path, name, expected):
    first, number = round_of(tmp_path / name)
    assert (first.name, number) == expected
    assert round_folder(first, number).path == tmp_path / name


def test_a_manifest_is_replayed_from_the_command_line(first):
    said = json.loads(rsam("select", first, "--strategy", "margin", "--budget", 4, "--no-tag", "--json").stdout)
    manifest = next((first / "selection").glob("margin-4-*.json"))
    before = manifest.read_bytes()
    again = json.loads(rsam("select", first, "--replay", manifest, "--no-tag", "--json").stdout)
    assert again == said and manifest.read_bytes() == before
    refused = rsam("select", first, "--replay", manifest, "--budget", 3, "--no-tag", check=2).stderr
    assert "Leave them out" in refused


def test_new_predictions_are_reviewed_and_selected_again(first, pipeline, tmp_path):
    run = copy_of(first, tmp_path)
    command = ("run", pipeline, "--run", run, "--set", "review.key=again")
    rsam(*command)
    changed = (*command, "--set", "evaluate.stability_views=1")
    said = rsam(*changed).stderr
    assert "train: nothing changed" in said and said.count("nothing changed") == 1
    assert rsam(*changed).stderr.count("nothing changed") == 4
