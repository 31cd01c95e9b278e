"""What a trained model says about one photograph."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps

from rsam_app.data.images.decoding import to_rgb
from rsam_app.geometry import rectangles as geometry
from rsam_app.geometry.types import Box, Points, Rectangle
from rsam_app.model.roll_up import Sure

OUTLINE = "#ff3b30"


@dataclass(frozen=True)
class Answer:
    """A model's answer about one photograph; lengths in its pixels, as displayed."""

    image: str
    """Path, address, or place among the images that were given."""
    size: tuple[int, int]
    """Width and height of the photograph."""
    label: str
    """The most probable class."""
    probability: float
    """Its probability, calibrated if the run has validation images: `calibrated_confidence` in the predictions table;
    in [0, 1]."""
    top: tuple[tuple[str, float], ...]
    """The most probable classes with their probabilities, most probable first."""
    rectangle: Rectangle | None
    """Where the model looked; None without attention."""
    box: Box | None
    """The upright box `x, y, width, height` around the rectangle, clipped to the photograph; None without attention."""
    confidence: float
    """The probability of `label` before calibration: `confidence` in the predictions table."""
    unknown: float | None
    """The share, in [0, 1], of validation images that look more like a known class than this one; near 1 the
    photograph may show none of the classes. None if the run has no known classes."""
    sure: Sure | None
    """The finest answer in the card's taxonomy that is sure, as `level, name, probability`; None if not even the
    coarsest is, or if the model has no taxonomy or no threshold for it."""
    logits: np.ndarray = field(repr=False, compare=False)
    """`(C,)` float32, in the order of the model's classes."""
    embedding: np.ndarray = field(repr=False, compare=False)
    """`(D,)` float32: what the classifier's last layer receives, averaged over the views."""

    @property
    def corners(self) -> Points | None:
        """The rectangle's corners, clockwise as displayed; None without attention."""
        if self.rectangle is None:
            return None
        points = geometry.corners(torch.tensor([self.rectangle], dtype=torch.float64))[0]
        return [(x, y) for x, y in points.tolist()]

    def draw(self, picture: Image.Image) -> Image.Image:
        """An upright copy of `picture` with the rectangle and the label drawn; it shows the whole photograph, at any
        size."""
        drawn = to_rgb(ImageOps.exif_transpose(picture)).copy()
        pen = ImageDraw.Draw(drawn)
        stroke = max(2, round(min(drawn.size) / 150))
        if self.corners is not None:
            scale_x, scale_y = drawn.width / self.size[0], drawn.height / self.size[1]
            points = [(x * scale_x, y * scale_y) for x, y in self.corners]
            pen.line([*points, *points[:2]], fill=OUTLINE, width=stroke, joint="curve")
        text, height = f"{self.label}  {self.probability:.0%}", max(12, round(min(drawn.size) / 18))
        edges = pen.textbbox((height // 3, height // 4), text, font_size=height)
        pen.rectangle((0, 0, edges[2] + height // 3, edges[3] + height // 4), fill="black")
        pen.text((height // 3, height // 4), text, fill="white", font_size=height)
        return drawn
