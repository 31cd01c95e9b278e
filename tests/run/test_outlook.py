"""What the reviewer reads about the answers given."""

from __future__ import annotations

from pathlib import Path

import pytest

from rsam_app.run.folder import RunFolder
from rsam_app.run.outlook import Outlook, read_outlook


@pytest.mark.parametrize(
    ("outlook", "agreement", "gain"),
    [
        (
            Outlook(1, None, None),
            "1 rectangle answered",
            ": with 8 drawn or accepted ones, you see here whether more are",
        ),
        (
            Outlook(23, 0.584, 17),
            "23 rectangles answered; held-out answers agree .58",
            "; after about 20 more the gain",
        ),
        (
            Outlook(40, 0.6, 0),
            "40 rectangles answered; held-out answers agree .60",
            "; 10 more would gain less than .01.",
        ),
        (
            Outlook(12, 0.3, None),
            "12 rectangles answered; held-out answers agree .30",
            "; whether more would help cannot",
        ),
    ],
)
def test_the_sentence_says_what_more_answers_would_gain(outlook: Outlook, agreement: str, gain: str) -> None:
    assert outlook.sentence().startswith(agreement + gain)


def test_it_is_read_from_the_run_that_stored_it(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert read_outlook(run) is None
    run.update_json(discovery=None)
    assert read_outlook(run) is None
    run.update_json(discovery=Outlook(23, 0.58, 17).as_dict())
    assert read_outlook(run) == Outlook(23, 0.58, 17)
