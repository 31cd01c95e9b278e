"""Ground of the demo's photographs: soil, sand, moss, bark, leaf litter and meadow, each a large tile lit from the
right. Every photograph shows a rotated and scaled part of a tile."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from rsam_app.data.synthetic import props
from rsam_app.data.synthetic.collage import lay, place

Array = np.ndarray

SIDE = 448
"""Pixels of a tile along each side."""


@dataclass(frozen=True)
class Habitat:
    """A ground tile `(SIDE, SIDE, 3)` float32 RGB in [0, 255], and the props on it with their mean number."""

    name: str
    tile: Array
    clutter: tuple[tuple[str, int], ...]


_CLUTTER = {
    "soil": (("dead_leaf", 3), ("pebble", 7), ("twig", 2), ("pod", 1), ("blade", 1)),
    "sand": (("pebble", 12), ("twig", 1), ("dead_leaf", 1), ("pod", 1)),
    "moss": (("green_leaf", 2), ("dead_leaf", 2), ("twig", 2), ("pebble", 2), ("blade", 3)),
    "bark": (("green_leaf", 2), ("dead_leaf", 2), ("twig", 1), ("pod", 1)),
    "litter": (("dead_leaf", 11), ("green_leaf", 2), ("twig", 3), ("pod", 1)),
    "meadow": (("green_leaf", 5), ("blade", 8), ("dead_leaf", 1), ("pod", 1)),
}


def habitats(rng: np.random.Generator) -> tuple[Habitat, ...]:
    """Draw the tiles of all habitats."""
    return tuple(Habitat(name, _tile(name, rng), clutter) for name, clutter in _CLUTTER.items())


def _tile(name: str, rng: np.random.Generator) -> Array:
    if name == "bark":
        return _bark(rng)
    ramps = {
        "soil": ((44, 32, 24), (92, 70, 50), (128, 104, 78)),
        "sand": ((120, 104, 82), (168, 150, 120), (206, 192, 162)),
        "moss": ((30, 44, 20), (66, 92, 36), (120, 142, 64)),
        "litter": ((40, 28, 20), (84, 58, 36), (120, 88, 56)),
        "meadow": ((26, 36, 18), (58, 80, 34), (98, 118, 54)),
    }
    height = np.zeros((SIDE, SIDE), np.float32)
    for cells, gain in ((5, 1.0), (14, 0.7), (45, 0.6), (140, 0.45), (300, 0.35)):
        height += _noise(cells, rng) * np.float32(gain)
    tile = _ramp(height, ramps[name])
    if name in ("moss", "meadow"):
        _blades(tile, rng, count=5200 if name == "moss" else 2600, length=9 if name == "moss" else 30)
    if name in ("soil", "sand", "litter"):
        _scatter(tile, "dead_leaf" if name == "litter" else "pebble", rng)
    return tile


def _noise(cells: int, rng: np.random.Generator, stretch: int = 1) -> Array:
    small = rng.standard_normal((max(2, cells), max(2, cells // stretch)), dtype=np.float32)
    return cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def _ramp(height: Array, colors: tuple[tuple[int, int, int], ...], relief: float = 9.0) -> Array:
    """Colour a height map, brighter on slopes that face the light."""
    level = (height - height.mean()) / height.std() / 4 + 0.5
    slope = np.clip(-cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3), -4, 4)
    stops = np.linspace(0.1, 0.9, len(colors))
    rgb = np.stack([np.interp(level, stops, [c[i] for c in colors]) for i in range(3)], axis=-1)
    return np.asarray(np.clip(rgb + relief * slope[..., None], 0, 255).astype(np.float32))


def _bark(rng: np.random.Generator) -> Array:
    """Draw plates between dark cracks along the trunk, with patches of lichen."""
    warp = _noise(8, rng) * 9
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    straight = _noise(22, rng, stretch=4) + 0.6 * _noise(60, rng, stretch=5) + 0.3 * _noise(180, rng, stretch=4)
    plates: Array = cv2.remap(straight, columns, rows + warp, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    cracks = np.clip(np.abs(plates) / 0.35, 0, 1)
    fibres = _noise(300, rng, stretch=6) + 0.6 * _noise(300, rng)
    tile = _ramp(np.abs(plates) + 0.3 * fibres, ((78, 62, 50), (112, 92, 74), (150, 130, 108)), relief=7)
    tile = tile * (0.4 + 0.6 * cracks)[..., None]
    lichen = np.clip((_noise(12, rng) + 0.6 * _noise(70, rng) - 1.5) * 1.5, 0, 0.7)[..., None]
    grown = np.array([150, 160, 128], np.float32) * (0.8 + 0.2 * cracks[..., None]) * lichen
    return np.asarray(tile * (1 - lichen) + grown, dtype=np.float32)


def _blades(tile: Array, rng: np.random.Generator, count: int, length: float) -> None:
    """Draw thousands of fine strokes; later ones are lighter, as if nearer to the light."""
    starts = rng.uniform(0, SIDE, (count, 2))
    angles = rng.uniform(0, 2 * np.pi, count)
    lengths = length * rng.uniform(0.5, 1.4, count)
    ends = starts + np.stack([np.cos(angles), np.sin(angles)], axis=1) * lengths[:, None]
    for i in range(count):
        light = 0.35 + 0.75 * i / count
        color = np.clip(np.array([92, 116, 48]) * light + rng.normal(0, 14) + rng.normal(0, 6, 3), 0, 255).tolist()
        points = [(p * 8).astype(int).tolist() for p in (starts[i], ends[i])]
        cv2.line(tile, points[0], points[1], color, 1 + int(length > 15 and i % 3 == 0), cv2.LINE_AA, shift=3)


def _scatter(tile: Array, kind: str, rng: np.random.Generator) -> None:
    """Scatter small props all over, as the texture of the ground."""
    shapes = [getattr(props, kind)(rng) for _ in range(6)]
    largest = 0.45 if kind == "dead_leaf" else 0.2
    for _ in range(70 if kind == "dead_leaf" else 240):
        angle = 2 * np.pi * rng.random() if kind == "dead_leaf" else 0.0
        scale = largest * rng.uniform(0.3, 1.0)
        lay(tile, place(shapes[rng.integers(6)], rng.uniform(0, SIDE, 2), angle, (scale, scale)), shadow=2.0, light=0.0)
