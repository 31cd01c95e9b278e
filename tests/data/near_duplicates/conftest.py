"""Generated photographs and altered copies of them, as other programs would make them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from rsam_app.data.records import Record
from rsam_app.data.synthetic import generate


def cropped(image: Image.Image, share: float, corner: tuple[int, int]) -> Image.Image:
    """Crop `share` off the width and height, keeping a corner (0 or 1 each)."""
    left, top = (round(share * side * place) for side, place in zip(image.size, corner, strict=True))
    width, height = (round((1 - share) * side) for side in image.size)
    return image.crop((left, top, left + width, top + height))


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


ALTERED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "again": lambda image: image,
    "jpeg": lambda image: recompressed(image, 40),
    "half": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
    "squashed": lambda image: image.resize((200, 200), Image.Resampling.BILINEAR),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "flatter": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "mirror": ImageOps.mirror,
    "crop": lambda image: cropped(image, 0.1, (1, 0)),
    "crop in the middle": lambda image: image.crop(
        tuple(round(side * share) for share in (0.06, 0.94) for side in image.size)
    ),
    "everything": lambda image: recompressed(
        ImageEnhance.Contrast(ImageOps.mirror(cropped(image, 0.12, (0, 1)))).enhance(1.1), 60
    ),
}
"""Alterations that leave a photograph the same one."""


MakeCopies = Callable[[Sequence[Record]], list[Record]]


@pytest.fixture
def copies(tmp_path: Path) -> MakeCopies:
    """Makes an altered copy of each of up to eleven records, each by another alteration, in the test split."""

    def make(records: Sequence[Record]) -> list[Record]:
        made = []
        for (name, alter), record in zip(ALTERED.items(), records, strict=False):
            with Image.open(record.path) as image:
                path = tmp_path / f"{name}.jpg"
                alter(image.convert("RGB")).save(path, quality=92)
            made.append(Record(f"{name} of {record.id}", path, "", "test"))
        return made

    return make


@pytest.fixture(autouse=True)
def _private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def beetles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, ...]:
    """48 generated photographs of four species, each drawn separately."""
    folder = tmp_path_factory.mktemp("beetles")
    generate(folder, seed=5, images_per_species=12, species=4)
    return tuple(Record(path.name, path, "", "train") for path in sorted((folder / "images").glob("*.jpg")))


@pytest.fixture(scope="session")
def still_camera(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, ...]:
    """Twelve photographs of one fixed scene, each with one small object in another position."""
    folder = tmp_path_factory.mktemp("conveyor")
    rng = np.random.default_rng(0)
    scene = np.zeros((240, 320, 3))
    for cells in (6, 15, 40, 120):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        scene += np.asarray(noise.resize((320, 240), Image.Resampling.BICUBIC), dtype=float) / 4
    records = []
    for number in range(12):
        image = scene.copy()
        part = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize((44, 44))
        x, y = 20 + 60 * (number % 4), 15 + 70 * (number // 4)
        image[y : y + 44, x : x + 44] = np.asarray(part)
        path = folder / f"{number}.jpg"
        Image.fromarray(image.astype(np.uint8)).save(path, quality=90)
        records.append(Record(path.name, path, "", "train"))
    return tuple(records)
