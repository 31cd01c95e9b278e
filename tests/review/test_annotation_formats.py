"""The documented name of the annotation formats."""

from __future__ import annotations

import re
from pathlib import Path

from rsam_app.review import annotation_formats
from rsam_app.review.annotation_tools import formats

DOCS = Path(__file__).parents[2] / "docs" / "review-annotation.md"


def test_the_documented_names_can_be_imported() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert "`rsam_app.review.annotation_formats`" in text
    documented = set(re.findall(r"`((?:for|returned_by|to)_\w+)`", text))
    assert documented == set(annotation_formats.__all__)
    assert all(getattr(annotation_formats, name) is getattr(formats, name) for name in documented)
