"""One photograph of the demo: a beetle on cluttered ground, with a camera's lighting, blur and noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from rsam_app.data.synthetic import props
from rsam_app.data.synthetic.collage import Placed, lay, per_channel, place
from rsam_app.data.synthetic.creature import draw_creature
from rsam_app.data.synthetic.ground import SIDE, Habitat, habitats
from rsam_app.data.synthetic.species import Species
from rsam_app.geometry.types import Box, Rectangle

Array = np.ndarray

SIZES = ((256, 192), (256, 192), (192, 256), (272, 192), (224, 208), (208, 240), (240, 180), (180, 240), (288, 180))
"""Width and height of the photographs, drawn with equal probability."""
SMALLEST, LARGEST = 0.09, 0.42
"""Limits of the share of the image that a beetle's rotated rectangle covers."""
_VARIANTS = 14


@dataclass(frozen=True)
class Photograph:
    """An image and its ground truth, lengths in continuous pixels.

    `image` `(H, W, 3)` uint8 RGB; `mask` `(H, W)` bool; `rectangle` has its `width` along the body; `flowers` is the
    upright box of the visible flowers, if any.
    """

    image: Array
    mask: Array
    rectangle: Rectangle
    flowers: Box | None
    habitat: str

    @property
    def box(self) -> Box:
        """Upright box of the mask, `x, y, width, height`."""
        return _bounds(self.mask)


class Studio:
    """Ground and props of one demo, drawn once and arranged differently in each photograph."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 1])
        self.habitats: tuple[Habitat, ...] = habitats(rng)
        kinds = ("green_leaf", "dead_leaf", "pebble", "pod", "twig", "blade", "flower")
        self.props = {kind: [getattr(props, kind)(rng) for _ in range(_VARIANTS)] for kind in kinds}
        self.grain = rng.standard_normal((320, 320, 3), dtype=np.float32)

    def photograph(self, species: Species, flowers: bool, rng: np.random.Generator) -> Photograph:
        """Make a photograph of this species, with pink flowers or without; `rng` decides everything else."""
        width, height = SIZES[rng.integers(len(SIZES))]
        habitat = self.habitats[rng.integers(len(self.habitats))]
        light = rng.uniform(-np.pi, np.pi)
        heading, tilt = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 0.75)
        toward = np.array(
            [np.cos(light - heading) * tilt, np.sin(light - heading) * tilt, np.sqrt(1 - tilt**2)], np.float32
        )
        drawing = draw_creature(species, toward, rng)
        beetle, rectangle = _place_beetle(drawing, width, height, heading, rng)
        mask = beetle.opacity(width, height) > 0.5
        image = self._ground(habitat, width, height, light, rng)
        corners = _free_corners(mask)
        flower_box = self._flowers(image, mask, corners[0], light, rng) if flowers else None
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.5))
        lay(image, beetle, shadow=rng.uniform(2.5, 6.0), light=light)
        if rng.random() < 0.35:
            self._foreground(image, mask, corners[1], light, rng)
        return Photograph(self._develop(image, light, rng), mask, rectangle, flower_box, habitat.name)

    def _ground(self, habitat: Habitat, width: int, height: int, light: float, rng: np.random.Generator) -> Array:
        """Draw a part of the habitat's tile, rotated so that its relief matches the light, with clutter on it."""
        scale = rng.uniform(0.75, 1.3)
        matrix = cv2.getRotationMatrix2D((0, 0), -np.degrees(light), scale)
        matrix[:, 2] = [width / 2, height / 2] - matrix[:, :2] @ rng.uniform(0.3 * SIDE, 0.7 * SIDE, 2)
        image = cv2.warpAffine(
            habitat.tile, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        kinds = [kind for kind, usual in habitat.clutter for _ in range(rng.poisson(usual))]
        for kind in rng.permutation(kinds).tolist():
            prop = self.props[kind][rng.integers(_VARIANTS)]
            turn = light if kind in ("pebble", "pod") else rng.uniform(-np.pi, np.pi)
            size = rng.uniform(0.3, 0.9) if kind == "pebble" else rng.uniform(0.55, 1.25)
            tone = np.append(rng.uniform(0.75, 1.1) * rng.uniform(0.94, 1.06, 3), 1.0)
            lay(
                image,
                place(cv2.multiply(prop, tone), rng.uniform(0, [width, height]), turn, (size, size)),
                rng.uniform(1.5, 4.0),
                light,
            )
        return image

    def _flowers(self, image: Array, mask: Array, corner: Array, light: float, rng: np.random.Generator) -> Box:
        """Draw 3 to 5 pink flowers in the corner farthest from the beetle; return the box of their visible part."""
        height, width = mask.shape
        inward = np.where(corner > 0, -1, 1)
        petals = np.zeros((height, width), np.float32)
        for _ in range(rng.integers(3, 6)):
            leaf = self.props["green_leaf"][rng.integers(_VARIANTS)]
            centre = corner + inward * rng.uniform(2, 46, 2)
            lay(image, place(leaf, centre, rng.uniform(-np.pi, np.pi), (0.4, 0.4)), 2.0, light)
            bloom = self.props["flower"][rng.integers(_VARIANTS)]
            size = rng.uniform(0.5, 0.75)
            placed = place(bloom, corner + inward * rng.uniform(10, 44, 2), light, (size, size))
            lay(image, placed, 3.0, light)
            petals = np.maximum(petals, placed.opacity(width, height))
        return _bounds((petals > 0.5) & ~mask)

    def _foreground(self, image: Array, mask: Array, corner: Array, light: float, rng: np.random.Generator) -> None:
        """Draw a leaf close to the lens, far out of focus, in a corner; none if it would cover the beetle."""
        height, width = mask.shape
        leaf = self.props["green_leaf" if rng.random() < 0.7 else "dead_leaf"][rng.integers(_VARIANTS)]
        placed = place(leaf, corner + rng.normal(0, 12, 2), rng.uniform(-np.pi, np.pi), (1.5, 1.2))
        padded = np.pad(placed.drawing, ((12, 12), (12, 12), (0, 0)))
        soft = Placed(cv2.GaussianBlur(padded, (0, 0), rng.uniform(3, 5)), placed.left - 12, placed.top - 12)
        if not (mask & (soft.opacity(width, height) > 0.05)).any():
            lay(image, soft, shadow=0, light=light)

    def _develop(self, image: Array, light: float, rng: np.random.Generator) -> Array:
        """Apply uneven light, white balance, contrast, lens blur and sensor noise."""
        height, width = image.shape[:2]
        y, x = np.mgrid[-1:1:18j, -1:1:24j].astype(np.float32)
        falloff = (
            1 + rng.uniform(0.05, 0.28) * (x * np.cos(light) + y * np.sin(light)) - rng.uniform(0, 0.16) * (x**2 + y**2)
        )
        dapple = cv2.resize(rng.standard_normal((6, 8), dtype=np.float32), (24, 18), interpolation=cv2.INTER_CUBIC)
        falloff = np.clip(falloff + rng.uniform(0.0, 0.16) * dapple, 0.35, 1.6).astype(np.float32)
        exposure = rng.uniform(0.9, 1.25) * rng.normal(1, 0.035, 3)
        image *= per_channel(cv2.resize(falloff, (width, height), interpolation=cv2.INTER_CUBIC))
        image = cv2.multiply(image, np.append(exposure, 0.0))
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.25, 0.6))
        top, left = rng.integers(0, 320 - np.array([height, width]))
        noise = self.grain[top : top + height, left : left + width] * np.float32(rng.uniform(1.5, 5.0))
        image = (image + noise - 110) * np.float32(rng.uniform(0.88, 1.1)) + 112
        return np.clip(image, 0, 255).astype(np.uint8)


def _place_beetle(
    drawing: Array, width: int, height: int, heading: float, rng: np.random.Generator
) -> tuple[Placed, Rectangle]:
    """Scale a beetle and place it completely inside the image, near the edges more often than in the middle."""
    left, top, length, breadth = _bounds(drawing[..., 3] > 127)
    share = np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST)))
    slender = rng.uniform(0.92, 1.1)
    scale = np.sqrt(share * width * height / (length * breadth)) * np.array([slender, 1 / slender])
    cos, sin = np.cos(heading), np.sin(heading)
    turn = np.array([[cos, -sin], [sin, cos]])
    half = np.abs(turn) @ (np.array([length, breadth]) * scale / 2) + 4
    fit = min(1.0, *(np.array([width, height]) / (2 * half)))  # shrink a beetle that is too long for this heading
    scale, half = scale * fit, half * fit
    centre = half + rng.beta(0.4, 0.4, 2) * (np.array([width, height]) - 2 * half)
    offset = np.array([left + length / 2 - drawing.shape[1] / 2, top + breadth / 2 - drawing.shape[0] / 2])
    placed = place(drawing, centre - turn @ (offset * scale), heading, (scale[0], scale[1]))
    angle = (heading + np.pi / 2) % np.pi - np.pi / 2
    return placed, Rectangle(*map(float, (*centre, length * scale[0], breadth * scale[1], angle)))


def _bounds(mask: Array) -> Box:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    x, y = int(columns[0]), int(rows[0])
    return float(x), float(y), float(columns[-1] + 1 - x), float(rows[-1] + 1 - y)


def _free_corners(mask: Array) -> Array:
    """Return the four corners of the image `(4, 2)`, farthest from the beetle first."""
    height, width = mask.shape
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    rows, columns = np.nonzero(mask)
    distance = [np.hypot(columns - x, rows - y).min() for x, y in corners]
    return corners[np.argsort(distance)[::-1]]
