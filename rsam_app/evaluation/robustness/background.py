"""How much the background helps: the same objects before backgrounds of their own class, and of any class.

Xiao et al., "Noise or Signal" (ICLR 2021, arXiv 2006.09994), section 2: the background gap is the accuracy on
Mixed-Same minus that on Mixed-Rand. As there, an object's background is another image's with its object tiled over.
Theirs were cut out by GrabCut; ours by the data's masks, else its boxes, so that with boxes what stands beside the
object in its box stays with it in both, and the gap is a lower bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rsam_app.data.records import Record
from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.evaluation.metrics.soft_mask_scores import grid_truth
from rsam_app.evaluation.robustness.subset import Subset, network_input
from rsam_app.evaluation.robustness.view_outputs import predict_views
from rsam_app.geometry.types import Floats, Integers, Pixels

MARGIN = 0.03
"""The removed region reaches this share of the side past the object's box, so that no rim of the object is left."""
NARROWEST = 0.08
"""A strip of background narrower than this share of the side cannot be tiled: such an image lends no background."""
TRIES = 8
"""How many images of a class are asked for a background before the object is left out."""


@dataclass(frozen=True)
class Pair:
    """An image's row in the subset, and the records that lend it a background: one of its class, one of any."""

    row: int
    same: Record
    random: Record


def cover(record: Record, size: int) -> Floats:
    """The share `(size, size)` in [0, 1] of each pixel of the network input that is object: the mask's, else the
    boxes'; zeros where the record has neither. Raises `UserError` where the mask cannot be read."""
    truth = grid_truth(record, "masks" if record.mask else "boxes", size)
    return np.zeros((size, size)) if truth is None else truth[1]


def paste(image: Pixels, object_cover: Floats, background: Pixels) -> Pixels:
    """The object of `image` `(S, S, 3)`, where `object_cover` `(S, S)` says it is, before another background.

    Pixels that are all object stay as they are, pixels at its edge are blended.
    """
    share = object_cover[..., None]
    return np.rint(share * image + (1 - share) * background).astype(np.uint8)


def widest_strip(object_cover: Floats) -> tuple[slice, slice] | None:
    """Rows and columns of the widest strip of `(S, S)` between an edge and the object's box with its margin; None
    where every strip is narrower than `NARROWEST`, or there is no object."""
    box = removed_box(object_cover)
    if box is None:
        return None
    rows, columns = box
    size = len(object_cover)
    everything = slice(0, size)
    strips = {
        rows.start: (slice(0, rows.start), everything),
        size - rows.stop: (slice(rows.stop, size), everything),
        columns.start: (everything, slice(0, columns.start)),
        size - columns.stop: (everything, slice(columns.stop, size)),
    }
    width = max(strips)
    return strips[width] if width >= NARROWEST * size else None


def removed_box(object_cover: Floats) -> tuple[slice, slice] | None:
    """Rows and columns of the box around the object with its margin, within `(S, S)`; None without an object."""
    down, across = np.flatnonzero(object_cover.any(axis=1)), np.flatnonzero(object_cover.any(axis=0))
    if not len(down):
        return None
    size = len(object_cover)
    margin = round(MARGIN * size)
    first, last = (max(0, int(v) - margin) for v in (down[0], across[0])), (down[-1], across[-1])
    ends = (min(size, int(v) + 1 + margin) for v in last)
    top, left = first
    bottom, right = ends
    return slice(top, bottom), slice(left, right)


def without_object(image: Pixels, object_cover: Floats) -> Pixels | None:
    """An image `(S, S, 3)` whose object is tiled over with its widest strip of background, mirrored from tile to tile
    so that the seams meet; None where there is no strip to take."""
    box, strip = removed_box(object_cover), widest_strip(object_cover)
    if box is None or strip is None:
        return None
    tile = image[strip]
    rows, columns = (
        _mirrored(np.arange(side.start, side.stop) - taken.start, taken.stop - taken.start)
        for side, taken in zip(box, strip, strict=True)
    )
    filled = image.copy()
    filled[box] = tile[rows[:, None], columns]
    return filled


def _mirrored(places: Integers, length: int) -> Integers:
    """Places on an endless line as places in [0, length) of a tile that is laid forwards and backwards in turn."""
    turned = places % (2 * length)
    return np.where(turned < length, turned, 2 * length - 1 - turned)


def pair_backgrounds(
    records: Sequence[Record], lenders: Sequence[Record], size: int, seed: int
) -> tuple[list[Pair], int]:
    """Two lenders of a background for each of `records` that has an object, and how many of them found none.

    The other image of its class is drawn from its class, the random one from a class drawn from all that lend. Neither
    is the image itself. The same seed gives the same pairs. Raises `UserError` where a mask cannot be read.
    """
    by_class: dict[str, list[Record]] = {}
    for lender in lenders:
        if lender.boxes or lender.mask:
            by_class.setdefault(lender.label, []).append(lender)
    names = sorted(by_class)
    usable: dict[str, bool] = {}

    def lends(record: Record) -> bool:
        if record.id not in usable:
            usable[record.id] = widest_strip(cover(record, size)) is not None
        return usable[record.id]

    def draw(rng: np.random.Generator, label: str, borrower: Record) -> Record | None:
        others = by_class.get(label, [])
        for place in rng.permutation(len(others))[:TRIES]:
            if others[place].id != borrower.id and lends(others[place]):
                return others[place]
        return None

    pairs, without = [], 0
    for row, record in enumerate(records):
        if not (record.boxes or record.mask):
            continue
        rng = np.random.default_rng((seed, 2, row))
        same = draw(rng, record.label, record)
        random = draw(rng, str(rng.choice(names)), record)
        if same is None or random is None or not cover(record, size).any():
            without += 1
        else:
            pairs.append(Pair(row, same, random))
    return pairs, without


def background_gap(runner: ModelRunner, subset: Subset, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Top-1 of the paired images before a background of their class (`top1_same`), before one of a random class
    (`top1_random`), and untouched (`top1_original`); `gap` is same minus random, with its `standard_error` over images.

    A gap of 0 is a model to which the background's class is nothing. Raises `ValueError` without pairs.
    """
    if not pairs:
        raise ValueError("no image has an object and two others to take backgrounds from")
    rows = np.array([pair.row for pair in pairs])
    right: dict[str, Floats] = {}
    for kind in ("original", "same", "random"):

        def view(chosen: slice, kind: str = kind) -> Any:
            return runner.normalise(np.stack([_composed(subset, pair, kind) for pair in pairs[chosen]]))

        seen = predict_views(runner, len(pairs), view)
        right[kind] = (seen.predicted == subset.labels[rows]).astype(np.float64)
    apart = right["same"] - right["random"]
    return {
        "n": len(pairs),
        **{f"top1_{kind}": float(values.mean()) for kind, values in right.items()},
        "gap": float(apart.mean()),
        "standard_error": float(apart.std(ddof=1) / np.sqrt(len(pairs))) if len(pairs) > 1 else None,
    }


def _composed(subset: Subset, pair: Pair, kind: str) -> Pixels:
    image = subset.images[pair.row]
    if kind == "original":
        return image
    lender = pair.same if kind == "same" else pair.random
    background = without_object(network_input(lender, subset.size), cover(lender, subset.size))
    if background is None:  # pair_backgrounds chose it for having one
        raise ValueError(f"{lender.id} has no background to lend")
    return paste(image, cover(subset.records[pair.row], subset.size), background)
