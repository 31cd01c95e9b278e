"""Rectangles sent to annotation tools as files, edited as a person would, and brought back as targets."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from rsam_app.data.records import Dataset
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.review.annotation_tools.exchange import bring_back, send
from rsam_app.review.decisions.read import read_decisions
from rsam_app.review.tagging import tag_records
from rsam_app.system.errors import UserError


def model_rectangles(review_set: Any) -> dict[str, list[float]]:
    return {s.record_id: [s.run_one_attention.detections[0][n] for n in RECTANGLE_FIELDS] for s in review_set}


def targets(review_set: Any) -> dict[str, list[float]]:
    found = read_decisions(review_set.name, "run_one", "ann").corrections
    return {c.id: json.loads(c.after) for c in found if c.kind == "rectangle"}


def submitted(task: dict[str, Any], change: dict[str, float] | None = None) -> dict[str, Any]:
    """Return the task as Label Studio exports it once the prediction was changed and accepted."""
    (region,) = task["predictions"][0]["result"]
    region = {**region, "id": "abc", "value": {**region["value"], **(change or {})}}
    return {"id": 1, "data": task["data"], "annotations": [{"was_cancelled": False, "result": [region]}]}


def test_label_studio_there_and_back(drawn: Dataset, review_set: Any, tmp_path: Path) -> None:
    accepted, turned, skipped, other = (r.id for r in drawn.records[:4])
    tag_records(drawn.name, [accepted, turned, skipped], "mine")
    out, back = tmp_path / "tasks.json", tmp_path / "export.json"
    done = send(drawn.name, "run_one", "label-studio", out, "mine")
    assert done.sent == 3
    assert "RectangleLabels" in done.text()
    tasks = {t["data"]["record_id"]: t for t in json.loads(out.read_text(encoding="utf-8"))}
    assert tasks.keys() == {accepted, turned, skipped}
    assert " " not in tasks[accepted]["data"]["image"]
    exported = [
        submitted(tasks[accepted]),
        submitted(tasks[turned], {"rotation": 90.0, "x": 50.0, "y": 25.0, "width": 25.0, "height": 12.5}),
        {"data": tasks[skipped]["data"], "annotations": [{"was_cancelled": True, "result": []}]},
    ]
    back.write_text(json.dumps(exported), encoding="utf-8")
    done = bring_back(drawn.name, "run_one", "label-studio", back)
    assert (done.targets, done.unchanged, done.problems) == (2, 0, [])
    found = targets(review_set)
    assert found.keys() == {accepted, turned}
    assert found[accepted] == pytest.approx(model_rectangles(review_set)[accepted], abs=1e-3)
    # 60 × 20 pixels with the corner at (120, 40), rotated by 90° clockwise about it: it lies left of and below it.
    assert found[turned] == pytest.approx([110, 70, 60, 20, -math.pi / 2], abs=1e-3)
    again = bring_back(drawn.name, "run_one", "label-studio", back)
    assert (again.targets, again.unchanged) == (0, 2)
    assert other not in found


def test_cvat_there_and_back(drawn: Dataset, review_set: Any, tmp_path: Path) -> None:
    moved, kept = drawn.records[0].id, drawn.records[1].id
    path = tmp_path / "annotations.xml"
    send(drawn.name, "run_one", "cvat", path)
    before = model_rectangles(review_set)
    tree = ElementTree.parse(path)
    boxes = {image.get("name"): image[0] for image in tree.getroot().iter("image")}
    assert len(boxes) == 24
    boxes[moved].attrib |= {"xtl": "20", "ytl": "30", "xbr": "80", "ybr": "70", "rotation": "330.0"}
    tree.write(path, encoding="utf-8")
    done = bring_back(drawn.name, "run_one", "cvat", path)
    assert (done.targets, done.unchanged, done.problems) == (1, 23, [])
    found = targets(review_set)
    assert found.keys() == {moved}
    assert found[moved] == pytest.approx([50, 50, 60, 40, math.radians(-30)], abs=1e-3)
    assert model_rectangles(review_set)[kept] == before[kept]


def test_a_drawn_target_is_sent_instead_of_the_models_rectangle(
    drawn: Dataset, review_set: Any, tmp_path: Path
) -> None:
    import fiftyone as fo

    sample = review_set.first()
    box = fo.Detection(label="target", bounding_box=[0.25, 0.25, 0.5, 0.5])
    sample.attention_target = fo.Detections(detections=[box])
    sample.save()
    send(drawn.name, "run_one", "label-studio", tmp_path / "t.json")
    tasks = {t["data"]["record_id"]: t for t in json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))}
    value = tasks[sample.record_id]["predictions"][0]["result"][0]["value"]
    assert [value[n] for n in ("x", "y", "width", "height", "rotation")] == pytest.approx([25, 25, 50, 50, 0])


def test_unreadable_images_are_named(drawn: Dataset, review_set: Any, tmp_path: Path) -> None:
    out = tmp_path / "tasks.json"
    with pytest.raises(UserError, match="nothing is tagged"):
        send(drawn.name, "run_one", "cvat", out, "nobody")
    with pytest.raises(UserError, match="no run 'other'"):
        send(drawn.name, "other", "cvat", out)
    send(drawn.name, "run_one", "label-studio", out)
    first, second, third = json.loads(out.read_text(encoding="utf-8"))[:3]
    twice = submitted(first)
    twice["annotations"][0]["result"] *= 2
    unknown = submitted(second)
    unknown["data"] = {"record_id": "gone.jpg"}
    exported = [twice, unknown, submitted(third, {"width": 0})]
    out.write_text(json.dumps(exported), encoding="utf-8")
    done = bring_back(drawn.name, "run_one", "label-studio", out)
    assert done.targets == 0
    text = done.text()
    assert "2 rectangles, one is needed" in text
    assert "gone.jpg: is not in the dataset" in text
    assert "cannot be read" in text
    for form, junk in (("label-studio", "{"), ("label-studio", '{"a": 1}'), ("cvat", "<html>"), ("cvat", "<html/>")):
        out.write_text(junk, encoding="utf-8")
        with pytest.raises(UserError, match=r"tasks\.json"):
            bring_back(drawn.name, "run_one", form, out)
