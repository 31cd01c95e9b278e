"""One decode rule for training, evaluation and write-back: the image as a person sees it, three 8-bit channels."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from rsam_app.errors import UserError

GREY = 128
"""What rows that the network must not read are painted with."""


def read_image(path: Path, at_least: int = 0, banner: int = 0) -> tuple[np.ndarray, tuple[int, int]]:
    """The image `(H, W, 3)` uint8 RGB with its EXIF orientation applied, and its true displayed `(width, height)`.

    With `at_least`, a JPEG may be decoded at a half, quarter or eighth of its size, as long as both sides keep twice
    that many pixels: much faster, and the caller shrinks it anyway. `banner` rows at the bottom, in pixels of the true
    size, are painted over. Raises `UserError` where the file is no readable image.
    """
    try:
        with Image.open(path) as image:
            size = displayed_size(image)
            if at_least and image.format == "JPEG":
                image.draft("RGB", (2 * at_least, 2 * at_least))
            turned = ImageOps.exif_transpose(image)
            pixels = np.array(to_rgb(turned))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read as an image ({error}). Replace or remove the file.") from error
    if banner:
        rows = math.ceil(banner * pixels.shape[0] / size[1])
        pixels[max(0, pixels.shape[0] - rows) :] = GREY
    return pixels, size


def displayed_size(image: Image.Image) -> tuple[int, int]:
    """`(width, height)` after the EXIF orientation, without decoding."""
    width, height = image.size
    return (height, width) if image.getexif().get(0x0112, 1) in (5, 6, 7, 8) else (width, height)


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
    """The whole image at `height × width`: by area where it shrinks, so that it does not alias, else bilinear."""
    shrinks = width <= image.shape[1] and height <= image.shape[0]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
