"""Instability: whether the rectangle follows the image when it is shrunk, enlarged, mirrored or turned."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rsam_app.geometry import rectangles as geometry
from rsam_app.geometry.image_views import GEOMETRIC, warp, zoom
from rsam_app.geometry.overlap import rotated_iou
from rsam_app.model import AttentiveClassifier

CLOSER = 1.5
"""Factor by which the view `closer` enlarges the image about its middle; the rest is cut off."""
VIEWS: dict[str, Callable[[int], Tensor]] = {**GEOMETRIC, "closer": lambda size: zoom(size, CLOSER)}
ORDER = ("scale", "closer", "flip", "rotate_right", "rotate_left")
"""Views in order of use: first smaller and larger images, which together test size and place. Neither suffices alone:
shrinking disturbs small rectangles (correlation with their area -.75 on birds), enlarging those larger than their
object, and large ones in general (+.5)."""


def returned_rectangles(model: AttentiveClassifier, images: Tensor, views: int) -> Tensor:
    """Predict rectangles in the first `views` of `ORDER` and transform them back: `(B, views, 5)` in pixels of the
    normalised square images `(B, 3, S, S)`. Each view costs one forward pass."""
    returned = [torch.zeros(len(images), 0, 5)]
    for name in ORDER[:views]:
        to_view = VIEWS[name](images.shape[3])
        rectangle = model.locate(warp(images, to_view))
        if rectangle is None:
            raise ValueError("a model without attention has no rectangle to transform back")
        back = geometry.invert(to_view).expand(len(images), 2, 3)
        returned.append(geometry.transform(rectangle.float().cpu(), back)[:, None])
    return torch.cat(returned, dim=1)


def instability(rectangles: Tensor, returned: Tensor) -> Tensor:
    """1 - mean rotated IoU of rectangles `(B, 5)` with those `(B, V, 5)` of other views, transformed back: `(B,)` in
    [0, 1].

    0: the rectangle is at the same place in every view; 1: at another one each time. NaN without views. Use it to find
    unstable rectangles, whatever the class; `outside_activation` needs no further forward pass and locates the
    evidence. A model that always points at the middle also does so in most views, and an object that fills the image
    leaves the frame of the closer view: compare images of one dataset. (ours)
    """
    if returned.shape[1] == 0:
        return torch.full((len(rectangles),), torch.nan)
    clean = rectangles.double().numpy()
    ious = [torch.from_numpy(rotated_iou(clean, view.double().numpy())) for view in returned.unbind(dim=1)]
    return 1 - torch.stack(ious).mean(dim=0).float()
