"""The visible part of a rectangle and its share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rsam_app.geometry.clipping import rectangle_in_view, visible_part


def test_visible_part_of_a_rectangle():
    rectangle = torch.tensor([0.0, 50, 40, 20, 0])
    visible, share = visible_part(rectangle, 100, 100)
    assert visible.tolist() == pytest.approx([10, 50, 20, 20, 0]) and share == pytest.approx(0.5)
    assert visible_part(torch.tensor([50.0, 50, 20, 10, 0.5]), 100, 100)[1] == 1.0
    assert visible_part(torch.tensor([-90.0, 50, 20, 10, 0.5]), 100, 100)[1] == 0.0


def test_a_rectangle_cut_by_the_view_keeps_the_share_in_sight():
    shifted = np.array([[1.0, 0, 50], [0, 1, 0]], np.float32)  # the view begins 50 pixels to the right
    rectangle, share = rectangle_in_view((50.0, 20.0, 40.0, 20.0, 0.0), shifted, 100)
    assert rectangle.tolist() == pytest.approx([10, 20, 20, 20, 0]) and share == pytest.approx(0.5)
