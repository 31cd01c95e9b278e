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
    region, *_ = task["predictions"][0]["result"]
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


def labels(review_set: Any) -> dict[str, str]:
    found = read_decisions(review_set.name, "run_one", "ann").corrections
    return {c.id: c.after for c in found if c.kind == "label"}


def test_labels_go_to_label_studio_and_back(drawn: Dataset, review_set: Any, tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    done = send(drawn.name, "run_one", "label-studio", path)
    assert 'value="blue tit"' in done.text() and 'value="Ärger Finch"' in done.text()
    tasks = json.loads(path.read_text(encoding="utf-8"))
    sent = {t["data"]["record_id"]: t["predictions"][0]["result"][1]["value"]["choices"] for t in tasks}
    assert sent == {record.id: [record.label] for record in drawn.records}
    exported = [{"data": t["data"], "annotations": [{"result": t["predictions"][0]["result"]}]} for t in tasks[:3]]
    (changed, unknown, _), names = exported, [t["data"]["record_id"] for t in tasks[:3]]
    other = "crow" if sent[names[0]] != ["crow"] else "blue tit"
    changed["annotations"][0]["result"][1]["value"]["choices"] = [other]
    unknown["annotations"][0]["result"][1]["value"]["choices"] = ["goose"]
    path.write_text(json.dumps(exported), encoding="utf-8")
    done = bring_back(drawn.name, "run_one", "label-studio", path)
    assert (done.labels, done.targets) == (1, 3)
    assert done.problems == [f"{names[1]}: label 'goose' is not a class of the dataset."]
    assert labels(review_set) == {names[0]: other}
    again = bring_back(drawn.name, "run_one", "label-studio", path)
    assert (again.labels, again.targets) == (0, 0)


def test_labels_go_to_cvat_as_tags_and_back(drawn: Dataset, review_set: Any, tmp_path: Path) -> None:
    path = tmp_path / "annotations.xml"
    assert '"blue tit"' in send(drawn.name, "run_one", "cvat", path).text()
    tree = ElementTree.parse(path)
    images = list(tree.getroot().iter("image"))
    assert {i.get("name"): i.find("tag").get("label") for i in images} == {r.id: r.label for r in drawn.records}
    first, second = images[:2]
    other = next(name for name in ("crow", "blue tit") if name != first.find("tag").get("label"))
    first.find("tag").set("label", other)
    ElementTree.SubElement(first, "tag", label="blurred")
    ElementTree.SubElement(second, "tag", label=next(n for n in drawn.classes if n != second.find("tag").get("label")))
    tree.write(path, encoding="utf-8")
    done = bring_back(drawn.name, "run_one", "cvat", path)
    assert (done.labels, done.targets) == (1, 0)
    assert [problem.split(": ")[0] for problem in done.problems] == [second.get("name")]
    assert labels(review_set) == {first.get("name"): other}


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


def returned(task: dict[str, Any], region: dict[str, Any]) -> dict[str, Any]:
    """Return the task as exported with other keys of its region."""
    sent, *_ = task["predictions"][0]["result"]
    return {"data": task["data"], "annotations": [{"result": [{**sent, **region}]}]}


def tasks_of(drawn: Dataset, path: Path) -> list[dict[str, Any]]:
    send(drawn.name, "run_one", "label-studio", path)
    return json.loads(path.read_text(encoding="utf-8"))


def test_shapes_of_other_controls_are_read_in_label_studio(drawn: Dataset, review_set: Any, tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    first, second, third, fourth, fifth = tasks_of(drawn, path)[:5]
    value = {"x": 25, "y": 25, "width": 50, "height": 50, "rotation": 0}
    points = {"points": [[25, 25], [75, 25], [75, 75], [40, 75], [25, 75]]}
    labels = {"type": "labels", "value": {**value, "labels": ["target"]}}
    bare = returned(first, {"type": "rectangle", "value": value})
    bare["annotations"][0]["result"] += [labels, {"type": "choices", "value": {"choices": ["good"]}}]
    both = returned(fourth, {"type": "rectangle", "value": value})
    both["annotations"][0]["result"].append({"type": "ellipselabels", "value": {}})
    polygons = [returned(second, {"type": "polygonlabels", "value": points}), returned(third, {"type": "polygon"})]
    polygons[1]["annotations"][0]["result"][0]["value"] = {"points": [[1, 1], [2, 2]]}
    emptied = {"data": fifth["data"], "annotations": [{"result": []}]}
    path.write_text(json.dumps([bare, *polygons, both, emptied]), encoding="utf-8")
    done = bring_back(drawn.name, "run_one", "label-studio", path)
    assert (done.targets, done.empty) == (3, 1)
    names = [task["data"]["record_id"] for task in (first, second, third, fourth)]
    for name in (names[0], names[1], names[3]):
        assert targets(review_set)[name][:2] == pytest.approx([120, 80], abs=1e-3)
        assert sorted(targets(review_set)[name][2:4]) == pytest.approx([80, 120], abs=1e-3)
    assert [problem.split(": ")[0] for problem in done.problems] == names[2:4]
    assert "polygon of 2 points" in done.problems[0] and "ellipselabels" in done.problems[1]
    assert "1 images without a rectangle" in done.text()


def test_a_rectangle_on_a_copy_of_another_size_is_scaled(drawn: Dataset, review_set: Any, tmp_path: Path) -> None:
    path = tmp_path / "export"
    first, second, third, fourth = tasks_of(drawn, path)[:4]
    value = {"x": 25, "y": 25, "width": 50, "height": 50, "rotation": 0}
    double = {"original_width": 480, "original_height": 320, "value": value}
    stretched = {"original_width": 1000, "original_height": 500, "value": value}
    turned = {"original_width": 160, "original_height": 240, "value": value}
    exported = [returned(first, double), returned(second, stretched), returned(third, turned)]
    path.write_text(json.dumps([*exported, returned(fourth, {"image_rotation": 90})]), encoding="utf-8")
    done = bring_back(drawn.name, "run_one", "label-studio", path)
    names = [task["data"]["record_id"] for task in (first, second, third, fourth)]
    assert targets(review_set) == {name: pytest.approx([120, 80, 120, 80, 0], abs=1e-3) for name in names[:2]}
    assert [problem.split(": ")[0] for problem in done.problems] == [names[3], names[2]]
    box = '<box label="target" xtl="40" ytl="40" xbr="80" ybr="120" rotation="30"/>'
    polygon = '<polygon points="40.0,40.0;80.0,40.0;80.0,120.0;40.0,120.0"/>'
    images = [
        f'<image id="0" name="{name}" width="480" height="320">{shape}</image>'
        for name, shape in zip(names[2:], (box, polygon), strict=True)
    ]
    ellipse = f'<image id="2" name="{names[0]}" width="240" height="160"><tag label="a"/><ellipse cx="3"/></image>'
    path.write_text(f"<annotations>{''.join(images)}{ellipse}</annotations>", encoding="utf-8")
    done = bring_back(drawn.name, "run_one", "cvat", path)
    assert (done.targets, len(done.problems)) == (2, 1)
    assert "shape of type ellipse" in done.problems[0]
    found = targets(review_set)
    assert found[names[2]] == pytest.approx([30, 40, 20, 40, math.radians(30)], abs=1e-3)
    assert found[names[3]][:2] == pytest.approx([30, 40], abs=1e-3)
    assert sorted(found[names[3]][2:4]) == pytest.approx([20, 40], abs=1e-3)


def test_nothing_off_the_image_becomes_a_target(drawn: Dataset, review_set: Any, tmp_path: Path) -> None:
    path = tmp_path / "export"
    first, second = tasks_of(drawn, path)[:2]
    beyond = {"x": 150, "y": 150, "width": 30, "height": 30, "rotation": 0}
    twice = [returned(second, {"id": "a"})] * 2
    path.write_text(json.dumps([returned(first, {"value": beyond}), *twice]), encoding="utf-8")
    done = bring_back(drawn.name, "run_one", "label-studio", path)
    assert done.targets == 0
    assert "off the image of 240 × 160 pixels" in done.text()
    assert done.text().count("is in the file 2 times") == 2
    assert targets(review_set) == {}


def test_tracks_of_a_video_are_refused(drawn: Dataset, review_set: Any, tmp_path: Path) -> None:
    path = tmp_path / "video.xml"
    path.write_text('<annotations><track id="0"><box frame="0" xtl="1"/></track></annotations>', encoding="utf-8")
    with pytest.raises(UserError, match=r"video\.xml: has 1 tracks.*\n.*CVAT for images 1\.1"):
        bring_back(drawn.name, "run_one", "cvat", path)


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
