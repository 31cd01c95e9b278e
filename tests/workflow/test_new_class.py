"""A class that a reviewer adds in the App, and one that is renamed: applied, undone, learned by the next round, and
exported."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

from command import rsam

from rsam_app.review.app.install_plugin import link_plugin
from rsam_app.run.corrections import corrections_path, read_corrections
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import class_names, read_predictions
from tests.blocks import write_blocks

NAME = "new_class_blocks"
COLOURS = {"green": (40, 200, 60), "red": (220, 40, 40)}


def write_pipeline(folder: Path) -> Path:
    """Blocks with a taxonomy, and their pipeline."""
    (folder / "taxonomy.csv").write_text("class,warmth\ngreen,cold\nred,warm\n")
    return write_blocks(folder, NAME, COLOURS, taxonomy=str(folder / "taxonomy.csv"))


def give(review_set: Any, label: str, record_ids: list[str]) -> None:
    """Give the label in the App's form, with 'New class' ticked."""
    import fiftyone.operators as foo

    chosen = review_set.select_by("record_id", record_ids).values("id")
    ctx = {"dataset": review_set, "selected": chosen, "params": {"label": label, "new_class": True}}
    assert foo.execute_operator("@rsam/review/give_label", ctx=ctx).result["marked"] == len(record_ids)
    review_set.reload()


def rename(review_set: Any, name: str, new: str) -> None:
    import fiftyone.operators as foo

    ctx = {"dataset": review_set, "params": {"class": name, "name": new}}
    assert foo.execute_operator("@rsam/review/rename_class", ctx=ctx).result["name"] == new


def test_new_and_renamed_classes_go_from_the_app_to_the_next_head_and_to_an_export(
    fiftyone_module: ModuleType, tmp_path: Path
) -> None:
    link_plugin()
    pipeline, run = write_pipeline(tmp_path), tmp_path / "runs" / "blocks"
    kept = (tmp_path / "card.yaml").read_text()
    rsam("run", pipeline, "--run", run)
    assert class_names(RunFolder(run)) == ("green", "red")
    review_set = fiftyone_module.load_dataset(NAME)
    training = review_set.match({"split": "train"})
    red, green = (sorted(training.match({"ground_truth.label": c}).values("record_id")) for c in ("red", "green"))

    give(review_set, "blue", red[:1])
    rsam("apply", run)
    table = corrections_path(run, NAME)
    assert [(c.id, c.before, c.after) for c in read_corrections(table)] == [(red[0], "red", "blue")]
    rsam("apply", run, "--undo")
    review_set.reload()
    assert review_set.classes["ground_truth"] == ["green", "red"] and review_set.count_values("ground_truth.label") == {
        "green": 12,
        "red": 12,
    }
    assert "no corrections since round 1" in rsam("run", pipeline, "--run", run, "--round", check=2).stderr

    give(review_set, "blue", red[:3])
    give(review_set, "Red ", green)
    rename(review_set, "red", "crimson")
    applied = json.loads(rsam("apply", run, "--json").stdout)
    assert (applied["problems"], len(read_corrections(table))) == ([], 2 + 1 + 3 + len(green))
    (tmp_path / "card.yaml").write_text(f"{kept}untrained_classes: refuse\n")
    refused = rsam("train", pipeline, "--run", run, "--restart", check=2).stderr
    assert "the class 'green' has no training image left after the corrections (1 such classes)" in refused
    (tmp_path / "card.yaml").write_text(kept)
    said = rsam("run", pipeline, "--run", run, "--round").stderr
    assert "new classes by the corrections (1): blue" in said
    assert "classes without a training image left after the corrections (1) are left out" in said and ": green" in said
    second = run.with_name("blocks-round2")
    assert class_names(RunFolder(second)) == ("crimson", "blue")
    learned = read_predictions(RunFolder(second).predictions, ["train"])
    assert learned.column("label").to_pylist().count("blue") == 3
    assert {len(row) for row in learned.column("logits").to_pylist()} == {2}
    said = rsam("predict", run, "--split", "all").stderr
    assert "3 images of classes that this run's model does not know are not measured: blue" in said

    fiftyone_module.delete_dataset(NAME)
    rsam("review", second, "--no-app")
    review_set = fiftyone_module.load_dataset(NAME)
    assert review_set.classes["ground_truth"] == ["green", "crimson", "blue"], "from the corrections"
    chosen = review_set.match({"ground_truth.label": "blue"})
    assert sorted(chosen.values("record_id")) == red[:3]
    chosen.tag_samples("good")
    out = tmp_path / "out"
    rsam("export", second, "--tag", "good", "--format", "coco", out)
    exported = json.loads(next(out.rglob("*.json")).read_text())
    assert [c["name"] for c in exported["categories"]] == ["green", "crimson", "blue"]
    assert [image["label"] for image in exported["images"]] == ["blue"] * 3

    assert review_set.exists("blocks_prediction").count() == 0
    rsam("review", run, "--no-app")
    rsam("apply", run, "--undo")
    rsam("predict", run, "--split", "all")
    ids = read_predictions(RunFolder(run).predictions).column("id").to_pylist()
    assert len(ids) == len(set(ids)) == 24, "the images of 'blue' are training images again, and only these"
