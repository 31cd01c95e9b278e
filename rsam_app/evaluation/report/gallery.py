"""Gallery pictures: a thumbnail with the rectangle and the ground truth drawn over it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from rsam_app.data.images.decoding import read_image, resize
from rsam_app.data.records import Record
from rsam_app.evaluation.metrics.ground_truth import TruthKind, object_mask, true_edges
from rsam_app.geometry.overlap import corners
from rsam_app.geometry.types import Floats
from rsam_app.system.errors import UserError

SIDE = 256
"""Longest side of a thumbnail, pixels."""


@dataclass(frozen=True)
class Caption:
    """Text under a picture."""

    label: str
    predicted: str
    confidence: float
    note: str


OtherAnswer = tuple[Floats, Caption]
"""Another run's rectangle `(5,)` in pixels (NaN: none) and its caption."""


@dataclass(frozen=True)
class Picture:
    """One picture of a gallery. `outline` and `truths` are SVG `points` in a view box of `width` × `height`, and so is
    `other_outline`: the rectangle of another run, whose answer is in `other_caption`."""

    width: int
    height: int
    image: str
    outline: str
    truths: tuple[str, ...]
    caption: Caption
    id: str
    other_outline: str = ""
    other_caption: Caption | None = None

    @property
    def wrong(self) -> bool:
        """Whether the prediction is not the label."""
        return self.caption.label != self.caption.predicted


@dataclass(frozen=True)
class Gallery:
    """Images of one kind; `about` describes which."""

    title: str
    about: str
    pictures: list[Picture]
    unreadable: list[str]

    @property
    def with_outline(self) -> bool:
        """Whether a picture shows a rectangle."""
        return any(p.outline for p in self.pictures)

    @property
    def with_truth(self) -> bool:
        """Whether a picture shows the ground truth."""
        return any(p.truths for p in self.pictures)


def picture(
    record: Record, rectangle: Floats, caption: Caption, kind: TruthKind | None, other: OtherAnswer | None = None
) -> Picture:
    """Draw a record with its rectangle `(5,)` in pixels (NaN: none), and that of another run.

    Raises `UserError` if the image or its mask cannot be read.
    """
    pixels, (true_width, true_height) = read_image(record.path, side=SIDE, banner=record.banner)
    scale = min(1.0, SIDE / max(true_width, true_height))
    width, height = max(1, round(true_width * scale)), max(1, round(true_height * scale))
    factor = np.array([width / true_width, height / true_height])
    return Picture(
        width=width,
        height=height,
        image=data_uri(_jpeg(resize(pixels, width, height)), "jpeg"),
        outline=_outline(rectangle, factor),
        truths=tuple(_points(shape * factor) for shape in truth_shapes(record, kind)),
        caption=caption,
        id=record.id,
        other_outline=_outline(other[0], factor) if other else "",
        other_caption=other[1] if other else None,
    )


def pictures(
    records: Sequence[Record],
    rectangles: Floats,
    captions: Sequence[Caption],
    kind: TruthKind | None,
    others: Sequence[OtherAnswer] | None = None,
) -> tuple[list[Picture], list[str]]:
    """Return pictures of the records with readable files, and a message for each other."""
    drawn, unreadable = [], []
    beside: Sequence[OtherAnswer | None] = others or [None] * len(records)
    for record, rectangle, caption, other in zip(records, rectangles, captions, beside, strict=True):
        try:
            drawn.append(picture(record, rectangle, caption, kind, other))
        except UserError as error:
            unreadable.append(str(error))
    return drawn, unreadable


def truth_shapes(record: Record, kind: TruthKind | None) -> list[Floats]:
    """The true boxes of this kind and the mask's outer contours, as polygons `(K, 2)` in pixels."""
    if kind is None:
        return []
    boxes = [np.array([(x, y), (right, y), (right, low), (x, low)]) for x, y, right, low in true_edges(record, kind)]
    return boxes + _outlines(record)


def _outlines(record: Record) -> list[Floats]:
    mask = object_mask(record)
    if not mask.any():
        return []
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    smooth = [cv2.approxPolyDP(c, 0.004 * max(mask.shape), closed=True)[:, 0] + 0.5 for c in contours]
    return [s for s in smooth if len(s) > 2]


def data_uri(content: bytes, kind: str) -> str:
    """An image file's content as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _jpeg(pixels: np.ndarray) -> bytes:
    _, encoded = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    return encoded.tobytes()


def _outline(rectangle: Floats, factor: Floats) -> str:
    return _points(corners(rectangle[None])[0] * factor) if np.isfinite(rectangle).all() else ""


def _points(polygon: Floats) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in polygon)
