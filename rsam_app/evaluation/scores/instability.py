"""Does the rectangle come along when the image is mirrored, shrunk or turned? Where it does not, it was not on much."""

from __future__ import annotations

import torch
from torch import Tensor

from rsam_app.attention import geometry
from rsam_app.evaluation.geometric_views import GEOMETRIC, warp
from rsam_app.evaluation.overlap import rotated_iou
from rsam_app.model import AttentiveClassifier

ORDER = ("flip", "scale", "rotate_right", "rotate_left", "crop")
"""Views of `GEOMETRIC`, the ones to look at first first. Mirroring and shrinking lose nothing of the image;
turns lose its corners and a crop its border, and what is gone cannot be found again."""


def returned_rectangles(model: AttentiveClassifier, images: Tensor, views: int) -> Tensor:
    """Rectangles `(B, views, 5)` in pixels of square images `(B, 3, S, S)`, normalised, as found in the first `views`
    of `ORDER` and carried back. Each costs a first look at every image."""
    found = [torch.zeros(len(images), 0, 5)]
    for name in ORDER[:views]:
        to_view = GEOMETRIC[name](images.shape[3])
        rectangle = model.point(warp(images, to_view))
        if rectangle is None:
            raise ValueError("a model without attention has no rectangle to carry back")
        back = geometry.invert(to_view).expand(len(images), 2, 3)
        found.append(geometry.transform(rectangle.float().cpu(), back)[:, None])
    return torch.cat(found, dim=1)


def instability(rectangles: Tensor, returned: Tensor) -> Tensor:
    """1 - mean rotated IoU of rectangles `(B, 5)` with those `(B, V, 5)` of other views carried back, `(B,)` in [0, 1].

    0: the rectangle is on the same place in every view; 1: it is somewhere else each time. NaN without views. Use it to
    find rectangles that hang on nothing, whatever the class; `outside_activation` costs no further look and asks what
    the answer was taken from. Of an object that fills the image, or a model that always points at the middle, it says
    nothing: such a rectangle returns by itself. (the agreement is that of METRICS' stability)
    """
    if returned.shape[1] == 0:
        return torch.full((len(rectangles),), torch.nan)
    clean = rectangles.double().numpy()
    ious = [torch.from_numpy(rotated_iou(clean, seen.double().numpy())) for seen in returned.unbind(dim=1)]
    return 1 - torch.stack(ious).mean(dim=0).float()
