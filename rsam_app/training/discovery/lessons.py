"""A reviewer's answers as lessons: which cells of the feature maps are on the object, and which are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rsam_app.data.records import Record
from rsam_app.geometry import rectangles as geometry
from rsam_app.geometry.overlap import rasterise
from rsam_app.geometry.types import Rectangle
from rsam_app.run.answers import Answers

FINE = 128
"""Side of the grid that rectangles are drawn on before their share of each cell is taken."""


@dataclass(frozen=True)
class Lessons:
    """Answers on feature maps: the images' `rows` `(n,)`, the share of each cell that the rectangle covers, `covers`
    `(n, H, W)`, and whether it is on the object, `right` `(n,)`."""

    rows: Tensor
    covers: Tensor
    right: Tensor

    def take(self, chosen: Tensor) -> Lessons:
        """Some of the lessons."""
        return Lessons(self.rows[chosen], self.covers[chosen], self.right[chosen])

    @property
    def targets(self) -> Tensor:
        """The probability `(n, H, W)` that a cell is on the object. Beside a wrong rectangle it is even, as if the
        object were as large as the rectangle and anywhere else."""
        outside = 1 - self.covers
        elsewhere = self.covers.sum(dim=(1, 2), keepdim=True) / outside.sum(dim=(1, 2), keepdim=True).clamp_min(1e-6)
        return torch.where(self.right[:, None, None], self.covers, outside * elsewhere.clamp_max(0.5))

    def impose(self, masks: Tensor) -> Tensor:
        """Replace the masks `(N, H, W)` of images with a right rectangle by it, and remove wrong ones from theirs."""
        imposed = masks.clone()
        imposed[self.rows] = torch.where(self.right[:, None, None], self.covers, masks[self.rows] * (1 - self.covers))
        return imposed

    def merits(self, masks: Tensor) -> Tensor:
        """How well masks `(n, H, W)` of the answered images agree with the answers, in [-1, 1]: the IoU with a right
        rectangle, minus that with a wrong one."""
        shared, either = torch.minimum(masks, self.covers), torch.maximum(masks, self.covers)
        ious = shared.sum(dim=(1, 2)) / either.sum(dim=(1, 2)).clamp_min(1e-6)
        return torch.where(self.right, ious, -ious)


def make_lessons(answers: Answers, records: Sequence[Record], height: int, width: int) -> Lessons:
    """The answers about `records` on maps of `height × width` cells. A right rectangle makes a wrong one in its image
    superfluous; one that covers nothing teaches nothing."""
    rows, covers, right = [], [torch.zeros(0, height, width)], []
    for row, record in enumerate(records):
        rectangle = answers.right.get(record.id) or answers.wrong.get(record.id)
        cover = _cover(rectangle, record, height, width) if rectangle else torch.zeros(height, width)
        if cover.any():
            rows.append(row)
            covers.append(cover[None])
            right.append(record.id in answers.right)
    return Lessons(torch.tensor(rows, dtype=torch.long), torch.cat(covers), torch.tensor(right, dtype=torch.bool))


def _cover(rectangle: Rectangle, record: Record, height: int, width: int) -> Tensor:
    """The share `(height, width)` of each cell that a rectangle covers."""
    values = torch.tensor([rectangle], dtype=torch.float64)
    scaled = geometry.transform(values, geometry.scaling(FINE / record.width, FINE / record.height, values))
    drawn = torch.from_numpy(rasterise(scaled[0].numpy(), FINE, FINE)).float()
    return F.interpolate(drawn[None, None], size=(height, width), mode="area")[0, 0]
