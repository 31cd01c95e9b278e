"""Two working folders whose cards have the same name do not mix their images in one FiftyOne dataset."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rsam_app.config import Card, Pipeline
from rsam_app.data import Images
from rsam_app.data.records import Dataset
from rsam_app.review.dataset.fiftyone_internals import database
from rsam_app.review.dataset.other_folder import refuse_other_folder
from rsam_app.review.labelling.begin import begin_labelling
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError


def in_folder(folder: Path, name: str = "birds") -> RunFolder:
    run = RunFolder(folder / "runs" / name)
    run.save_pipeline(Pipeline(name=name, dataset="drawn"))
    return run


def copied_to(folder: Path, dataset: Dataset) -> Dataset:
    """Other images of the same names."""
    records = tuple(replace(r, path=folder / r.id) for r in dataset.records)
    for before, after in zip(dataset.records, records, strict=True):
        after.path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(before.path, after.path)
    return replace(dataset, records=records)


def test_other_images_of_another_folders_run_are_refused(review_set: Any, drawn: Dataset, tmp_path: Path) -> None:
    run, before = in_folder(tmp_path / "second"), review_set.values("filepath")
    other = copied_to(tmp_path / "second" / "photos", drawn)
    with pytest.raises(
        UserError, match=r"shows other images, e\.g\. .*, of the run .*run one\.\nGive this card another name"
    ):
        refuse_other_folder(database(), other, run, run.key)
    unlabelled = tuple(replace(r, label="", split="unlabelled") for r in other.records)
    card = Card(name=drawn.name, layout="folder", root=str(tmp_path))
    with pytest.raises(UserError, match="shows other images"):
        begin_labelling(card, Images(unlabelled, (), False, {"train": "train"}, (), (), ()), run, "birds", 6)
    review_set.reload()
    assert review_set.values("filepath") == before and not review_set.has_sample_field("label_rank")


def test_the_same_images_are_one_dataset_wherever_the_run_is(review_set: Any, drawn: Dataset, tmp_path: Path) -> None:
    elsewhere = in_folder(tmp_path / "second")
    refuse_other_folder(database(), drawn, elsewhere, elsewhere.key)
    with pytest.raises(UserError, match=r"run_one_\* .* belong to the run"):
        refuse_other_folder(database(), drawn, elsewhere, "run_one")
    other = copied_to(tmp_path / "moved", drawn)
    refuse_other_folder(database(), other, in_folder(tmp_path, "second"), "second")  # beside the first: moved
    for run in (tmp_path / "runs").iterdir():
        shutil.rmtree(run)
    refuse_other_folder(database(), other, elsewhere, elsewhere.key)  # nobody's any more
    refuse_other_folder(database(), replace(other, name="nobody's"), elsewhere, elsewhere.key)
