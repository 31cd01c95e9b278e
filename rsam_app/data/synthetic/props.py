"""Props of the demo's photographs: leaves, pebbles, twigs, grass, seed pods, and the pink flowers.

Every prop is a drawing as `collage` defines it, lit from the right."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Array = np.ndarray
Prop = Callable[[np.random.Generator], Array]

_LIGHT = np.array([0.55, 0.0, 0.835], np.float32)
_GREENS = ((78, 108, 44), (104, 128, 52), (58, 92, 50), (126, 140, 66))
_BROWNS = ((132, 92, 50), (104, 70, 42), (156, 116, 66), (120, 62, 36), (142, 128, 84))
_STONES = ((134, 130, 124), (158, 148, 130), (112, 104, 98), (150, 126, 108), (92, 94, 98))


def leaf(rng: np.random.Generator, colors: tuple[tuple[int, int, int], ...] = _GREENS + _BROWNS) -> Array:
    """Draw a pointed leaf along x with midrib, side veins, spots, and one half turned to the light."""
    x, y = _grid(104, rng.uniform(0.32, 0.6))
    y = y - rng.uniform(-0.12, 0.12) * x * x
    blunt, skew, broad = rng.uniform(0.6, 1.1), rng.uniform(-0.35, 0.35), np.abs(y).max() * 0.78
    t = np.clip((x + 0.9) / 1.8, 0, 1)
    half_width = broad * np.clip(np.sin(np.pi * t ** (1 + skew)), 0, 1) ** blunt
    opacity = _coverage(half_width - np.abs(y))
    stalk = _coverage(0.018 - np.abs(y)) * (x < -0.85)
    veins = np.abs(((x - np.abs(y) * 1.2) * rng.uniform(4, 7)) % 1 - 0.5) < 0.06
    relief = (
        1 + 0.13 * np.sign(y) * rng.choice([-1, 1]) + 0.12 * _noise(x.shape, 6, rng) + 0.06 * _noise(x.shape, 40, rng)
    )
    relief = relief - 0.18 * np.clip(1 - (half_width - np.abs(y)) / 0.06, 0, 1)
    relief = relief + 0.14 * veins + 0.25 * (np.abs(y) < 0.014)
    spots = (_noise(x.shape, 9, rng) > rng.uniform(1.5, 3.5)) * 0.4
    return _prop(_color(colors, rng) * (relief * (1 - spots))[..., None], np.maximum(opacity, stalk))


def dead_leaf(rng: np.random.Generator) -> Array:
    """Draw a brown leaf."""
    return leaf(rng, _BROWNS)


def green_leaf(rng: np.random.Generator) -> Array:
    """Draw a green leaf."""
    return leaf(rng, _GREENS)


def pebble(rng: np.random.Generator) -> Array:
    """Draw a rounded, speckled stone, sometimes with a pale vein."""
    x, y = _grid(72, rng.uniform(0.6, 0.95))
    aspect = np.abs(y).max()
    phi = np.arctan2(y / aspect, x)
    outline = sum(rng.normal(0, 0.05 / k) * np.cos(k * phi + rng.uniform(0, 6.3)) for k in (2, 3, 4, 5))
    radius = np.hypot(x, y / aspect) / (0.86 + outline)
    speckle = 1 + 0.1 * _noise(x.shape, 60, rng) + 0.08 * _noise(x.shape, 8, rng)
    if rng.random() < 0.25:
        across = x * np.cos(vein := rng.uniform(0, 3.1)) + y * np.sin(vein) + 0.05 * _noise(x.shape, 5, rng)
        speckle = speckle + 0.35 * np.exp(-(((across - 0.1) / 0.05) ** 2))
    shade = _dome_light(radius, x, y / aspect, flat=2.6)
    return _prop(_color(_STONES, rng) * (speckle * shade)[..., None], _coverage(1 - radius))


def pod(rng: np.random.Generator) -> Array:
    """Draw a glossy seed with the size and sheen of a beetle, as a distractor."""
    x, y = _grid(88, rng.uniform(0.4, 0.55))
    aspect = np.abs(y).max()
    radius = np.hypot(x, y / aspect * (1 + 0.15 * x)) / 0.88
    shade = _dome_light(radius, x, y / aspect, flat=2.0) * (1 + 0.06 * _noise(x.shape, 30, rng))
    gloss = 90 * np.exp(-((np.hypot(x - 0.3, y / aspect) / 0.22) ** 2))
    color = _color(((86, 52, 30), (60, 66, 34), (52, 38, 36), (110, 74, 38)), rng) * shade[..., None]
    return _prop(color + gloss[..., None], _coverage(1 - radius))


def twig(rng: np.random.Generator) -> Array:
    """Draw a crooked stick along x with torn bark."""
    x, y = _grid(180, 0.16)
    knees = np.cumsum(rng.normal(0, 0.012, 12))
    bend = np.interp(x, np.linspace(-1, 1, 12), cv2.blur(knees.astype(np.float32), (1, 3)).ravel()).astype(np.float32)
    thickness = rng.uniform(0.03, 0.055) * (1 + 0.2 * _noise((1, x.shape[1]), 12, rng)) * (1 - 0.25 * x)
    across = (y - bend) / thickness
    round_light = np.sqrt(np.clip(1 - across**2, 0, 1)) * 0.75 + 0.3 + 0.12 * across
    bark = 1 + 0.16 * cv2.resize(rng.standard_normal((16, 24), dtype=np.float32), x.shape[::-1])
    opacity = _coverage((1 - np.abs(across)) * thickness) * _coverage(0.96 - np.abs(x))
    return _prop(_color(_BROWNS, rng) * (round_light * bark)[..., None], opacity)


def blade(rng: np.random.Generator) -> Array:
    """Draw a bent blade of grass along x, with a keel."""
    x, y = _grid(150, 0.3)
    y = y - rng.uniform(-0.2, 0.2) * (x + 1) ** 2 / 2 + rng.uniform(-0.05, 0.05)
    half_width = rng.uniform(0.03, 0.055) * np.clip(1 - x, 0, 2) ** 0.6
    light = 0.9 + 0.22 * (y > 0) + 0.06 * _noise(x.shape, 25, rng)
    opacity = _coverage(half_width - np.abs(y)) * _coverage(0.98 - np.abs(x))
    return _prop(_color(_GREENS, rng) * light[..., None], opacity)


def flower(rng: np.random.Generator) -> Array:
    """Draw the shortcut: a pink flower with five petals and a yellow centre."""
    x, y = _grid(64, 1.0)
    turn = rng.uniform(0, 6.3)
    phi, radius = np.arctan2(y, x) + turn, np.hypot(x, y)
    petal = np.abs(np.cos(2.5 * phi))
    edge = 0.42 + 0.52 * petal**0.55 - 0.07 * (petal > 0.985)
    streaks = 1 + 0.07 * np.cos(phi * 40) * radius
    pink = np.array([226, 92, 150], np.float32) + rng.normal(0, 8, 3).astype(np.float32)
    white = np.array([250, 214, 228], np.float32)
    fade = np.clip(radius * 1.1, 0, 1)[..., None]
    rgb = (white * (1 - fade) + pink * fade) * (streaks * (0.72 + 0.3 * petal**0.4) * (0.95 + 0.1 * x))[..., None]
    heart = _coverage(0.2 - radius)[..., None]
    yellow = (
        np.array([240, 190, 60], np.float32) * (0.85 + 0.3 * x / 0.2 * 0.5 + 0.15 * _noise(x.shape, 40, rng))[..., None]
    )
    return _prop(rgb * (1 - heart) + yellow * heart, _coverage(edge - radius))


def _grid(pixels: int, aspect: float) -> tuple[Array, Array]:
    """Return coordinates of a prop `pixels` long: x in [-1, 1], y in [-aspect, aspect], 2 / pixels apart."""
    columns = (np.arange(pixels, dtype=np.float32) + 0.5) * 2 / pixels - 1
    rows = np.arange(-aspect + 1 / pixels, aspect, 2 / pixels, dtype=np.float32)
    x, y = np.meshgrid(columns, rows)
    return x, y


def _coverage(distance: Array) -> Array:
    """Return the opacity for a distance to the outline (positive inside, in half prop lengths), about a pixel soft."""
    return np.clip(distance * 45 + 0.5, 0, 1).astype(np.float32)


def _dome_light(radius: Array, x: Array, y: Array, flat: float) -> Array:
    """Return the diffuse light on a dome over a disc of this radius; larger `flat` is flatter on top."""
    slope = np.clip(radius, 0, 1) ** flat
    steep = slope / np.maximum(np.hypot(x, y), 1e-3)
    normal_z = np.sqrt(np.clip(1 - slope**2, 0.04, 1))
    return np.asarray((0.45 + 0.75 * np.clip(steep * x * _LIGHT[0] + normal_z * _LIGHT[2], 0, 1)).astype(np.float32))


def _noise(shape: tuple[int, ...], cells: int, rng: np.random.Generator) -> Array:
    """Return smooth noise of unit spread with about this many cells along the longer side."""
    longer = max(shape[:2])
    small = tuple(max(2, round(side * cells / longer)) for side in shape[:2])
    return cv2.resize(rng.standard_normal(small, dtype=np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def _color(colors: tuple[tuple[int, int, int], ...], rng: np.random.Generator) -> Array:
    return np.array(colors[rng.integers(len(colors))], np.float32) * rng.uniform(0.8, 1.2) + rng.normal(0, 6, 3).astype(
        np.float32
    )


def _prop(rgb: Array, opacity: Array) -> Array:
    opacity = opacity[..., None].astype(np.float32)
    return np.concatenate([np.clip(rgb, 0, 255) * opacity, 255 * opacity], axis=-1).astype(np.uint8)
