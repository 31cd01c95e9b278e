"""Background gap: accuracy on objects pasted onto backgrounds of their own class, minus accuracy on those of any class.

Xiao et al., "Noise or Signal" (ICLR 2021, arXiv 2006.09994), section 2: Mixed-Same minus Mixed-Rand. As there, the
background is another image with its object tiled over. They cut objects out by GrabCut, we by the dataset's masks, else
by its boxes. A box also contains some background, which stays with the object in both, so the gap is a lower bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from rsam_app.data.records import Record
from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.evaluation.metrics.soft_mask_scores import grid_truth
from rsam_app.evaluation.robustness.subset import Subset, network_input
from rsam_app.evaluation.robustness.view_outputs import predict_views
from rsam_app.geometry.boxes import mask_edges
from rsam_app.geometry.types import Floats, Integers, Pixels

MARGIN = 0.03
"""The removed region extends past the object's box by this share of the side, so that no rim of the object remains."""
NARROWEST = 0.08
"""Narrowest strip of background that can be tiled, a share of the side; an image without one is not a donor."""
TRIES = 8
"""Images of a class that are tried as donor before the object is left out."""


@dataclass(frozen=True)
class Pair:
    """An image's row in the subset, and its background donors: one of its class, one of a random class."""

    row: int
    same: Record
    random: Record


def cover(record: Record, size: int) -> Floats:
    """Share `(size, size)` in [0, 1] of each pixel of the network input that the object covers, by the mask, else the
    boxes; zeros if the record has neither. Raises `UserError` if the mask cannot be read."""
    truth = grid_truth(record, "masks" if record.mask else "boxes", size)
    return np.zeros((size, size)) if truth is None else truth[1]


def paste(image: Pixels, object_cover: Floats, background: Pixels) -> Pixels:
    """Paste the object of `image` `(S, S, 3)`, given by `object_cover` `(S, S)`, onto another background.

    Pixels that the object covers fully stay as they are; pixels at its edge are blended.
    """
    share = object_cover[..., None]
    return np.rint(share * image + (1 - share) * background).astype(np.uint8)


def widest_strip(object_cover: Floats) -> tuple[slice, slice] | None:
    """Rows and columns of the widest strip of `(S, S)` between an edge and the object's box with its margin; None if
    every strip is narrower than `NARROWEST`, or without an object."""
    box = removed_box(object_cover)
    if box is None:
        return None
    rows, columns = box
    size = len(object_cover)
    full = slice(0, size)
    strips = {
        rows.start: (slice(0, rows.start), full),
        size - rows.stop: (slice(rows.stop, size), full),
        columns.start: (full, slice(0, columns.start)),
        size - columns.stop: (full, slice(columns.stop, size)),
    }
    width = max(strips)
    return strips[width] if width >= NARROWEST * size else None


def removed_box(object_cover: Floats) -> tuple[slice, slice] | None:
    """Rows and columns of the box around the object with its margin, within `(S, S)`; None without an object."""
    edges = mask_edges(object_cover > 0)
    if not len(edges):
        return None
    size = len(object_cover)
    margin = round(MARGIN * size)
    left, top, right, bottom = (int(edge) for edge in edges[0])
    rows = slice(max(0, top - margin), min(size, bottom + margin))
    return rows, slice(max(0, left - margin), min(size, right + margin))


def without_object(image: Pixels, object_cover: Floats) -> Pixels | None:
    """Tile over the object of an image `(S, S, 3)` with its widest strip of background, mirrored from tile to tile so
    that the seams meet; None if no strip is wide enough."""
    box, strip = removed_box(object_cover), widest_strip(object_cover)
    if box is None or strip is None:
        return None
    tile = image[strip]
    rows, columns = (
        _mirrored(np.arange(hole.start, hole.stop) - source.start, source.stop - source.start)
        for hole, source in zip(box, strip, strict=True)
    )
    filled = image.copy()
    filled[box] = tile[rows[:, None], columns]
    return filled


def _mirrored(positions: Integers, length: int) -> Integers:
    """Map positions on a line to [0, length) of a tile that repeats forwards and backwards in turn."""
    folded = positions % (2 * length)
    return np.where(folded < length, folded, 2 * length - 1 - folded)


def pair_backgrounds(
    records: Sequence[Record], donors: Sequence[Record], size: int, seed: int
) -> tuple[list[Pair], int]:
    """Draw two background donors for each of `records` that has an object; also count those without donors.

    One donor is of the same class, the other of a class drawn from all that have donors. Neither is the image itself.
    The same seed gives the same pairs. Raises `UserError` if a mask cannot be read.
    """
    by_class: dict[str, list[Record]] = {}
    for donor in donors:
        if donor.boxes or donor.mask:
            by_class.setdefault(donor.label, []).append(donor)
    names = sorted(by_class)

    @cache
    def has_background(record: Record) -> bool:
        return widest_strip(cover(record, size)) is not None

    def draw(rng: np.random.Generator, label: str, receiver: Record) -> Record | None:
        candidates = by_class.get(label, [])
        tried = (candidates[index] for index in rng.permutation(len(candidates))[:TRIES])
        return next((donor for donor in tried if donor.id != receiver.id and has_background(donor)), None)

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
    """Top-1 of the paired images on a background of their class (`top1_same`), on one of a random class
    (`top1_random`), and unchanged (`top1_original`); `gap` is same minus random, `standard_error` is over images.

    Gap 0: the model does not depend on the background's class. Raises `ValueError` without pairs.
    """
    if not pairs:
        raise ValueError("no image has an object and two others to take backgrounds from")
    rows = np.array([pair.row for pair in pairs])
    correct: dict[str, Floats] = {}
    for kind in ("original", "same", "random"):

        def view(batch: slice, kind: str = kind) -> Any:
            return runner.normalise(np.stack([_compose(subset, pair, kind) for pair in pairs[batch]]))

        outputs = predict_views(runner, len(pairs), view)
        correct[kind] = (outputs.predicted == subset.labels[rows]).astype(np.float64)
    gaps = correct["same"] - correct["random"]
    return {
        "n": len(pairs),
        **{f"top1_{kind}": float(values.mean()) for kind, values in correct.items()},
        "gap": float(gaps.mean()),
        "standard_error": float(gaps.std(ddof=1) / np.sqrt(len(pairs))) if len(pairs) > 1 else None,
    }


def _compose(subset: Subset, pair: Pair, kind: str) -> Pixels:
    image = subset.images[pair.row]
    if kind == "original":
        return np.asarray(image)
    donor = pair.same if kind == "same" else pair.random
    background = without_object(network_input(donor, subset.size), cover(donor, subset.size))
    if background is None:  # `pair_backgrounds` chooses only images that have one
        raise ValueError(f"{donor.id} has no background to paste onto")
    return paste(image, cover(subset.records[pair.row], subset.size), background)
