"""Ten ways in which photographs are worse than they should be, in five severities, computed as they are needed.

After Hendrycks & Dietterich (ICLR 2019, arXiv 1903.12261): noise, blur, weather and compression with their strengths
where the formula is theirs (noise, brightness, contrast, JPEG, pixelation, saturation); haze, defocus and motion are
ours. Lengths are in pixels of a 224 px image and grow with the input. Severity 0 is the image itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.evaluation.robustness.subset import Subset
from rsam_app.evaluation.robustness.view_outputs import ViewOutputs, predict_views
from rsam_app.geometry.overlap import rotated_iou
from rsam_app.geometry.types import Pixels

SEVERITIES = (1, 3, 5)
"""Those that are measured, of 1 to 5."""
REFERENCE = 224
"""The side, in pixels, at which lengths are meant."""

Shown = NDArray[np.float32]
"""An image `(S, S, 3)` in [0, 1] RGB."""
Corruption = Callable[[Shown, int, np.random.Generator], Any]


def corrupt(image: Pixels, name: str, severity: int, seed: int, record_id: str) -> Pixels:
    """An image `(S, S, 3)` uint8 RGB with one corruption of `CORRUPTIONS` at a severity from 0 (none) to 5.

    What is random in it depends on the seed, the record and the corruption, not on the other images and not on the
    severity. Raises `KeyError` for an unknown name, `ValueError` for another severity.
    """
    if not 0 <= severity <= 5:
        raise ValueError(f"severity must be 0 to 5, not {severity}")
    make = CORRUPTIONS[name]
    if severity == 0:
        return image.copy()
    rng = np.random.default_rng((seed, zlib.crc32(record_id.encode()), zlib.crc32(name.encode())))
    shown = make((image / 255).astype(np.float32), severity - 1, rng)
    return np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8)


def gaussian_noise(image: Shown, level: int, rng: np.random.Generator) -> Shown:
    """Noise of a standard deviation of .08 to .38, as in dim light."""
    deviation = (0.08, 0.12, 0.18, 0.26, 0.38)[level]
    return image + deviation * rng.standard_normal(image.shape, dtype=np.float32)


def shot_noise(image: Shown, level: int, rng: np.random.Generator) -> Shown:
    """As if 60 to 3 photons made full brightness."""
    photons = (60, 25, 12, 5, 3)[level]
    return (rng.poisson(np.clip(image, 0, 1) * photons) / photons).astype(np.float32)


def defocus_blur(image: Shown, level: int, rng: np.random.Generator) -> Shown:
    """A disc of 1.5 to 6 px radius, with an antialiased rim."""
    radius = max(0.75, (1.5, 2.2, 3.0, 4.5, 6.0)[level] * len(image) / REFERENCE)
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return np.asarray(cv2.filter2D(image, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT), np.float32)


def motion_blur(image: Shown, level: int, rng: np.random.Generator) -> Shown:
    """A straight motion over 5 to 21 px, at a random angle."""
    length = max(2.0, (5, 8, 11, 16, 21)[level] * len(image) / REFERENCE)
    angle = rng.uniform(0, np.pi)
    reach = int(np.ceil(length / 2))
    steps = np.linspace(-length / 2, length / 2, 8 * reach + 1)
    line = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for place in steps:  # each point of the way shared among its four nearest cells
        x, y = reach + place * np.cos(angle), reach + place * np.sin(angle)
        column, row = min(int(x), 2 * reach - 1), min(int(y), 2 * reach - 1)
        right, low = x - column, y - row
        line[row : row + 2, column : column + 2] += np.outer((1 - low, low), (1 - right, right))
    return np.asarray(cv2.filter2D(image, -1, line / line.sum(), borderType=cv2.BORDER_REFLECT), np.float32)


def brightness(image: Shown, level: int, rng: np.random.Generator) -> Shown:
    """The value of HSV raised by .1 to .5: overexposed."""
    return _in_hsv(image, 2, lambda value: value + (0.1, 0.2, 0.3, 0.4, 0.5)[level])


def contrast(image: Shown, level: int, rng: np.random.Generator) -> Shown:
    """Only .4 to .05 of each channel's distance from its mean is left."""
    left = (0.4, 0.3, 0.2, 0.1, 0.05)[level]
    mean = image.mean(axis=(0, 1), keepdims=True)
    return np.asarray(mean + left * (image - mean))


def jpeg(image: Shown, level: int, rng: np.random.Generator) -> Shown:
    """Compressed as JPEG of quality 25 to 7."""
    quality = (25, 18, 15, 10, 7)[level]
    pixels = np.rint(image[..., ::-1] * 255).astype(np.uint8)
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
    return (decoded[..., ::-1] / 255).astype(np.float32)


def pixelate(image: Shown, level: int, rng: np.random.Generator) -> Shown:
    """Shrunk to .6 to .25 of each side and enlarged again by nearest pixels."""
    side = max(1, round(len(image) * (0.6, 0.5, 0.4, 0.3, 0.25)[level]))
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.float32)


def haze(image: Shown, level: int, rng: np.random.Generator) -> Shown:
    """Uneven white haze that hides .3 to .75 of what is there: smooth noise of four octaves."""
    dense = (0.3, 0.42, 0.54, 0.65, 0.75)[level]
    clouds = np.zeros(image.shape[:2], np.float32)
    for octave in range(4):
        cells = 2 ** (octave + 1) + 1
        noise = rng.random((cells, cells), dtype=np.float32)
        clouds += cv2.resize(noise, image.shape[1::-1], interpolation=cv2.INTER_CUBIC) / 2**octave
    low, high = clouds.min(), clouds.max()
    veil = np.clip(dense * (0.6 + 0.8 * (clouds - low) / max(high - low, 1e-6)), 0, 1)[..., None]
    return np.asarray((1 - veil) * image + veil * 0.95)


def saturation(image: Shown, level: int, rng: np.random.Generator) -> Shown:
    """Colours paler (severities 1, 2) or more vivid (3 to 5): HSV's saturation × .3, .1, 2, 5, 20, the last two
    + .1 and .2."""
    factor, shift = ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2))[level]
    return _in_hsv(image, 1, lambda values: values * factor + shift)


CORRUPTIONS: dict[str, Corruption] = {
    function.__name__: function
    for function in (
        gaussian_noise,
        shot_noise,
        defocus_blur,
        motion_blur,
        brightness,
        contrast,
        jpeg,
        pixelate,
        haze,
        saturation,
    )
}


def _in_hsv(image: Shown, channel: int, change: Callable[[Shown], Any]) -> Shown:
    hsv = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), np.float32)
    hsv[..., channel] = np.clip(change(hsv[..., channel]), 0, 1)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def corruption_robustness(runner: ModelRunner, subset: Subset, clean: ViewOutputs, seed: int) -> dict[str, Any]:
    """Accuracy and rectangle stability under every corruption of `CORRUPTIONS` at every severity of `SEVERITIES`.

    `top1` is the mean accuracy over corruptions and severities, `relative` that over `clean_top1` (null where that is
    0). With attention, `rotated_iou` is the mean rotated IoU of the rectangle with the one of the clean image.
    `by_corruption` holds both per corruption, and per severity as lists in the order of `severities`.
    """
    has_rectangles = not np.isnan(clean.rectangles).any()
    by_corruption: dict[str, dict[str, Any]] = {}
    for name in CORRUPTIONS:
        looks = [_corrupted(runner, subset, name, severity, seed) for severity in SEVERITIES]
        top1 = [seen.accuracy(subset.labels) for seen in looks]
        by_corruption[name] = {"top1": float(np.mean(top1)), "top1_by_severity": top1}
        if has_rectangles:
            ious = [float(rotated_iou(clean.rectangles, seen.rectangles).mean()) for seen in looks]
            by_corruption[name] |= {"rotated_iou": float(np.mean(ious)), "rotated_iou_by_severity": ious}
    mean = {
        key: float(np.mean([entry[key] for entry in by_corruption.values()]))
        for key in ("top1", *(["rotated_iou"] if has_rectangles else []))
    }
    clean_top1 = clean.accuracy(subset.labels)
    return {
        "n": len(subset),
        "clean_top1": clean_top1,
        **mean,
        "relative": mean["top1"] / clean_top1 if clean_top1 else None,
        "severities": list(SEVERITIES),
        "by_corruption": by_corruption,
    }


def _corrupted(runner: ModelRunner, subset: Subset, name: str, severity: int, seed: int) -> ViewOutputs:
    def view(rows: slice) -> Tensor:
        pairs = zip(subset.images[rows], subset.records[rows], strict=True)
        return runner.normalise(np.stack([corrupt(i, name, severity, seed, r.id) for i, r in pairs]))

    return predict_views(runner, len(subset), view)
