"""Ten image corruptions in five severities, computed on the fly, and a model's robustness to them.

After Hendrycks & Dietterich (ICLR 2019, arXiv 1903.12261): noise, brightness, contrast, JPEG, pixelation and saturation
have their formulas and strengths; haze, defocus and motion are ours. Lengths are in pixels of a 224 px image and grow
with the input. Severity 0 is the image itself.
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
"""Severities that are measured, of 1 to 5."""
REFERENCE = 224
"""Side, in pixels, of the image that lengths refer to."""

Image = NDArray[np.float32]
"""An image `(S, S, 3)` in [0, 1] RGB."""
Corruption = Callable[[Image, int, np.random.Generator], Any]


def corrupt(image: Pixels, name: str, severity: int, seed: int, record_id: str) -> Pixels:
    """Apply a corruption of `CORRUPTIONS` to an image `(S, S, 3)` uint8 RGB, at a severity from 0 (none) to 5.

    Randomness depends on the seed, the record and the corruption, not on other images or the severity. Raises
    `KeyError` for an unknown name, `ValueError` for another severity.
    """
    if not 0 <= severity <= 5:
        raise ValueError(f"severity must be 0 to 5, not {severity}")
    apply = CORRUPTIONS[name]
    if severity == 0:
        return image.copy()
    rng = np.random.default_rng((seed, zlib.crc32(record_id.encode()), zlib.crc32(name.encode())))
    corrupted = apply((image / 255).astype(np.float32), severity - 1, rng)
    return np.asarray(np.rint(np.clip(corrupted, 0, 1) * 255).astype(np.uint8))


def gaussian_noise(image: Image, level: int, rng: np.random.Generator) -> Image:
    """Gaussian noise with a standard deviation of .08 to .38, as in dim light."""
    deviation = (0.08, 0.12, 0.18, 0.26, 0.38)[level]
    return image + deviation * rng.standard_normal(image.shape, dtype=np.float32)


def shot_noise(image: Image, level: int, rng: np.random.Generator) -> Image:
    """Poisson noise, with 60 down to 3 photons at full brightness."""
    photons = (60, 25, 12, 5, 3)[level]
    return (rng.poisson(np.clip(image, 0, 1) * photons) / photons).astype(np.float32)


def defocus_blur(image: Image, level: int, rng: np.random.Generator) -> Image:
    """Blur by a disc of 1.5 to 6 px radius, with an antialiased rim."""
    radius = max(0.75, (1.5, 2.2, 3.0, 4.5, 6.0)[level] * len(image) / REFERENCE)
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return np.asarray(cv2.filter2D(image, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT), np.float32)


def motion_blur(image: Image, level: int, rng: np.random.Generator) -> Image:
    """Blur by a straight motion over 5 to 21 px, at a random angle."""
    length = max(2.0, (5, 8, 11, 16, 21)[level] * len(image) / REFERENCE)
    angle = rng.uniform(0, np.pi)
    reach = int(np.ceil(length / 2))
    steps = np.linspace(-length / 2, length / 2, 8 * reach + 1)
    line = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for step in steps:  # each point of the path is shared among its four nearest cells
        x, y = reach + step * np.cos(angle), reach + step * np.sin(angle)
        column, row = min(int(x), 2 * reach - 1), min(int(y), 2 * reach - 1)
        right, low = x - column, y - row
        line[row : row + 2, column : column + 2] += np.outer((1 - low, low), (1 - right, right))
    return np.asarray(cv2.filter2D(image, -1, line / line.sum(), borderType=cv2.BORDER_REFLECT), np.float32)


def brightness(image: Image, level: int, rng: np.random.Generator) -> Image:
    """Overexposure: HSV's value + .1 to .5."""
    return _in_hsv(image, 2, lambda value: value + (0.1, 0.2, 0.3, 0.4, 0.5)[level])


def contrast(image: Image, level: int, rng: np.random.Generator) -> Image:
    """Low contrast: each channel's distance from its mean × .4 to .05."""
    remaining = (0.4, 0.3, 0.2, 0.1, 0.05)[level]
    mean = image.mean(axis=(0, 1), keepdims=True)
    return np.asarray(mean + remaining * (image - mean))


def jpeg(image: Image, level: int, rng: np.random.Generator) -> Image:
    """JPEG compression of quality 25 to 7."""
    quality = (25, 18, 15, 10, 7)[level]
    pixels = np.rint(image[..., ::-1] * 255).astype(np.uint8)
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
    return (decoded[..., ::-1] / 255).astype(np.float32)


def pixelate(image: Image, level: int, rng: np.random.Generator) -> Image:
    """Pixelation: each side shrunk to .6 to .25 and enlarged again by nearest pixels."""
    side = max(1, round(len(image) * (0.6, 0.5, 0.4, 0.3, 0.25)[level]))
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.float32)


def haze(image: Image, level: int, rng: np.random.Generator) -> Image:
    """Uneven white haze that hides .3 to .75 of the image: smooth noise of four octaves."""
    density = (0.3, 0.42, 0.54, 0.65, 0.75)[level]
    clouds = np.zeros(image.shape[:2], np.float32)
    for octave in range(4):
        cells = 2 ** (octave + 1) + 1
        noise = rng.random((cells, cells), dtype=np.float32)
        clouds += cv2.resize(noise, image.shape[1::-1], interpolation=cv2.INTER_CUBIC) / 2**octave
    low, high = clouds.min(), clouds.max()
    veil = np.clip(density * (0.6 + 0.8 * (clouds - low) / max(high - low, 1e-6)), 0, 1)[..., None]
    return np.asarray((1 - veil) * image + veil * 0.95)


def saturation(image: Image, level: int, rng: np.random.Generator) -> Image:
    """Paler (severities 1, 2) or more vivid colours (3 to 5): HSV's saturation × .3, .1, 2, 5, 20, the last two + .1
    and + .2."""
    factor, shift = ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2))[level]
    return _in_hsv(image, 1, lambda values: values * factor + shift)


_ALL = (gaussian_noise, shot_noise, defocus_blur, motion_blur, brightness, contrast, jpeg, pixelate, haze, saturation)
CORRUPTIONS: dict[str, Corruption] = {function.__name__: function for function in _ALL}


def _in_hsv(image: Image, channel: int, change: Callable[[Image], Any]) -> Image:
    hsv = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), np.float32)
    hsv[..., channel] = np.clip(change(hsv[..., channel]), 0, 1)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def corruption_robustness(runner: ModelRunner, subset: Subset, clean: ViewOutputs, seed: int) -> dict[str, Any]:
    """Accuracy and rectangle stability under every corruption of `CORRUPTIONS` at every severity of `SEVERITIES`.

    `top1` is the mean accuracy over corruptions and severities, `relative` is `top1` / `clean_top1` (null if that is
    0). With attention, `rotated_iou` is the mean rotated IoU of the rectangle with that of the clean image.
    `by_corruption` holds both per corruption, and per severity as lists in the order of `severities`.
    """
    by_corruption: dict[str, dict[str, Any]] = {}
    for name in CORRUPTIONS:
        by_severity = [_predict_corrupted(runner, subset, name, severity, seed) for severity in SEVERITIES]
        top1 = [outputs.accuracy(subset.labels) for outputs in by_severity]
        by_corruption[name] = {"top1": float(np.mean(top1)), "top1_by_severity": top1}
        if clean.has_rectangles:
            ious = [float(rotated_iou(clean.rectangles, outputs.rectangles).mean()) for outputs in by_severity]
            by_corruption[name] |= {"rotated_iou": float(np.mean(ious)), "rotated_iou_by_severity": ious}
    mean = {
        key: float(np.mean([entry[key] for entry in by_corruption.values()]))
        for key in ("top1", *(["rotated_iou"] if clean.has_rectangles else []))
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


def _predict_corrupted(runner: ModelRunner, subset: Subset, name: str, severity: int, seed: int) -> ViewOutputs:
    def view(rows: slice) -> Tensor:
        pairs = zip(subset.images[rows], subset.records[rows], strict=True)
        return runner.normalise(np.stack([corrupt(i, name, severity, seed, r.id) for i, r in pairs]))

    return predict_views(runner, len(subset), view)
