"""The unit of a turned box: FiftyOne's annotation back-ends store degrees; its next App stores radians."""

from __future__ import annotations

import math
from types import ModuleType

import pytest

from rsam_app.review.dataset.targets import rectangle_of


def test_a_rotation_of_an_annotation_back_end_is_in_degrees(fiftyone_module: ModuleType) -> None:
    detection = fiftyone_module.Detection(bounding_box=[0.25, 0.25, 0.5, 0.25], rotation=30.0)
    rectangle = rectangle_of(detection, 200, 100)
    assert rectangle[:4] == pytest.approx((100, 37.5, 100, 25))
    assert rectangle.angle == pytest.approx(math.radians(30))


def test_our_own_angle_is_in_radians_and_comes_first(fiftyone_module: ModuleType) -> None:
    detection = fiftyone_module.Detection(bounding_box=[0.25, 0.25, 0.5, 0.25], rotation=30.0, angle=-0.5)
    assert rectangle_of(detection, 200, 100).angle == pytest.approx(-0.5)


def test_this_fiftyone_knows_no_rotation_of_flat_boxes(fiftyone_module: ModuleType) -> None:
    """From the release on that does, `rotation` is in radians if the App wrote it (upstream change 8448): then
    `rectangle_of` has to tell the two apart before the requirement in pyproject.toml may admit that release."""
    text = fiftyone_module.Detection.__doc__ or ""
    assert "(3D only)" in text.partition("rotation (None):")[2].partition("confidence (None):")[0]
