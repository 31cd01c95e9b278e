"""`rsam label`: from a folder of unlabelled photographs to a trained run, by the App's operators and keys."""

from __future__ import annotations

import csv
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from command import rsam
from PIL import Image

from rsam_app.review.app.install_plugin import link_plugin
from rsam_app.review.labelling.batches import take_batch
from rsam_app.review.labelling.follow import LabelFollower
from rsam_app.run.corrections import corrections_path, read_corrections
from rsam_app.run.folder import RunFolder
from rsam_app.run.job import Job
from rsam_app.run.predictions import class_names
from rsam_app.system.errors import UserError
from rsam_app.system.progress import Reporter
from rsam_app.workflow.label import Labelling, pipeline_to_label

NAME = "label_walk"
COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 60, 230)}
SMALL = {
    "dataset": NAME,
    "model": {"backbone": "test_resnet", "weights": "none", "image_size": 32},
    "train": {"epochs": 1, "batch_size": 8, "workers": 0, "precision": "float32"},
    "select": {"budget": 3},
}
PHOTOGRAPHS = 30


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Unlabelled photographs in three colours, below the working folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photographs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(PHOTOGRAPHS):
        image = rng.integers(0, 25, (40, 40, 3)) + np.array(COLOURS[truth(i)])
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture
def database(fiftyone_module: ModuleType) -> Iterator[ModuleType]:
    """FiftyOne with the plugin; the dataset is deleted afterwards."""
    link_plugin()
    yield fiftyone_module
    if fiftyone_module.dataset_exists(NAME):
        fiftyone_module.delete_dataset(NAME)


def truth(number: int) -> str:
    return list(COLOURS)[number % 3]


class App:
    """The App on the dataset: what an open image's keys, form and panel do."""

    def __init__(self, review_set: Any) -> None:
        self.review_set = review_set
        self.opened: str | None = None

    def operator(self, name: str, /, **params: Any) -> dict[str, Any]:
        """Call an operator on the open image, open what it opens, and return its requests to the App."""
        import fiftyone.operators as foo

        ctx = {"dataset": self.review_set, "current_sample": self.opened, "params": params}
        done = foo.execute_operator(f"@rsam/review/{name}", ctx=ctx)
        self.review_set.reload()
        requests = {r["operator_uri"]: r["params"] for r in done.executor.to_json()["requests"]}
        self.opened = requests.get("open_sample", {}).get("id", self.opened)
        return requests

    def press(self, key: str) -> str:
        """The notice that follows."""
        return str(self.operator("key", key=key).get("notify", {}).get("message", ""))

    def give(self, label: str, new: bool = False) -> str:
        return str(self.operator("give_label", label=label, new_class=new)["notify"]["message"])

    def panel(self) -> str:
        given = {"__method__": "on_load", "panel_id": "panel", "panel_state": {}}
        return str(self.operator("rsam_review", **given)["show_panel_output"]["output"])

    def look_again(self) -> dict[str, Any]:
        """What the panel's timer does."""
        return self.operator("rsam_review", __method__="look_again", panel_id="panel", panel_state={})

    def of_open(self, field: str) -> Any:
        """A field of the open image, as the database has it."""
        return self.review_set.select(self.opened).values(field)[0]

    def truth(self) -> str:
        """The colour of the open image."""
        return truth(int(Path(self.of_open("filepath")).stem))

    def values(self, field: str) -> list[Any]:
        """A field's values in the order of the batch."""
        return list(self.review_set.exists("label_rank").sort_by("label_rank").values(field))


def test_from_unlabelled_photographs_to_a_trained_run(
    photographs: Path, database: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    rsam("init", photographs, "--name", NAME)
    Path("pipelines", f"{NAME}.yaml").write_text(yaml.safe_dump(SMALL))
    broken = photographs / "broken.png"
    broken.write_bytes(b"no image")
    said = rsam("label", photographs, "--name", NAME, "--classes", "red, green", "--budget", 6, "--no-app")
    assert "0 images of 0 classes have a label, 31 have none" in said.stdout
    assert "1 image is left out: unlabelled/broken.png (not an image)" in capfd.readouterr().err
    broken.unlink()
    run = RunFolder(Path("runs", NAME))
    app = App(database.load_dataset(NAME))
    follower = LabelFollower(app.review_set, print)

    assert app.values("label_rank") == [1, 2, 3, 4, 5, 6] and len(app.review_set) == PHOTOGRAPHS + 1
    assert all("represents about" in reason for reason in app.values("label_reason"))
    assert app.review_set.count("label_suggested") == 0 and "6 left** of 6 · batch 1" in app.panel()

    assert "features of all photographs are ready" in app.panel() and "look_again" not in app.panel()
    features = run.label_features.rename(run.path / "aside.npz")
    assert take_batch(app.review_set, same_number=True) and "look_again" in app.panel(), "a timer"
    assert not {"notify", "reload_dataset"} & app.look_again().keys()
    features.rename(run.label_features)
    assert take_batch(app.review_set, same_number=True)
    assert {"notify", "reload_dataset"} <= app.look_again().keys()

    first = app.values("id")
    app.press("n")
    assert app.opened == first[0] and "Represents about" in app.panel()
    assert "is about what a run says" in app.press("1") and app.of_open("review") is None
    assert "Tick 'New class'" in app.give("violet")
    given: dict[str, str] = {}

    def give_truth() -> str:
        given[app.of_open("record_id")] = app.truth()
        return app.give(f"{app.truth().title()} " if app.truth() == "red" else app.truth(), new=True)

    while len(set(given.values())) < 2:
        give_truth()
    opened, suggested = app.opened, app.of_open("label_suggested")
    assert suggested in given.values() and 0.5 <= app.of_open("label_suggested_probability") <= 1
    assert f"Take {suggested} (7)" in app.panel()
    app.press("7")
    app.opened = opened
    assert (app.of_open("ground_truth.label"), app.of_open("review")) == (suggested, "labelled")
    assert "'labelled' undone" in app.press("0") and app.of_open("ground_truth.label") is None
    assert f"'{app.truth()}' set" in give_truth(), "'Red ' is the class red"

    app.review_set.delete_samples([deleted := app.opened])
    assert "was deleted" in app.panel() and "were deleted" in app.give("red")
    app.press("n")
    assert app.opened != deleted
    labelling = Labelling(Job.of_pipeline(NAME, [], None, Reporter()), NAME, [], app.review_set, follower)
    labelling._features = subprocess.Popen(["true"])  # they are computed
    ahead = _wait_for(run.next_to_label, labelling.step)
    while "batch 2 has 6 images" not in (notice := give_truth()):
        assert "Next: Represents about" in notice
    labelled = app.review_set.match({"ground_truth.label": {"$ne": None}}).values("id")
    assert len(labelled) == 5 and set(given.values()) == set(COLOURS)
    assert not {*labelled, deleted} & set(app.values("id")) and app.opened == app.values("id")[0]
    taken = app.values("record_id")
    assert str(ahead["selection"]).startswith("herding-6-") and ahead["batch"] == 2
    assert taken == [row["id"] for row in csv.DictReader((run.selection / ahead["selection"]).open())]
    assert (afresh := take_batch(app.review_set, same_number=True)) and afresh.ids == tuple(taken)

    give_truth()
    assert follower.step() and not follower.step()
    rest = app.review_set.match({"ground_truth.label": None, "record_id": {"$ne": "unlabelled/broken.png"}})
    colours = [truth(int(Path(path).stem)) for path in rest.values("filepath")]
    assert rest.values("label_suggested") == colours and app.review_set.count("label_suggested") == len(rest)
    table = corrections_path(run.path, NAME)
    assert {c.id: c.after for c in read_corrections(table)} == given

    give_truth()  # the terminal was killed: nobody follows
    assert len(read_corrections(table)) == len(given) - 1
    assert "1 label" in rsam("apply", run.path).stdout
    give_truth()  # and nobody runs `rsam apply`
    assert len(read_corrections(table)) == len(given) - 1
    refused = rsam("train", NAME, "--set", "model.backbone=resnet19", check=2).stderr
    assert f"1 decision of `rsam label` waited in the App and is now in {table}" in refused
    app.press("6")
    assert "needs a run" in app.operator("select_for_relabeling", budget=1)["notify"]["message"]

    said = rsam("run", NAME).stderr
    assert f"1 decision of `rsam label` waited in the App and is now in {table}" in said, "an exclusion"
    assert "are not applied" not in said, "labels of test images are those that the reviewer gave"
    assert f"{PHOTOGRAPHS - len(given)} images have no label: they are predicted and selected from" in said
    dataset = Job.of_pipeline(NAME, [], None, Reporter(quiet=True)).corrected.dataset
    assert {r.id: r.label for r in dataset.records if r.label} == given
    assert set(class_names(run)) == set(COLOURS) and run.read_json()["stages"].keys() >= {"train", "review"}
    app.review_set.reload()
    assert f"run {NAME}" in app.panel() and len(app.review_set) == PHOTOGRAPHS + 1, (
        "the deleted photograph is predicted too"
    )
    app.opened = app.review_set.match({"review": None, "ground_truth.label": None}).values("id")[0]
    late = app.of_open("record_id")
    app.give("blue")  # in the App of the run
    app.operator("rename_class", **{"class": "red", "name": "crimson"})
    again = rsam("label", NAME, "--classes", "red", "--no-app").stdout
    app.review_set.reload()
    assert app.review_set.classes["ground_truth"] == ["crimson" if c == "red" else c for c in class_names(run)]
    assert ("red", "class", "red", "crimson") in [(c.id, c.kind, c.before, c.after) for c in read_corrections(table)]
    assert (late, "blue") in [(c.id, c.after) for c in read_corrections(table) if c.kind == "label"]
    assert (
        f"{len(given) + 1} images of 3 classes have a label" in again and f"`rsam run {NAME}` trains with them" in again
    )


def _wait_for(file: Path, step: Callable[[], None]) -> dict[str, Any]:
    """Take steps until the JSON file is written; return its content."""
    deadline = time.monotonic() + 60
    while not file.exists() and time.monotonic() < deadline:
        step()
        time.sleep(0.1)
    return dict(json.loads(file.read_text()))


def test_images_that_cannot_be_labelled_are_refused_in_a_line_and_nothing_is_written(photographs: Path) -> None:
    empty = photographs / "empty"
    empty.mkdir()
    refused = rsam("label", empty, check=2).stderr
    assert "has no images that can be read" in refused
    empty.rmdir()
    for i, path in enumerate(sorted(photographs.glob("*.png"))):
        (photographs / truth(i)).mkdir(exist_ok=True)
        path.rename(photographs / truth(i) / path.name)
    refused = rsam("label", photographs, check=2).stderr
    assert "all 30 images have a class already, e.g. blue, green, red" in refused and "`rsam init " in refused
    assert f"`rsam label {photographs} --ignore-folders`" in refused
    assert "has 'Red' twice" in rsam("label", photographs, "--classes", "red,Red ", check=2).stderr
    assert "has an empty name" in rsam("label", photographs, "--classes", "red,,", check=2).stderr
    assert "no such file, and no such name in datasets/" in rsam("label", "nowhere", check=2).stderr
    assert not Path("datasets").exists() and not Path("runs").exists()


def test_photographs_in_folders_by_date_are_taken_all(photographs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i, path in enumerate(sorted(photographs.glob("*.png"))):
        day = photographs / f"2024/{1 + i % 3:02}"
        day.mkdir(parents=True, exist_ok=True)
        path.rename(day / path.name)
    said = Reporter()
    assert pipeline_to_label(str(photographs), NAME, None, said) == NAME
    assert "30 images; folders are not classes, e.g. 2024" in capsys.readouterr().err
    assert pipeline_to_label(str(photographs), NAME, None, said) == NAME, "goes on with the card that it wrote"
    images = Job.of_pipeline(NAME, [], None, said).images
    assert len(images.records) == 30 and not images.classes and images.records[0].id == "2024/01/00.png"
    with pytest.raises(UserError, match="--ignore-folders: is for a folder of photographs"):
        pipeline_to_label(NAME, None, None, said, ignore_folders=True)
