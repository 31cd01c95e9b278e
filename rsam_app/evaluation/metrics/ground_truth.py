"""Ground truth of the object's location: boxes clipped to the image, and masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image

from rsam_app.data.images.masks import read_mask
from rsam_app.data.records import Record
from rsam_app.geometry.boxes import areas, clip_edges, mask_edges
from rsam_app.geometry.types import Floats, Mask
from rsam_app.system.errors import UserError

TruthKind = Literal["boxes", "masks"]


def truth_kinds(records: Sequence[Record]) -> list[TruthKind]:
    """Kinds of ground truth of the records, that of the headline figures first: masks if any record has one.

    A mask is the whole object; a box may be of a part (Oxford's pets have boxes of heads).
    """
    kinds: list[TruthKind] = []
    if any(r.mask for r in records):
        kinds.append("masks")
    if any(r.boxes for r in records):
        kinds.append("boxes")
    return kinds


def image_sizes(records: Sequence[Record]) -> Floats:
    """Width and height `(N, 2)` of the images as displayed, in pixels."""
    return np.array([(r.width, r.height) for r in records], dtype=np.float64).reshape(-1, 2)


def box_edges(record: Record) -> Floats:
    """The record's boxes as `left, top, right, bottom` `(G, 4)` in pixels, clipped to the image.

    Boxes entirely outside the image are left out.
    """
    boxes = np.array(record.boxes, dtype=np.float64).reshape(-1, 4)
    edges = clip_edges(
        np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1), (record.width, record.height)
    )
    return edges[areas(edges) > 0]


def object_mask(record: Record) -> Mask:
    """The object's pixels `(height, width)`; `(0, 0)` if the record has no mask.

    Raises `UserError` if the file cannot be read or does not have the image's size.
    """
    if record.mask is None:
        return np.zeros((0, 0), dtype=bool)
    try:
        mask = read_mask(record)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{record.mask}: the mask cannot be read ({error}). Restore it or remove it.") from error
    if mask.shape != (record.height, record.width):
        raise UserError(
            f"{record.mask}: the mask is {mask.shape[1]} × {mask.shape[0]} pixels, its image {record.width} ×"
            f" {record.height}. Save the mask at the image's size, or remove it."
        )
    return mask


def true_edges(record: Record, kind: TruthKind) -> Floats:
    """The true boxes `(G, 4)` of a record: its boxes, or the box around its mask; `(0, 4)` without either."""
    if kind == "boxes":
        return box_edges(record)
    return mask_edges(object_mask(record))


def mean_box(records: Sequence[Record], kind: TruthKind) -> Floats | None:
    """The centre box: the mean of all true boxes, relative to their images, `left, top, right, bottom` `(4,)`.

    A fixed prediction that knows only how the photographs are framed. None without true boxes.
    """
    boxes = [true_edges(r, kind) / np.tile((r.width, r.height), 2) for r in records]
    edges = np.concatenate([np.zeros((0, 4)), *boxes])
    return np.asarray(edges.mean(axis=0)) if len(edges) else None
