"""Does the rectangle come along when the image is shrunk, enlarged, mirrored or turned? If not, it was not on much."""

from __future__ import annotations

import torch
from torch import Tensor

from rsam_app.geometry import rectangles as geometry
from rsam_app.geometry.image_views import GEOMETRIC, warp, zoom
from rsam_app.geometry.overlap import rotated_iou
from rsam_app.model import AttentiveClassifier

CLOSER = 1.5
"""The image is enlarged by this about its middle; what leaves the frame is gone."""
VIEWS = {**GEOMETRIC, "closer": lambda size: zoom(size, CLOSER)}
ORDER = ("scale", "closer", "flip", "rotate_right", "rotate_left")
"""The views to look at, first ones first: from further off and from closer, which together ask for the size as well as
the place. Neither would do alone: shrinking unsettles small rectangles (correlation with their area -.75 on birds),
enlarging those that are larger than their object, and large ones in general (+.5)."""


def returned_rectangles(model: AttentiveClassifier, images: Tensor, views: int) -> Tensor:
    """Rectangles `(B, views, 5)` in pixels of square images `(B, 3, S, S)`, normalised, as found in the first `views`
    of `ORDER` and carried back. Each costs a first look at every image."""
    found = [torch.zeros(len(images), 0, 5)]
    for name in ORDER[:views]:
        to_view = VIEWS[name](images.shape[3])
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
    the answer was taken from. A model that always points at the middle returns there in most views, and an object that
    fills the image leaves the frame of the closer one: compare images of one dataset. (the agreement is that of
    METRICS' stability)
    """
    if returned.shape[1] == 0:
        return torch.full((len(rectangles),), torch.nan)
    clean = rectangles.double().numpy()
    ious = [torch.from_numpy(rotated_iou(clean, seen.double().numpy())) for seen in returned.unbind(dim=1)]
    return 1 - torch.stack(ious).mean(dim=0).float()
