"""Overlap of rectangles with true boxes or masks, its two baselines, and the degeneracy of a set of rectangles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rsam_app.data.records import Record
from rsam_app.evaluation.metrics.ground_truth import TruthKind, image_sizes, object_mask, true_edges, truth_kinds
from rsam_app.geometry.overlap import (
    box_iou,
    pixel_overlap,
    rasterise,
    rotated_iou,
    rotated_overlap,
    upright_edges,
    visible_areas,
)
from rsam_app.geometry.types import Floats, Integers, Mask

POINTING_MARGIN = 15.0
"""Pixels by which the truth is dilated in the pointing game."""
LARGE, SMALL = 0.9, 0.02
"""Shares of the image above, or below, which a rectangle is degenerate."""


@dataclass(frozen=True)
class RectangleScores:
    """One entry `(M,)` per rectangle with ground truth; `rows` are the indices of these rectangles.

    With boxes, `iou` is that of R's upright box, clipped to the image, with the best true box; `rotated_iou`,
    `on_object` |R∩G|/|R| and `covered` |R∩G|/|G| are those of R itself with the box of best rotated IoU. With masks,
    `iou` and the other three count the pixels of R itself, and `upright_iou` those of its upright box: a mask follows
    the object's outline, so turning costs a rectangle nothing. `centre_box_iou` (NaN without a centre box) and
    `full_image_iou` are the `iou` of the two baselines. `pointed` and `centre_box_pointed`: whether the centre is
    within 15 px of the object. All IoUs in [0, 1].
    """

    rows: Integers
    iou: Floats
    upright_iou: Floats
    rotated_iou: Floats
    on_object: Floats
    covered: Floats
    centre_box_iou: Floats
    full_image_iou: Floats
    pointed: Floats
    centre_box_pointed: Floats


def score_rectangles(
    rectangles: Floats, records: Sequence[Record], kind: TruthKind, centre_box: Floats | None
) -> RectangleScores:
    """Score rectangles `(N, 5)` in pixels of their records, those with ground truth of this kind.

    `centre_box` is relative, `left, top, right, bottom` `(4,)`. Raises `UserError` if a mask cannot be read.
    """
    sizes = image_sizes(records)
    relative = np.full(4, np.nan) if centre_box is None else centre_box
    candidates = _Candidates(
        rectangles=rectangles,
        upright=upright_edges(rectangles, sizes),
        centre=np.tile(sizes, 2) * relative,
        whole=np.concatenate([np.zeros_like(sizes), sizes], axis=1),
    )
    return _by_masks(candidates, records) if kind == "masks" else _by_boxes(candidates, records, kind)


def rectangle_ious(rectangles: Floats, records: Sequence[Record]) -> Floats:
    """The IoU `(N,)` behind `mean_iou` for each rectangle `(N, 5)`: with the leading kind of `truth_kinds`, so with
    boxes; NaN for records without that truth, or without a rectangle. Raises `UserError` if a mask cannot be read."""
    ious, drawn = np.full(len(rectangles), np.nan), np.flatnonzero(np.isfinite(rectangles).all(axis=1))
    located = [records[int(row)] for row in drawn]
    for kind in truth_kinds(located):
        scores = score_rectangles(rectangles[drawn], located, kind, None)
        ious[drawn[scores.rows]] = scores.iou
        if len(scores.rows):
            break
    return ious


def distances_to_boxes(points: Floats, edges: Floats) -> Floats:
    """Euclidean distances `(N,)` in pixels of points `(N, 2)` from boxes `(N, 4)`, 0 inside."""
    outside = np.maximum(np.maximum(edges[:, :2] - points, points - edges[:, 2:]), 0.0)
    return np.hypot(outside[:, 0], outside[:, 1])


def distance_to_mask(point: Floats, mask: Mask) -> float:
    """Euclidean distance in pixels of a point `(2,)` from the nearest pixel of a mask that is not empty, 0 inside."""
    rows, columns = np.nonzero(mask)
    return float(distances_to_boxes(point[None], np.stack([columns, rows, columns + 1, rows + 1], axis=1)).min())


@dataclass(frozen=True)
class _Candidates:
    """Per image: the rectangle `(N, 5)` and, as `left, top, right, bottom` `(N, 4)` in pixels, its upright box, the
    centre box (NaN without one) and the whole image."""

    rectangles: Floats
    upright: Floats
    centre: Floats
    whole: Floats


def _by_boxes(candidates: _Candidates, records: Sequence[Record], kind: TruthKind) -> RectangleScores:
    truths = [true_edges(r, kind) for r in records]
    counts = np.array([len(t) for t in truths], dtype=np.int64)
    rows = np.flatnonzero(counts)
    if not len(rows):
        return RectangleScores(rows, *np.zeros((9, 0)))
    # One row per true box, grouped by image: `of` is its image, `starts` the first row of each image.
    edges, of = np.concatenate(truths), np.repeat(np.arange(len(records)), counts)
    starts = np.flatnonzero(np.diff(of, prepend=-1))

    def best(values: Floats) -> Floats:
        return np.asarray(np.maximum.reduceat(values, starts))

    def pointed(centres: Floats) -> Floats:
        hits = distances_to_boxes(centres[of], edges) <= POINTING_MARGIN
        return np.where(np.isnan(centres[rows, 0]), np.nan, best(hits.astype(np.float64)))

    rotated, on_object, covered = rotated_overlap(candidates.rectangles[of], edges)
    chosen = np.lexsort((-rotated, of))[starts]
    upright = best(box_iou(candidates.upright[of], edges))
    return RectangleScores(
        rows=rows,
        iou=upright,
        upright_iou=upright,
        rotated_iou=rotated[chosen],
        on_object=on_object[chosen],
        covered=covered[chosen],
        centre_box_iou=np.where(
            np.isnan(candidates.centre[rows, 0]), np.nan, best(box_iou(candidates.centre[of], edges))
        ),
        full_image_iou=best(box_iou(candidates.whole[of], edges)),
        pointed=pointed(candidates.rectangles[:, :2]),
        centre_box_pointed=pointed(_middles(candidates.centre)),
    )


def _by_masks(candidates: _Candidates, records: Sequence[Record]) -> RectangleScores:
    rows, values = [], []
    for row, record in enumerate(records):
        mask = object_mask(record)
        if not mask.any():
            continue
        rectangle, centre = candidates.rectangles[row], _middles(candidates.centre[row : row + 1])[0]
        iou, on_object, covered = pixel_overlap(rasterise(rectangle, *mask.shape), mask)
        upright, centre_box, whole = (
            _pixel_iou(e[row], mask) for e in (candidates.upright, candidates.centre, candidates.whole)
        )
        pointed = distance_to_mask(rectangle[:2], mask) <= POINTING_MARGIN
        centre_pointed = np.nan if np.isnan(centre).any() else distance_to_mask(centre, mask) <= POINTING_MARGIN
        rows.append(row)
        values.append([iou, upright, iou, on_object, covered, centre_box, whole, pointed, centre_pointed])
    columns = np.array(values, dtype=np.float64).reshape(-1, 9).T
    return RectangleScores(np.array(rows, dtype=np.int64), *columns)


def _pixel_iou(edges: Floats, mask: Mask) -> float:
    if np.isnan(edges).any():
        return float("nan")
    box = np.concatenate([(edges[:2] + edges[2:]) / 2, edges[2:] - edges[:2], [0.0]])
    return pixel_overlap(rasterise(box, *mask.shape), mask)[0]


def _middles(edges: Floats) -> Floats:
    return np.asarray((edges[:, :2] + edges[:, 2:]) / 2)


def degeneracy(rectangles: Floats, sizes: Floats) -> dict[str, float]:
    """Degeneracy of rectangles `(N, 5)` in pixels of images of `sizes` `(N, 2)`.

    `share_large` and `share_small`: shares of rectangles that cover more than .9, or less than .02, of their image.
    `mean_area`: the mean of that share. `centre_spread_x` and `_y`: standard deviations of the centre, relative to the
    image; 0 if all centres are equal. `mean_rectangle_iou`: mean rotated IoU with the dataset's mean rectangle; 1 if
    all rectangles are equal.
    """
    area = visible_areas(rectangles, sizes)
    spread = (rectangles[:, :2] / sizes).std(axis=0)
    return {
        "share_large": float((area > LARGE).mean()),
        "share_small": float((area < SMALL).mean()),
        "mean_area": float(area.mean()),
        "centre_spread_x": float(spread[0]),
        "centre_spread_y": float(spread[1]),
        "mean_rectangle_iou": float(rotated_iou(rectangles, mean_rectangles(rectangles, sizes)).mean()),
    }


def mean_rectangles(rectangles: Floats, sizes: Floats) -> Floats:
    """The mean rectangle, scaled to each image: `(N, 5)` in pixels.

    Centres are averaged relative to the image; extent and angle through the symmetric matrix Q diag(width, height) Qᵀ
    (Q the rotation) in units of √(image area), in which width and height are interchangeable. (ours)
    """
    unit = np.sqrt(sizes.prod(axis=1))
    cos, sin = np.cos(rectangles[:, 4]), np.sin(rectangles[:, 4])
    turn = np.stack([np.stack([cos, -sin], axis=1), np.stack([sin, cos], axis=1)], axis=1)
    extent = (turn * (rectangles[:, None, 2:4] / unit[:, None, None])) @ turn.transpose(0, 2, 1)
    lengths, directions = np.linalg.eigh(extent.mean(axis=0))
    centre = (rectangles[:, :2] / sizes).mean(axis=0) * sizes
    size = np.clip(lengths[::-1], 0.0, None) * unit[:, None]
    angle = np.full((len(rectangles), 1), np.arctan2(directions[1, 1], directions[0, 1]))
    return np.concatenate([centre, size, angle], axis=1)
