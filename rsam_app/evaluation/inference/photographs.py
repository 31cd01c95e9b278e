"""Photographs in any form, as pixels: files, addresses, arrays, tensors and PIL images."""

from __future__ import annotations

import http.client
import math
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from rsam_app.data.images.decoding import DECODE_ERRORS, LARGEST_FILE, decode_image, read_image, to_rgb
from rsam_app.geometry.types import Pixels
from rsam_app.system.errors import UserError, reason_of
from rsam_app.system.paths import is_address

Photograph = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor
"""A path, an `http(s)://` address, a PIL image, an array `(H, W[, 3 or 4])`, or a tensor `([1 or 3,] H, W)`."""

IN_ADDRESSES = "%/:=&?~#+!$,;'@()*[]"
"""Characters that stay as they are in an address; blanks and letters beyond ASCII are escaped."""

TIMEOUT = 20
"""Seconds without an answer from an address after which it counts as out of reach."""


class Decoded(NamedTuple):
    """A photograph's `pixels` `(H, W, 3)` uint8 RGB, upright, perhaps shrunk; its true `size` (width, height)."""

    pixels: Pixels
    size: tuple[int, int]


def name_of(photograph: Photograph, number: int) -> str:
    """The path or address of a photograph; without one, its place among those that were given."""
    if isinstance(photograph, str | os.PathLike):
        return os.fspath(photograph)
    return str(getattr(photograph, "filename", "") or f"image {number}")


def decode(photograph: Photograph, side: int = 0) -> Decoded:
    """The photograph, shrunk as in training for a network input of `side` pixels (0: not shrunk).

    Arrays and tensors are RGB or grey; those of floating point are in [0, 1], others uint8. Raises `UserError` for what
    cannot be read as an image.
    """
    if isinstance(photograph, str | os.PathLike):
        where = os.fspath(photograph)
        if is_address(where):
            return Decoded(*decode_image(download(where), where, side))
        return Decoded(*read_image(Path(os.path.expanduser(where)), side))
    if isinstance(photograph, Image.Image):
        try:
            pixels = np.array(to_rgb(ImageOps.exif_transpose(photograph)))
        except (*DECODE_ERRORS, Image.DecompressionBombError) as error:
            raise UserError(f"cannot be read as an image ({reason_of(error)}). Give another.") from error
    else:
        pixels = _from_array(photograph)
    return Decoded(pixels, (pixels.shape[1], pixels.shape[0]))


def download(address: str) -> bytes:
    """The content of an address. Raises `UserError` if it cannot be read, or is larger than `LARGEST_FILE`."""
    try:
        with urllib.request.urlopen(urllib.parse.quote(address, safe=IN_ADDRESSES), timeout=TIMEOUT) as answer:
            data: bytes = answer.read(LARGEST_FILE + 1)
    except urllib.error.HTTPError as error:
        raise UserError(f"{address}: the server answers {error.code} {error.reason}. Check the address.") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = reason_of(getattr(error, "reason", None) or error)
        raise UserError(f"{address}: cannot be reached ({reason}). Check the address and the network.") from error
    if len(data) > LARGEST_FILE:
        raise UserError(f"{address}: is larger than {LARGEST_FILE >> 20} MiB. Download it, and give the file.")
    return data


def _from_array(values: Any) -> Pixels:
    """An array `(H, W[, channels])` or a tensor `([channels,] H, W)` as `(H, W, 3)` uint8."""
    if isinstance(values, Tensor):
        array = (values.float() if values.is_floating_point() else values).detach().cpu().numpy()
        array = np.moveaxis(array, 0, -1) if array.ndim == 3 else array
    elif isinstance(values, np.ndarray):
        array = values
    else:
        kinds = "path, address, PIL image, array or tensor"
        raise UserError(
            f"cannot read an image from a value of type {type(values).__name__}. Give a {kinds}, or a list of them."
        )
    shape = tuple(array.shape)
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 3, 4)) or 0 in shape:
        expected = "(H, W), (H, W, 3) or (H, W, 4); of a tensor (H, W) or (3, H, W)"
        raise UserError(f"an array of shape {tuple(values.shape)} is not an image. Expected {expected}.")
    if array.dtype.kind == "f":
        array = _bytes_of(array)
    elif array.dtype != np.uint8:
        raise UserError(f"an array of {array.dtype} is not an image. Give uint8, or floating point in [0, 1].")
    if array.ndim == 2 or shape[2] == 1:
        return np.repeat(array.reshape(*shape[:2], 1), 3, axis=2)
    return np.array(to_rgb(Image.fromarray(np.ascontiguousarray(array))))


def _bytes_of(array: np.ndarray) -> Pixels:
    low, high = float(array.min()), float(array.max())
    if not (math.isfinite(low) and math.isfinite(high) and low >= -1e-6 and high <= 1 + 1e-6):
        raise UserError(
            f"an array of floating point from {low:g} to {high:g} is not an image.\n"
            "Give values in [0, 1] that are not normalised: the model does that itself."
        )
    return (array.clip(0, 1) * 255).round().astype(np.uint8)


def several(photographs: Photograph | Sequence[Photograph]) -> list[Photograph] | None:
    """The photographs of a list, or of a batch `(B, H, W, C)` or `(B, C, H, W)`; None for a single one."""
    if isinstance(photographs, np.ndarray | Tensor):
        return list(photographs) if photographs.ndim == 4 else None
    if isinstance(photographs, str | os.PathLike | Image.Image):
        return None
    if isinstance(photographs, Sequence):
        return list(photographs)
    raise UserError(f"a {type(photographs).__name__} is neither an image nor a list of images.")
