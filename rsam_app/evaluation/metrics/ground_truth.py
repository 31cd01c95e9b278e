"""Ground truth of the object's location: the records' own boxes, the boxes around their masks, and the masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image

from rsam_app.data.images.masks import read_mask
from rsam_app.data.records import Record
from rsam_app.geometry.boxes import areas, clip_edges, mask_edges
from rsam_app.geometry.overlap import box_iou
from rsam_app.geometry.types import Floats, Mask
from rsam_app.system.errors import UserError

TruthKind = Literal["boxes", "mask_boxes", "masks"]
"""`boxes`: the record's own; `mask_boxes`: the box around its mask; `masks`: the mask's pixels."""
WHOLE_OBJECT = 0.7
"""Mean IoU of own boxes with the masks' boxes from which on own boxes count as those of whole objects. (ours)

Measured: .32 for Oxford's pets, whose boxes are of heads; 1.0 for the demo's beetles, whose boxes are those around
the masks.
"""
COMPARED = 200
"""Records, evenly spaced, whose own boxes are compared with their masks."""


def truth_kinds(records: Sequence[Record]) -> list[TruthKind]:
    """Kinds of ground truth of the records, that of the headline figures first. Raises `UserError` for a damaged mask.

    Boxes lead, because no rectangle can match a mask's outline. They come from one source for all records: from the
    masks if own boxes are of a part (`box_agreement` below `WHOLE_OBJECT`), else from the source that more records
    have, own boxes if equal. Own boxes that do not lead come last, under their own name; masks' boxes that do not lead
    are left out, as they agree with the own ones.
    """
    masked, boxed = sum(r.mask is not None for r in records), sum(bool(r.boxes) for r in records)
    if not masked or not boxed:
        return ["mask_boxes", "masks"] if masked else ["boxes"] if boxed else []
    agreement = box_agreement(records)
    of_part = agreement is not None and agreement < WHOLE_OBJECT
    return ["mask_boxes", "masks", "boxes"] if of_part or masked > boxed else ["boxes", "masks"]


def box_agreement(records: Sequence[Record]) -> float | None:
    """Mean IoU in [0, 1] of the box around a record's own boxes with that around its mask; None if no record has both.

    Compares at most `COMPARED` records. Raises `UserError` if a mask cannot be read.
    """
    both = [r for r in records if r.boxes and r.mask]
    pairs = [(box_edges(r), true_edges(r, "mask_boxes")) for r in both[:: -(-len(both) // COMPARED) or 1]]
    pairs = [(own, around) for own, around in pairs if len(own) and len(around)]
    if not pairs:
        return None
    own = np.stack([np.concatenate([edges[:, :2].min(axis=0), edges[:, 2:].max(axis=0)]) for edges, _ in pairs])
    return float(box_iou(own, np.concatenate([around for _, around in pairs])).mean())


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
    """The true boxes `(G, 4)` of a record: its own, or else the box around its mask; `(0, 4)` without that truth."""
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
