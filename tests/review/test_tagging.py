"""Selections and exports after samples or files were deleted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rsam_app.config import SelectConfig
from rsam_app.data.records import Dataset
from rsam_app.review.export_tagged import export_tagged
from rsam_app.review.tagging import select_and_tag, tag_records, tagged_ids
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError

MakeRun = Callable[..., RunFolder]
SETTINGS = SelectConfig(strategy="entropy", budget=24, split="train")


def test_a_deleted_sample_is_left_out_of_a_selection_and_named(
    drawn: Dataset, make_run: MakeRun, review_set: Any
) -> None:
    from fiftyone import ViewField as F

    gone = next(r.id for r in drawn.records if r.split == "train")
    review_set.delete_samples(review_set.match(F("record_id") == gone))
    run = make_run(drawn)
    selection, new = select_and_tag(run, drawn.name, SETTINGS, 0)
    assert (len(selection.ids), new) == (17, 17)
    assert gone not in selection.ids
    assert selection.notes[0].startswith(
        f"1 images have no sample in FiftyOne and are left out, e.g. {gone}. `rsam rev"
    )
    assert not any("reviewed already" in note for note in selection.notes)
    review_set.delete_samples(review_set.match(F("split") == "train"))
    with pytest.raises(UserError, match=r"lacks 18 of 18 records.*\n.*rsam review RUN"):
        select_and_tag(run, drawn.name, SETTINGS, 0)


def test_a_vanished_image_is_left_out_of_an_export_and_named(
    drawn: Dataset, make_run: MakeRun, review_set: Any, tmp_path: Path
) -> None:
    names = [r.id for r in drawn.records[:3]]
    tag_records(drawn.name, names, "mine")
    now = replace(drawn, records=drawn.records[1:])
    job: Any = SimpleNamespace(
        run=make_run(drawn),
        original=now,
        review_dataset=drawn.name,
        left_out=lambda dataset: dict.fromkeys(("skipped", "skipped_masks", "notes"), ()),
    )
    text = export_tagged(job, "mine", "folder", tmp_path / "out", "copy").text()
    assert f"1 tagged images are left out, as their files are not in the dataset now: {names[0]}" in text
    assert "2 images of" in text
    assert sorted(tagged_ids(drawn.name, "mine")) == sorted(names)
    none: Any = SimpleNamespace(**vars(job) | {"original": replace(drawn, records=drawn.records[3:])})
    with pytest.raises(UserError, match="3 records are not in the dataset"):
        export_tagged(none, "mine", "folder", tmp_path / "other", "copy")
