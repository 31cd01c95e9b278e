"""One decode rule for training, evaluation and write-back: the image as a person sees it, three 8-bit channels."""

from __future__ import annotations

import math
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from rsam_app.system.errors import UserError

GREY = 128
"""What rows that the network must not read are painted with."""

REACH = 2
"""Rows of a shrunk image that see past a border of the original."""

SPARE = 2.0
"""An image is shrunk to a short side of this many times the network input's: a random crop of a quarter of its area
still has the input's pixels."""

WORTH = 2.5
"""Images with a shorter short side than this many times the input's stay as they are: next to nothing would be saved,
and resampling by a factor near 1 blurs."""

ORIENTATION = 0x0112
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    4: lambda image: cv2.flip(image, 0),
    5: lambda image: cv2.transpose(image),
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.flip(cv2.transpose(image), -1),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
"""What brings an image of each EXIF orientation upright."""

SIDEWAYS = (5, 6, 7, 8)
"""Orientations that swap width and height."""

REDUCED = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    1: 0,
}
"""What asks OpenCV to shrink by so much while it decodes; the colours are asked for beside it."""


def read_image(path: Path, side: int = 0, banner: int = 0) -> tuple[np.ndarray, tuple[int, int]]:
    """The image `(H, W, 3)` uint8 RGB with its EXIF orientation applied, and its true displayed `(width, height)`.

    With `side`, that of the square network input it is for, a large image comes at `stored_size`: its pixels depend on
    the file and on `side` alone. A JPEG is then decoded at a half, quarter or eighth as far as that still leaves more
    pixels than wanted, which is much faster, and shrunk antialiased from there. `banner` rows at the bottom, in pixels
    of the true size, are painted over. Raises `UserError` where the file is no readable image.
    """
    try:
        data = path.read_bytes()
        with Image.open(BytesIO(data)) as image:
            size = displayed_size(image)
            stored = stored_size(size, side)
            pixels = _decode_jpeg(data, image, stored)
            if pixels is None:
                pixels = resize(np.array(to_rgb(ImageOps.exif_transpose(image))), *stored)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read as an image ({error}). Replace or remove the file.") from error
    if banner:
        rows = math.ceil(banner * pixels.shape[0] / size[1])
        rows += REACH if pixels.shape[0] != size[1] else 0
        pixels[max(0, pixels.shape[0] - rows) :] = GREY
    return pixels, size


def stored_size(displayed: tuple[int, int], side: int) -> tuple[int, int]:
    """`(width, height)` that an image of a displayed size is read at for a network input of `side` pixels: a short side
    of `SPARE` times that, or its own where it is below `WORTH` times that. 0 leaves every image as it is."""
    short = min(displayed)
    if not side or short < WORTH * side:
        return displayed
    wanted = SPARE * side
    return round(displayed[0] * wanted / short), round(displayed[1] * wanted / short)


def displayed_size(image: Image.Image) -> tuple[int, int]:
    """`(width, height)` after the EXIF orientation, without decoding."""
    width, height = image.size
    return (height, width) if image.getexif().get(ORIENTATION, 1) in SIDEWAYS else (width, height)


def to_rgb(image: Image.Image) -> Image.Image:
    """Three 8-bit channels from grey-scale, palette, alpha or 16-bit images; transparency shows as white."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if values.max() > 255 else 255.0
        return Image.fromarray(np.clip(values * (255.0 / top), 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """The whole image `(H, W, 3)` uint8 at `height × width`, bicubic over as wide an area as it shrinks by, so that it
    does not alias: what Pillow gives, in a third of its time. Never the array that was given, unless it fits already.
    """
    import torch  # takes seconds to import, and whoever only lists a dataset needs none of it

    if image.shape[:2] == (height, width):
        return image
    planes = torch.from_numpy(np.array(image, order="C"))[None].permute(0, 3, 1, 2)  # channels-last, and seen to be so
    resized = torch.nn.functional.interpolate(planes, (height, width), mode="bicubic", antialias=True)
    pixels: np.ndarray = resized[0].permute(1, 2, 0).numpy()
    return pixels


def _decode_jpeg(data: bytes, image: Image.Image, stored: tuple[int, int]) -> np.ndarray | None:
    """A JPEG, upright at its stored size: what PIL decodes, to the last bit at full size, without PIL's copies. None
    for what is left to PIL: other formats and colour spaces, and files that are cut off, which it refuses."""
    whole = data[-64:].rstrip(b"\0").endswith(b"\xff\xd9")
    if image.format not in ("JPEG", "MPO") or image.mode not in ("RGB", "L") or not whole:
        return None
    scale = next(s for s in REDUCED if min(image.size) >= s * min(stored))
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | REDUCED[scale]
    try:
        pixels: np.ndarray | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    if pixels is None:
        return None
    orientation = image.getexif().get(ORIENTATION, 1)
    lying = stored[::-1] if orientation in SIDEWAYS else stored
    pixels = _shrink_decoded(pixels, image.size, scale, lying)
    return TURNS[orientation](pixels) if orientation in TURNS else pixels


def _shrink_decoded(pixels: np.ndarray, size: tuple[int, int], scale: int, wanted: tuple[int, int]) -> np.ndarray:
    """A decoder that shrinks `size` by `scale` adds pixels that the last ones lie in only partly: they are left out."""
    if size[0] % scale == 0 and size[1] % scale == 0:
        return resize(pixels, *wanted)
    extent = (0.0, 0.0, size[0] / scale, size[1] / scale)
    return np.array(Image.fromarray(pixels).resize(wanted, Image.Resampling.BICUBIC, box=extent))
