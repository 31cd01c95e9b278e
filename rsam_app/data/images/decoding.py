"""Image decoding: one rule for training, evaluation and review, upright and in three 8-bit channels."""

from __future__ import annotations

import math
import os
import stat
import struct
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from rsam_app.data.images.depth import Range, declared_range, load_colour, stores_deep_colour, to_eight_bits
from rsam_app.system.errors import UserError

DECODE_ERRORS = (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error, zlib.error, KeyError, IndexError)
"""What PIL's decoders raise for damaged files; it depends on the format."""

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # what is too large is an error

LARGEST_FILE = 2**28
"""Bytes of an image file at most: as many as Pillow's limit of pixels has in three channels of 8 bits."""

TOO_LARGE = f"larger than {LARGEST_FILE >> 20} MiB"

BANNER_GREY = 128
"""The grey that covers a banner, which the network must not read."""

RESAMPLING_REACH = 2
"""Rows of a shrunk image on one side of a border that mix with rows on the other."""

SHRINK_TO = 2.0
"""Short side of a shrunk image, in sides of the network input: a random crop of a quarter of its area still has as many
pixels as the input."""

SHRINK_FROM = 2.5
"""Short side, in sides of the network input, from which images are shrunk: below it little would be saved, and
resampling by a factor near 1 blurs."""

EXIF_ORIENTATION = 0x0112
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    4: lambda image: cv2.flip(image, 0),
    5: lambda image: cv2.transpose(image),
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.flip(cv2.transpose(image), -1),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
"""The operation that brings an image of each EXIF orientation upright."""

SIDEWAYS = (5, 6, 7, 8)
"""Orientations that swap width and height."""

REDUCED_FLAGS = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    1: 0,
}
"""OpenCV's flags to shrink by a factor while decoding; a colour flag is added to them."""


def read_image(path: Path, side: int = 0, banner: int = 0) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the image `(H, W, 3)` uint8 RGB, upright by its EXIF orientation, and its displayed `(width, height)`.

    With `side`, the side of the square network input, a large image is shrunk to its `stored_size`; the pixels depend
    only on the file and on `side`. For speed, a JPEG is decoded at a half, quarter or eighth of its size if that still
    leaves enough pixels, and shrunk antialiased from there. `banner` rows at the bottom, in pixels of the true size,
    are painted over. Raises `UserError` if the file is not a readable image.
    """
    return decode_image(image_bytes(path), str(path), side, banner)


def image_bytes(path: Path) -> bytes:
    """Return the content of an image file. Raises `UserError` if it cannot be read, or is larger than
    `LARGEST_FILE`."""
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            if status.st_size > LARGEST_FILE:
                raise _unreadable(path, ValueError(TOO_LARGE))
            if stat.S_ISREG(status.st_mode):
                return stream.read()
            data = stream.read(LARGEST_FILE + 1)  # a pipe or a device, whose size is unknown
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file. Correct the path, or put the file back.") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(data) > LARGEST_FILE:
        raise _unreadable(path, ValueError(TOO_LARGE))
    return data


def decode_image(data: bytes, where: str, side: int = 0, banner: int = 0) -> tuple[np.ndarray, tuple[int, int]]:
    """As `read_image`, of a file's content; `where` names it in errors."""
    try:
        with Image.open(BytesIO(data)) as image:
            deep = stores_deep_colour(image)  # before the size, which may load it
            size = displayed_size(image)
            stored = stored_size(size, side)
            pixels = _decode_jpeg(data, image, stored)
            if pixels is None:
                pixels = resize(_decode_any(data, image, deep), *stored)
    except (*DECODE_ERRORS, Image.DecompressionBombError) as error:
        raise _unreadable(where, error) from error
    if banner:
        rows = math.ceil(banner * pixels.shape[0] / size[1])
        rows += RESAMPLING_REACH if pixels.shape[0] != size[1] else 0
        pixels[max(0, pixels.shape[0] - rows) :] = BANNER_GREY
    return pixels, size


def _unreadable(where: str | Path, error: Exception) -> UserError:
    reason: object = error
    if isinstance(error, UnidentifiedImageError):
        reason = "not an image, or in an unknown format"
    elif isinstance(error, Image.DecompressionBombError):
        reason = f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
    return UserError(f"{where}: cannot be read as an image ({reason}). Replace or remove the file.")


def stored_size(displayed: tuple[int, int], side: int) -> tuple[int, int]:
    """Return the `(width, height)` that an image is shrunk to for a network input of `side` pixels; 0: not shrunk.

    See `SHRINK_TO` and `SHRINK_FROM`.
    """
    short = min(displayed)
    if not side or short < SHRINK_FROM * side:
        return displayed
    wanted = SHRINK_TO * side
    return round(displayed[0] * wanted / short), round(displayed[1] * wanted / short)


def displayed_size(image: Image.Image) -> tuple[int, int]:
    """Return the `(width, height)` after the EXIF orientation, without decoding."""
    width, height = image.size
    return (height, width) if image.getexif().get(EXIF_ORIENTATION, 1) in SIDEWAYS else (width, height)


def to_rgb(image: Image.Image, declared: Range | None = None) -> Image.Image:
    """Convert greyscale, palette, alpha, 16-bit or float images to three 8-bit channels; transparency becomes white.

    `declared` is the range of values that the file declares. Raises `ValueError` for NaN and infinity.
    """
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return Image.fromarray(to_eight_bits(np.asarray(image), declared)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize an image `(H, W, 3)` uint8 to `height × width`, bicubic and antialiased.

    Matches Pillow's resampling, in a third of its time. An image that already fits is returned itself, not a copy.
    """
    import torch  # takes seconds to import, and listing a dataset does not need it

    if image.shape[:2] == (height, width):
        return image
    # The contiguous copy lets torch see that the permuted tensor is channels-last.
    planes = torch.from_numpy(np.array(image, order="C"))[None].permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(planes, (height, width), mode="bicubic", antialias=True)
    pixels: np.ndarray = resized[0].permute(1, 2, 0).numpy()
    return pixels


def _decode_any(data: bytes, image: Image.Image, deep: bool) -> np.ndarray:
    """Decode with Pillow, upright at full size."""
    declared = declared_range(image)
    loaded = load_colour(image, deep, lambda: data)
    if loaded is image:
        return np.array(to_rgb(ImageOps.exif_transpose(image), declared))
    pixels = np.array(to_rgb(loaded))
    orientation = image.getexif().get(EXIF_ORIENTATION, 1)
    return UPRIGHT[orientation](pixels) if orientation in UPRIGHT else pixels


def _decode_jpeg(data: bytes, image: Image.Image, stored: tuple[int, int]) -> np.ndarray | None:
    """Decode a JPEG, upright at its stored size; at full size bit-identical to PIL, but without PIL's copies.

    None for what PIL must decode (other formats and colour spaces) or refuse (truncated files).
    """
    whole = data[-64:].rstrip(b"\0").endswith(b"\xff\xd9")
    if image.format not in ("JPEG", "MPO") or image.mode not in ("RGB", "L") or not whole:
        return None
    scale = next(s for s in REDUCED_FLAGS if min(image.size) >= s * min(stored))
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | REDUCED_FLAGS[scale]
    try:
        pixels: np.ndarray | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    if pixels is None:
        return None
    orientation = image.getexif().get(EXIF_ORIENTATION, 1)
    wanted = stored[::-1] if orientation in SIDEWAYS else stored
    pixels = _shrink_decoded(pixels, image.size, scale, wanted)
    return UPRIGHT[orientation](pixels) if orientation in UPRIGHT else pixels


def _shrink_decoded(pixels: np.ndarray, size: tuple[int, int], scale: int, wanted: tuple[int, int]) -> np.ndarray:
    """Shrink to `wanted` what was decoded from `size` by `scale`, without the decoder's partly filled last pixels."""
    if size[0] % scale == 0 and size[1] % scale == 0:
        return resize(pixels, *wanted)
    extent = (0.0, 0.0, size[0] / scale, size[1] / scale)
    return np.array(Image.fromarray(pixels).resize(wanted, Image.Resampling.BICUBIC, box=extent))
