"""Tiny datasets in the official layouts, written by the tests to exercise the real code path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rsam_app.config import Card

Painter = Callable[..., Path]
CardMaker = Callable[..., Card]


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder for this test alone; returns the folder of its scan caches."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rsam" / "scans"


@pytest.fixture
def paint() -> Painter:
    """`paint(path, width=40, height=30, **save)`: a picture of noise, in the format that its name or `format` says."""

    def write(path: Path, width: int = 40, height: int = 30, mode: str = "RGB", **save: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = sum(path.name.encode())
        noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).convert(mode).save(path, **save)
        return path

    return write


@pytest.fixture
def ramp() -> Callable[[int, int], np.ndarray]:
    """`ramp(width, height)`: red grows with x, green with y, so that pixels show where they came from."""

    def draw(width: int, height: int) -> np.ndarray:
        x, y = (np.arange(n) + 0.5 for n in (width, height))
        image = np.zeros((height, width, 3), np.uint8)
        image[..., 0] = np.round(x * 250 / width)
        image[..., 1] = np.round(y * 250 / height)[:, None]
        return image

    return draw


@pytest.fixture
def card_for() -> CardMaker:
    """`card_for(layout, root, **keys)`: a card."""

    def make(layout: str, root: Path, **keys: Any) -> Card:
        return Card.model_validate({"name": "tiny", "layout": layout, "root": str(root), "licence": "ours", **keys})

    return make


@pytest.fixture
def class_folders(tmp_path: Path, paint: Painter) -> Path:
    """Two classes of ten images each, without splits."""
    root = tmp_path / "folders"
    for name in ("finch", "wren"):
        for number in range(10):
            paint(root / name / f"{number}.jpg")
    return root
