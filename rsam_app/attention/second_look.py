"""The rectangle as a crop: what a second look at an image sees."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rsam_app.attention import geometry

CONTEXT = 1.2
"""The crop reaches this much past the upright box around the rectangle."""

SMALLEST = 0.25
"""The least share of the image's side a crop keeps: below it there are no more pixels to see."""


def upright_crop(images: Tensor, rectangles: Tensor, out_height: int, out_width: int) -> Tensor:
    """Crops `(B, C, out_height, out_width)` of images `(B, C, H, W)` around rectangles `(B, 5)` in their pixels.

    A crop has the image's proportions, so that nothing looks squeezed in it that does not in the image. It is the
    smallest such window around the rectangle's upright box widened by `CONTEXT`, pushed inside the image. Bilinear,
    differentiable in images and rectangles. (a spatial transformer's sampling, Jaderberg et al. 2015, arXiv 1506.02025)
    """
    height, width = images.shape[2:]
    extent = geometry.at_least_float32(rectangles).new_tensor([width, height])
    boxes = geometry.bounding_boxes(rectangles)
    share = (CONTEXT * boxes[:, 2:] / extent).amax(dim=1, keepdim=True).clamp(SMALLEST, 1.0)
    centre = (boxes[:, :2] + boxes[:, 2:] / 2) / extent
    centre = torch.minimum(torch.maximum(centre, share / 2), 1 - share / 2)
    zero = torch.zeros_like(share[:, 0])
    # affine_grid's coordinates run from -1 to 1 over the image.
    shift = 2 * centre - 1
    rows = (
        torch.stack([share[:, 0], zero, shift[:, 0]], dim=1),
        torch.stack([zero, share[:, 0], shift[:, 1]], dim=1),
    )
    grid = F.affine_grid(
        torch.stack(rows, dim=1), [images.shape[0], images.shape[1], out_height, out_width], align_corners=False
    )
    return F.grid_sample(images, grid.to(images.dtype), mode="bilinear", padding_mode="border", align_corners=False)
