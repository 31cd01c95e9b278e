"""albumentations transforms by name, as pipelines list them, each with the exact affine map of its pixels.

albumentations' own keypoints are not exact: they are pixel *indices* in rotations and *continuous* coordinates in
crops, are scaled by unrounded factors, and multiply at reflecting borders. So each map is computed from the parameters
that the transform drew.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np
from albumentations.augmentations.crops.transforms import CropSizeError

from rsam_app.system.errors import UserError

Entries = Sequence[Mapping[str, Mapping[str, Any] | None]]
Size = tuple[int, int]
"""Width and height."""

FAILURES = (ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, CropSizeError, cv2.error)
"""The exceptions of albumentations for arguments or images that it cannot use."""

GROUPS = ("OneOf", "SomeOf", "RandomOrder", "Sequential")
TRIAL_SIZE = (1280, 1024)
"""Width and height of the image that every entry is tried on before training."""

Forward = Callable[[Any, Mapping[str, Any], Size, Size], np.ndarray]
"""From a transform, its parameters and the sizes before and after: the map `(3, 3)` of the pixels."""


class NamedTransforms:
    """Transforms applied in order, as listed under the config key `key`.

    Raises `UserError` for an entry that cannot be used: an unknown name or argument, a transform that moves pixels in a
    way no rectangle can follow, a result that is not an 8-bit image.
    """

    def __init__(self, entries: Entries, key: str) -> None:
        self.key = key
        # seed=None: an integer would give every child the same stream and so tie their draws to each other.
        self.compose = A.Compose([_build(entry, f"{key}.{index}") for index, entry in enumerate(entries)], seed=None)

    def __call__(self, image: np.ndarray, draws: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the transformed `image` `(H, W, 3)` uint8, and the map `(3, 3)` from its pixels to those of `image`.

        Raises `UserError` if a transform refuses the image, such as a crop larger than it.
        """
        self.compose.set_random_state(draws, random.Random(int(draws.integers(2**62))))
        try:
            result = self.compose(image=np.array(image), to_image=np.eye(3))
        except FAILURES as error:
            raise _refused(self.key, f"on an image of {image.shape[1]} x {image.shape[0]}: {error}") from error
        return result["image"], result["to_image"]


class _TrackedApply:
    """Replaces a transform's `apply_with_params`: checks the result and updates `to_image` along with the image."""

    def __init__(self, transform: A.BasicTransform, forward: Forward | None, where: str) -> None:
        self.transform, self.forward, self.where = transform, forward, where

    def __call__(self, params: dict[str, Any], *unused: Any, **data: Any) -> dict[str, Any]:
        image, to_image = data["image"], data["to_image"]
        before: Size = (image.shape[1], image.shape[0])
        result = type(self.transform).apply_with_params(self.transform, dict(params), image=image)["image"]
        if not isinstance(result, np.ndarray) or result.dtype != np.uint8 or result.shape[2:] != (3,):
            given = f"{result.dtype} {tuple(result.shape)}"
            expected = "images must stay 8-bit with three channels; they are normalised on the device"
            raise _refused(self.where, f"returns {given}; {expected}")
        if self.forward:
            forward = self.forward(self.transform, params, before, (result.shape[1], result.shape[0]))
            to_image = to_image @ np.linalg.inv(forward)
        return {**data, "image": result, "to_image": to_image}


def _build(entry: Mapping[str, Mapping[str, Any] | None], where: str) -> Any:
    if len(entry) != 1:
        raise UserError(f"{where}: {dict(entry)}: expected one albumentations name per item, `- Name: {{…}}`.")
    name, given = next(iter(entry.items()))
    where, arguments = f"{where}: {name}", dict(given or {})
    kind: Any = getattr(A, name, None)
    known = isinstance(kind, type) and issubclass(kind, A.BasicTransform)
    try:
        if name in GROUPS:
            inner = arguments.pop("transforms", None)
            if not isinstance(inner, list) or not all(isinstance(one, dict) for one in inner):
                raise _refused(where, "needs `transforms: [...]`, a list of entries")
            return kind([_build(one, f"{where}.transforms.{index}") for index, one in enumerate(inner)], **arguments)
        if not known:
            raise _refused(where, f"albumentations {A.__version__} has no transform of that name. Check its spelling.")
        if name not in FORWARD and not issubclass(kind, A.ImageOnlyTransform):
            raise _refused(where, "cannot be used: it moves pixels in a way that no rectangle follows")
        if "area_for_downscale" in kind.InitSchema.model_fields:
            arguments.setdefault("area_for_downscale", "image")  # to avoid aliasing
        accepted = inspect.signature(kind).parameters
        if unknown := set(arguments) - set(accepted):  # albumentations would only warn and ignore them
            raise _refused(where, f"takes no {', '.join(sorted(unknown))}; it takes {', '.join(accepted)}")
        transform = kind(**arguments)
        transform.apply_with_params = _TrackedApply(transform, FORWARD.get(name), where)
        _try(transform)
    except FAILURES as error:
        raise _refused(where, str(error)) from error
    return transform


def _try(transform: Any) -> None:
    """Run a transform once, so that one that cannot work fails before training."""
    draws = np.random.default_rng(0)
    transform.set_random_state(draws, random.Random(0))
    image = draws.integers(0, 256, (TRIAL_SIZE[1], TRIAL_SIZE[0], 3), dtype=np.uint8)
    transform(image=image, to_image=np.eye(3), force_apply=True)


def _refused(where: str, reason: str) -> UserError:
    return UserError(f"{where}: {' '.join(reason.split())}")


def _identity(transform: Any, params: Mapping[str, Any], before: Size, after: Size) -> np.ndarray:
    return np.eye(3)


def _scaled(transform: Any, params: Mapping[str, Any], before: Size, after: Size) -> np.ndarray:
    return np.diag([after[0] / before[0], after[1] / before[1], 1.0])


def _flipped_or_rotated(transform: Any, params: Mapping[str, Any], before: Size, after: Size) -> np.ndarray:
    """For flips and rotations by 90°: maps three corners as keypoints, which count from pixel centres."""
    corners = np.zeros((3, 5))
    corners[1, 0], corners[2, 1] = before
    corners[:, :2] -= 0.5
    moved = transform.apply_to_keypoints(corners, **params)[:, :2] + 0.5
    columns = [(moved[1] - moved[0]) / before[0], (moved[2] - moved[0]) / before[1], moved[0]]
    return np.vstack([np.column_stack(columns), [0, 0, 1]])


def _warped(transform: Any, params: Mapping[str, Any], before: Size, after: Size) -> np.ndarray:
    """For a matrix counted from pixel centres, and an optional crop after it."""
    cut = (params["x_min"], params["y_min"]) if getattr(transform, "crop_border", False) else (0, 0)
    return np.asarray(
        _shift(0.5 - cut[0], 0.5 - cut[1]) @ np.asarray(params["matrix"], dtype=float) @ _shift(-0.5, -0.5)
    )


def _padded(transform: Any, params: Mapping[str, Any], before: Size, after: Size) -> np.ndarray:
    return _shift(params["pad_left"], params["pad_top"])


def _cropped(transform: Any, params: Mapping[str, Any], before: Size, after: Size) -> np.ndarray:
    """For a crop, padded before it if needed, and optionally resized after it."""
    pad = params.get("pad_params") or {"pad_left": 0, "pad_top": 0}
    left, upper, right, lower = params["crop_coords"]
    scale = np.diag([after[0] / (right - left), after[1] / (lower - upper), 1.0])
    return np.asarray(scale @ _shift(pad["pad_left"] - left, pad["pad_top"] - upper))


def _cropped_and_padded(transform: Any, params: Mapping[str, Any], before: Size, after: Size) -> np.ndarray:
    left, upper = (params["crop_params"] or (0, 0))[:2]
    top, _, begin, _ = params["pad_params"] or (0, 0, 0, 0)
    height, width = params["result_shape"]
    return np.asarray(np.diag([after[0] / width, after[1] / height, 1.0]) @ _shift(begin - left, top - upper))


def _shift(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0, x], [0, 1.0, y], [0, 0, 1.0]])


FORWARD: dict[str, Forward] = {
    name: forward
    for forward, names in {
        _identity: "CoarseDropout Erasing GridDropout PixelDropout XYMasking Morphological NoOp",
        _flipped_or_rotated: "HorizontalFlip VerticalFlip Transpose D4 SquareSymmetry RandomRotate90",
        _warped: "Affine ShiftScaleRotate Rotate SafeRotate",
        _scaled: "Resize LongestMaxSize SmallestMaxSize RandomScale",
        _padded: "Pad PadIfNeeded",
        _cropped: "RandomCrop CenterCrop Crop RandomCropFromBorders RandomResizedCrop RandomSizedCrop",
        _cropped_and_padded: "CropAndPad",
    }.items()
    for name in names.split()
}
"""The maps of the transforms that can move pixels. Colours, noise and blur need none."""
