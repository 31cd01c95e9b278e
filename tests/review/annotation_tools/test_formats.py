"""Rotated rectangles in annotation tools: as the tools draw them, and as FiftyOne sends them."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from rsam_app.geometry.types import Rectangle
from rsam_app.review.annotation_tools.formats import (
    for_cvat,
    for_label_studio,
    from_cvat,
    from_label_studio,
    returned_by_label_studio,
    to_cvat,
    to_label_studio,
)
from rsam_app.review.dataset.targets import rectangle_of

EXTENT = (640, 360)
RECTANGLES = [
    Rectangle(320.0, 180.0, 200.0, 80.0, 0.0),
    Rectangle(100.5, 200.25, 120.0, 60.0, 0.5),
    Rectangle(100.5, 200.25, 60.0, 120.0, -1.3),
    Rectangle(600.0, 30.0, 90.0, 200.0, -math.pi / 2),
    Rectangle(10.0, 350.0, 33.0, 7.0, 0.004),
]


def corners(rectangle: Rectangle) -> np.ndarray:
    """Return the corners `(4, 2)` of a rectangle, the top left in its own frame first."""
    cx, cy, width, height, angle = rectangle
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    half = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, height / 2]
    return half @ turn.T + [cx, cy]


def rotated(points: np.ndarray, about: Any, degrees: float) -> np.ndarray:
    """Rotate points as a canvas does: by degrees, clockwise as displayed, about a point."""
    z = (points - about) @ np.array([1, 1j])
    z = z * np.exp(1j * math.radians(degrees))
    return np.stack([z.real, z.imag], axis=1) + about


def upright(left: float, top: float, width: float, height: float) -> np.ndarray:
    return np.array([[left, top], [left + width, top], [left + width, top + height], [left, top + height]])


@pytest.mark.parametrize("rectangle", RECTANGLES)
def test_the_tools_draw_the_same_rectangle(rectangle: Rectangle) -> None:
    box = to_cvat(rectangle)
    shape = upright(box["xtl"], box["ytl"], box["xbr"] - box["xtl"], box["ybr"] - box["ytl"])
    np.testing.assert_allclose(rotated(shape, shape.mean(axis=0), box["rotation"]), corners(rectangle), atol=1e-9)
    value = to_label_studio(rectangle, EXTENT)
    x, width = value["x"] * 6.4, value["width"] * 6.4
    y, height = value["y"] * 3.6, value["height"] * 3.6
    shape = upright(x, y, width, height)
    np.testing.assert_allclose(rotated(shape, shape[0], value["rotation"]), corners(rectangle), atol=1e-9)
    assert 0 <= value["rotation"] < 360
    assert 0 <= box["rotation"] < 360


@pytest.mark.parametrize("rectangle", RECTANGLES)
def test_nothing_is_lost_there_and_back(rectangle: Rectangle) -> None:
    sent = {name: f"{value:.4f}" for name, value in to_cvat(rectangle).items()}
    assert from_cvat(sent) == pytest.approx(rectangle, abs=1e-3)
    value = json.loads(json.dumps(to_label_studio(rectangle, EXTENT)))
    assert from_label_studio(value, EXTENT) == pytest.approx(rectangle, abs=1e-9)


def test_a_box_rotated_by_more_than_half_a_circle_is_canonical() -> None:
    box = {"xtl": "10", "ytl": "20", "xbr": "50", "ybr": "40", "rotation": "200"}
    assert from_cvat(box) == pytest.approx((30, 30, 40, 20, math.radians(20)))
    del box["rotation"]
    assert from_cvat(box)[4] == 0


@pytest.mark.parametrize("broken", [{"xtl": "10"}, {"xtl": "a", "ytl": "1", "xbr": "2", "ybr": "3"}, {}])
def test_what_is_not_a_rectangle_is_refused(broken: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        from_cvat(broken)
    with pytest.raises(ValueError):
        from_label_studio({"x": 1, "y": 1, "width": 0, "height": 5}, EXTENT)


@pytest.mark.parametrize("rectangle", RECTANGLES)
def test_fiftyones_label_studio_back_end_loses_nothing(fiftyone_module: Any, rectangle: Rectangle) -> None:
    import fiftyone.utils.labelstudio as foul

    payload = foul.export_label_to_label_studio(for_label_studio(rectangle, EXTENT))
    assert {k: payload[k] for k in ("x", "y", "width", "height", "rotation")} == pytest.approx(
        to_label_studio(rectangle, EXTENT)
    )
    region = {"type": "rectanglelabels", "from_name": "attention_target", "value": json.loads(json.dumps(payload))}
    _, back = foul.import_label_studio_annotation(region)
    assert returned_by_label_studio(back, EXTENT) == pytest.approx(rectangle, abs=1e-6)


@pytest.mark.parametrize("rectangle", RECTANGLES[:4])
def test_fiftyones_cvat_back_end_rounds_to_pixels_and_keeps_the_rotation(
    fiftyone_module: Any, rectangle: Rectangle, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fiftyone.utils.cvat as fouc

    detection = for_cvat(rectangle, EXTENT)
    api = object.__new__(fouc.CVATAnnotationAPI)  # payloads need no server
    parsed = ("target", [], {}, {}, False, 0)
    monkeypatch.setattr(api, "_parse_label", lambda *a, **k: parsed, raising=False)
    _, (shape,), _, _ = api._create_detection_shapes([detection], {}, "x", 0, EXTENT, label_type="detections")
    assert shape["rotation"] == pytest.approx(math.degrees(rectangle.angle) % 360)
    assert shape["points"] == pytest.approx(list(to_cvat(rectangle).values())[:4], abs=0.5)
    shape = {**json.loads(json.dumps(shape)), "label_id": 1, "id": 1, "label": 1}
    back = fouc.CVATShape(shape, {1: "target"}, {1: {}}, {}, {"width": 640, "height": 360}).to_detection()
    found = rectangle_of(back, *EXTENT)
    assert found[:4] == pytest.approx(rectangle[:4], abs=1)
    assert found[4] == pytest.approx(rectangle[4], abs=1e-9)
