from __future__ import annotations

import pytest
from data.layouts.official import voc

from rsam_app.data.layouts.formats.pascal_voc import voc_boxes
from rsam_app.system.errors import UserError


def test_the_first_pixel_is_1_and_the_last_is_included(tmp_path) -> None:
    (tmp_path / "a.xml").write_text(voc((1, 1, 40, 30), (10, 11, 10, 11)))
    assert voc_boxes(tmp_path / "a.xml") == ((0, 0, 40, 30), (9, 10, 1, 1))


def test_an_annotation_without_object_is_no_box(tmp_path) -> None:
    (tmp_path / "a.xml").write_text(voc())
    assert voc_boxes(tmp_path / "a.xml") == ()


BOMB = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]><annotation>&y;</annotation>'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (BOMB.encode(), "document type"),
        (BOMB.encode("utf-16"), "not a Pascal VOC"),
        (b"<annotation><object>", "not a Pascal VOC"),
        (b"", "not a Pascal VOC"),
        (b"<annotation><object><bndbox/></object></annotation>", "not a Pascal VOC"),
        (voc((9, 1, 3, 4)).encode(), "box from 9.0"),
        (voc((1, 1, float("nan"), 4)).encode(), "not a Pascal VOC"),
        (voc((1, 1, float("inf"), 4)).encode(), "not a Pascal VOC"),
        (b"<annotation>" + b" " * 1_000_001 + b"</annotation>", "larger than"),
    ],
)
def test_an_annotation_that_cannot_be_trusted_is_named(tmp_path, content, reason) -> None:
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        voc_boxes(tmp_path / "a.xml")
    assert "a.xml" in str(caught.value)
