"""Photographs of noise in two colours: a dataset that takes seconds to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_two_colours(root: Path) -> None:
    """Twenty images of 50 × 40 pixels in each of `red/` and `blue/` below `root`."""
    generator = np.random.default_rng(0)
    for label, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
        below = root / label
        below.mkdir(parents=True)
        for number in range(20):
            pixels = generator.normal(colour, 30, (40, 50, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(below / f"{number}.jpg")
