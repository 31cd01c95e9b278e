"""One beetle: a shaded drawing with transparency, along x with its head to the right.

Lengths are body units (the body is 2 long, see `species`) until `PIXELS` converts them into pixels of the drawing."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import cv2
import numpy as np

from rsam_app.data.synthetic.collage import per_channel
from rsam_app.data.synthetic.species import Mark, Species

Array = np.ndarray

PIXELS = 96
"""Pixels of the drawing per body unit: the drawn body is 192 long, about the largest in any photograph."""
LEFT, RIGHT, HALF_WIDTH = -1.1, 1.4, 0.78
"""Extent of the drawing in body units."""

_LACQUERS = (
    ((30, 78, 48), (20, 96, 92)),  # green that shines teal at grazing angles
    ((28, 58, 92), (52, 42, 110)),  # blue, violet
    ((100, 56, 28), (126, 92, 36)),  # copper, bronze
    ((84, 26, 30), (104, 32, 68)),  # maroon, plum
    ((40, 36, 35), (64, 66, 84)),  # black, slate
    ((70, 74, 30), (52, 92, 42)),  # olive, green
)
_LEGS = (
    ((0.48, 0.16), (0.68, 0.44), (0.96, 0.50)),
    ((0.12, 0.20), (0.14, 0.54), (-0.10, 0.62)),
    ((-0.10, 0.20), (-0.40, 0.52), (-0.74, 0.56)),
)
"""Hip, knee and foot of the front, middle and hind leg of one side."""


@dataclass(frozen=True)
class _Form:
    """Maps of the drawing's size that all beetles share: coordinates, parts in [0, 1], normals, ambient occlusion."""

    x: Array
    y: Array
    wings: Array
    pronotum: Array
    head: Array
    body: Array
    normal: Array
    across: Array
    occlusion: Array


def draw_creature(species: Species, light: Array, rng: np.random.Generator) -> Array:
    """Draw a beetle of this species, lit from `light` (unit vector in the drawing's frame, z towards the viewer).

    Returns a drawing as `collage` defines it. Lacquer, gloss, grain and legs vary with `rng`, never with the species.
    """
    form = _form()
    lacquer, sheen = (_vary(c, rng, 9) for c in _LACQUERS[rng.integers(len(_LACQUERS))])
    paint = _vary(species.color, rng, 10)
    grain, facing = _grain(form, rng), form.normal[..., 2]
    wings = grain * (1 - (0.25 + 0.35 * rng.random()) * (1 - form.wings))
    painted = _painted(species.mark, form, rng) * form.wings
    under, over = wings * (1 - painted), (0.75 + 0.25 * grain) * painted
    tint = (lacquer, under * facing), (sheen, under * (1 - facing)), (paint, over)
    albedo = cv2.merge([sum(color[i] * amount for color, amount in tint) for i in range(3)])
    shaded = _shade(albedo, form, light, gloss=rng.uniform(0.35, 1.0))
    drawing = _limbs(lacquer * 0.42, light, rng)
    drawing[..., :3] = drawing[..., :3] * per_channel(1 - form.body) + shaded * per_channel(form.body)
    drawing[..., 3] = np.maximum(drawing[..., 3], form.body)
    _draw_eyes(drawing, light)
    return (drawing * np.array([1, 1, 1, 255], np.float32)).astype(np.uint8)


@functools.cache
def _form() -> _Form:
    columns = np.arange(LEFT, RIGHT, 1 / PIXELS, dtype=np.float32)
    rows = np.arange(-HALF_WIDTH, HALF_WIDTH, 1 / PIXELS, dtype=np.float32)
    x, y = np.meshgrid(columns + 0.5 / PIXELS, rows + 0.5 / PIXELS)
    waist = 0.41 - 0.06 * np.clip(-x - 0.4, 0, 1)
    wings, wings_height = _dome(x, y / waist * 0.41, -0.34, 0.66, 0.41, 2.3, 0.34)
    wings_height = wings_height - 0.035 * np.exp(-((y / 0.02) ** 2))
    pronotum, pronotum_height = _dome(x, y, 0.41, 0.27, 0.33, 2.9, 0.25)
    head, head_height = _dome(x, y, 0.76, 0.24, 0.22, 2.2, 0.18)
    height = head_height
    for part, part_height in ((wings, wings_height), (pronotum, pronotum_height)):
        height = height * (1 - part) + part_height * part
    dy, dx = np.gradient(cv2.GaussianBlur(height, (0, 0), 1.2), 1 / PIXELS)
    normal = np.stack([-dx, -dy, np.ones_like(dx)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    body = np.maximum(np.maximum(wings, pronotum), head)
    crease = cv2.GaussianBlur(pronotum, (0, 0), 5) * (1 - pronotum)
    seam = np.exp(-((y / 0.012) ** 2)) * wings * (1 - pronotum)
    rim = np.clip(cv2.GaussianBlur(body, (0, 0), 6) * 2 - 1, 0, 1)
    occlusion = (0.45 + 0.55 * rim) * (1 - 0.8 * crease) * (1 - 0.65 * seam)
    return _Form(x, y, wings * (1 - pronotum), pronotum, head * (1 - pronotum), body, normal, y / waist, occlusion)


def _dome(x: Array, y: Array, centre: float, a: float, b: float, power: float, height: float) -> tuple[Array, Array]:
    """Return coverage and height of a superelliptic dome with semi-axes `a`, `b`."""
    radius = np.abs((x - centre) / a) ** power + np.abs(y / b) ** power
    coverage = np.clip((1 - radius ** (1 / power)) * min(a, b) * PIXELS + 0.5, 0, 1)
    return coverage.astype(np.float32), (height * np.sqrt(np.clip(1 - radius, 0, 1))).astype(np.float32)


def _grain(form: _Form, rng: np.random.Generator) -> Array:
    """Return ridges along the wing cases, pits and blotches, as a brightness around 1."""
    ridges = np.sin(np.abs(form.across) * rng.uniform(38, 62) + rng.uniform(0, 6)) * form.wings
    small = rng.standard_normal((64, 84), dtype=np.float32)
    pits = cv2.resize(small, form.x.shape[::-1], interpolation=cv2.INTER_CUBIC)
    blotches = cv2.resize(small[:8, :10], form.x.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(
        np.clip(1 + rng.uniform(0.02, 0.16) * ridges + rng.uniform(0.02, 0.1) * pits + 0.08 * blotches, 0.4, 1.6)
    )


def _painted(mark: Mark, form: _Form, rng: np.random.Generator) -> Array:
    """Return how much of each pixel the mark covers; its position, size and edge vary slightly between beetles."""
    scale = rng.uniform(0.92, 1.08)
    wobble = cv2.resize(rng.standard_normal((12, 16), dtype=np.float32), form.x.shape[::-1])
    distance = mark((form.x + 0.34) / scale - 0.34 + rng.normal(0, 0.015), form.y / scale) + 0.014 * wobble
    return np.asarray(np.clip(0.5 - distance * PIXELS / 3, 0, 1).astype(np.float32))


def _shade(albedo: Array, form: _Form, light: Array, gloss: float) -> Array:
    """Apply diffuse light, sky light from above, a sharp highlight and a broad one."""
    diffuse = np.clip(form.normal @ light, 0, 1)
    halfway = light + np.array([0, 0, 1], np.float32)
    mirror = np.clip(form.normal @ (halfway / np.linalg.norm(halfway)), 0, 1)
    squared = mirror * mirror
    broad = squared * squared * squared * squared * mirror
    highlight = gloss * (150 * broad**6 + 45 * broad) * form.occlusion
    lit = albedo * per_channel((0.42 + 0.95 * diffuse) * form.occlusion) + cv2.merge(
        [highlight, highlight, 0.94 * highlight]
    )
    return np.asarray(np.clip(lit, 0, 255))


def _limbs(color: Array, light: Array, rng: np.random.Generator) -> Array:
    """Draw six jointed legs, two antennae and the jaws: `(H, W, 4)`, premultiplied."""
    form = _form()
    coverage = np.zeros(form.x.shape, np.uint8)
    shine = np.zeros_like(coverage)
    for side in (-1, 1):
        for hip, knee, foot in _LEGS:
            bend = rng.normal(0, 0.035, (3, 2))
            joints = [np.array(p) + b for p, b in zip((hip, knee, foot), bend, strict=True)]
            toe = joints[2] + (joints[2] - joints[1]) * 0.3 + rng.normal(0, 0.03, 2)
            for a, b, thickness in zip(joints, [*joints[1:], toe], (0.085, 0.055, 0.03), strict=True):
                _stroke(coverage, a, b, side, thickness)
                _stroke(shine, a + (b - a) * 0.15, b - (b - a) * 0.15, side, thickness * 0.35)
        sweep = rng.uniform(0.1, 0.34)
        bow = np.array([[0.86, 0.10], [1.0, 0.12 + sweep * 0.6], [1.14, 0.14 + sweep * 0.9], [1.26, 0.12 + sweep]])
        for a, b in itertools.pairwise(bow):
            _stroke(coverage, a, b, side, 0.028)
        _stroke(coverage, bow[-1] - [0.06, 0], bow[-1], side, 0.055)
        _stroke(coverage, np.array([0.94, 0.07]), np.array([1.06, 0.03]), side, 0.05)
    opacity = coverage.astype(np.float32) / 255
    gleam = shine.astype(np.float32) / 255 * (20 + 24 * light[2]) * opacity
    return cv2.merge([*(float(c) * (0.55 + 0.45 * light[2]) * opacity + gleam for c in color), opacity])


def _stroke(canvas: Array, start: Array, end: Array, side: int, thickness: float) -> None:
    """Draw an antialiased line with round ends on an 8-bit canvas; `side` mirrors it across the seam."""
    points = [
        ((np.array(p) * [1, side] - [LEFT, -HALF_WIDTH]) * PIXELS * 16).astype(int).tolist() for p in (start, end)
    ]
    cv2.line(canvas, points[0], points[1], 255, max(1, round(thickness * PIXELS)), cv2.LINE_AA, shift=4)


def _draw_eyes(drawing: Array, light: Array) -> None:
    form = _form()
    for side in (-1, 1):
        centre = np.array([0.80, side * 0.185])
        left, top = ((centre - 0.1 - [LEFT, -HALF_WIDTH]) * PIXELS).astype(int)
        window = np.s_[top : top + PIXELS // 5, left : left + PIXELS // 5]
        x, y = form.x[window] - centre[0], form.y[window] - centre[1]
        eye = np.clip((1 - np.hypot(x / 0.085, y / 0.06)) * 6 + 0.5, 0, 1)[..., None]
        glint = np.hypot(x - 0.03 * light[0], y - 0.03 * light[1])[..., None] < 0.02
        part = drawing[window]
        part[..., :3] = part[..., :3] * (1 - eye) + (np.array([22, 16, 14], np.float32) + 190 * glint) * eye
        part[..., 3:] = np.maximum(part[..., 3:], eye)


def _vary(color: tuple[int, int, int], rng: np.random.Generator, spread: float) -> Array:
    return np.clip(np.array(color, np.float32) * rng.uniform(0.85, 1.15) + rng.normal(0, spread, 3), 4, 255).astype(
        np.float32
    )
