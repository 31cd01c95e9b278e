"""The report of `rsam apply` names a command that exists for the run."""

from __future__ import annotations

from pathlib import Path

from rsam_app.review.decisions.apply import ApplyReport
from rsam_app.run.corrections import Correction


def test_an_adopted_run_has_no_next_round() -> None:
    added = [Correction(id="a.jpg", kind="label", before="auk", after="wren", who="me", when="now", run="run")]
    text = {adopted: ApplyReport(Path("birds.csv"), added, 0, adopted=adopted).text() for adopted in (False, True)}
    assert "--round" in text[False] and "1 label" in text[False]
    assert "--round" not in text[True] and "`rsam run PIPELINE`" in text[True]
