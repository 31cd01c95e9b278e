"""albumentations by name, as pipelines write them, each with the exact affine of what it did to the pixels.

Its own keypoints would not do: they mean pixel *indices* in turns and *continuous* coordinates in crops, are scaled by
unrounded factors, and multiply at reflecting borders. So each transform's map is read from the parameters it drew.
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
"""What albumentations raises for arguments or images that it cannot use."""

GROUPS = ("OneOf", "SomeOf", "RandomOrder", "Sequential")
TRIAL = (1280, 1024)
"""Size of the image that every entry is tried on before training."""

Forward = Callable[[Any, Mapping[str, Any], Size, Size], np.ndarray]
"""The map `(3, 3)` from the pixels before to those after, from a transform, its parameters and the sizes."""


class NamedTransforms:
    """Transforms applied in order. Raises `UserError` that names the entry, below `key`, which cannot be used, and why:
    no such name or argument, pixels moved in a way that no rectangle follows, a result that is no 8-bit image."""

    def __init__(self, entries: Entries, key: str) -> None:
        self.key = key
        # seed=None: an integer would give every child the same stream, and a flip would always come with its twin.
        self.compose = A.Compose([_build(entry, f"{key}.{place}") for place, entry in enumerate(entries)], seed=None)

    def __call__(self, image: np.ndarray, draws: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """What became of `image` `(H, W, 3)` uint8, and the map `(3, 3)` from its pixels to those of `image`.

        Raises `UserError` where a transform refuses the image, such as a crop that is larger.
        """
        self.compose.set_random_state(draws, random.Random(int(draws.integers(2**62))))
        try:
            made = self.compose(image=np.array(image), to_image=np.eye(3))
        except FAILURES as error:
            raise _refused(self.key, f"on an image of {image.shape[1]} x {image.shape[0]}: {error}") from error
        return made["image"], made["to_image"]


class _Followed:
    """Stands in for a transform's `apply_with_params`: checks what comes out, and carries `to_image` along."""

    def __init__(self, transform: A.BasicTransform, forward: Forward | None, where: str) -> None:
        self.transform, self.forward, self.where = transform, forward, where

    def __call__(self, params: dict[str, Any], *unused: Any, **data: Any) -> dict[str, Any]:
        image, to_image = data["image"], data["to_image"]
        before: Size = (image.shape[1], image.shape[0])
        made = type(self.transform).apply_with_params(self.transform, dict(params), image=image)["image"]
        if not isinstance(made, np.ndarray) or made.dtype != np.uint8 or made.shape[2:] != (3,):
            found = f"{made.dtype} {tuple(made.shape)}"
            reason = f"makes {found}; images stay 8-bit with three channels, and are normalised on the device"
            raise _refused(self.where, reason)
        if self.forward:
            forward = self.forward(self.transform, params, before, (made.shape[1], made.shape[0]))
            to_image = to_image @ np.linalg.inv(forward)
        return {**data, "image": made, "to_image": to_image}


def _build(entry: Mapping[str, Mapping[str, Any] | None], where: str) -> Any:
    if len(entry) != 1:
        raise UserError(f"{where}: {dict(entry)}: expected one albumentations name per item, `- Name: {{…}}`.")
    name, given = next(iter(entry.items()))
    where, arguments = f"{where}: {name}", dict(given or {})
    kind: Any = getattr(A, name, None)
    try:
        if name in GROUPS:
            inner = arguments.pop("transforms", None)
            if not isinstance(inner, list) or not all(isinstance(one, dict) for one in inner):
                raise _refused(where, "needs `transforms: [...]`, a list of further entries")
            return kind([_build(one, f"{where}.transforms.{place}") for place, one in enumerate(inner)], **arguments)
        if not _is_transform(kind):
            raise UserError(f"{where}: albumentations {A.__version__} has no transform of that name.")
        if name not in FORWARD and not issubclass(kind, A.ImageOnlyTransform):
            raise _refused(where, "cannot be used, for it moves pixels in a way that no rectangle follows")
        if "area_for_downscale" in kind.InitSchema.model_fields:
            arguments.setdefault("area_for_downscale", "image")  # it would alias otherwise
        unknown = set(arguments) - set(inspect.signature(kind).parameters)
        if unknown:  # albumentations would warn and go on without them
            raise _refused(where, f"takes no {', '.join(sorted(unknown))}; it takes {_parameters(kind)}")
        transform = kind(**arguments)
        transform.apply_with_params = _Followed(transform, FORWARD.get(name), where)
        _try(transform)
    except FAILURES as error:
        raise _refused(where, str(error)) from error
    return transform


def _parameters(kind: type) -> str:
    return ", ".join(inspect.signature(kind).parameters)


def _is_transform(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, A.BasicTransform)


def _try(transform: Any) -> None:
    """On an image, so that what cannot work is known before training."""
    draws = np.random.default_rng(0)
    transform.set_random_state(draws, random.Random(0))
    image = draws.integers(0, 256, (TRIAL[1], TRIAL[0], 3), dtype=np.uint8)
    transform(image=image, to_image=np.eye(3), force_apply=True)


def _refused(where: str, reason: str) -> UserError:
    return UserError(f"{where}: {' '.join(reason.split())}")


def _stays(transform: Any, params: Mapping[str, Any], before: Size, after: Size) -> np.ndarray:
    return np.eye(3)


def _is_scaled(transform: Any, params: Mapping[str, Any], before: Size, after: Size) -> np.ndarray:
    return np.diag([after[0] / before[0], after[1] / before[1], 1.0])


def _is_turned(transform: Any, params: Mapping[str, Any], before: Size, after: Size) -> np.ndarray:
    """Mirrors and quarter turns: three corners by the transform's own keypoints, which count from pixel centres."""
    corners = np.zeros((3, 5))
    corners[1, 0], corners[2, 1] = before
    corners[:, :2] -= 0.5
    moved = transform.apply_to_keypoints(corners, **params)[:, :2] + 0.5
    columns = [(moved[1] - moved[0]) / before[0], (moved[2] - moved[0]) / before[1], moved[0]]
    return np.vstack([np.column_stack(columns), [0, 0, 1]])


def _is_warped(transform: Any, params: Mapping[str, Any], before: Size, after: Size) -> np.ndarray:
    """By a matrix that counts from pixel centres, and perhaps cut afterwards."""
    cut = (params["x_min"], params["y_min"]) if getattr(transform, "crop_border", False) else (0, 0)
    return _shift(0.5 - cut[0], 0.5 - cut[1]) @ np.asarray(params["matrix"], dtype=float) @ _shift(-0.5, -0.5)


def _is_padded(transform: Any, params: Mapping[str, Any], before: Size, after: Size) -> np.ndarray:
    return _shift(params["pad_left"], params["pad_top"])


def _is_cropped(transform: Any, params: Mapping[str, Any], before: Size, after: Size) -> np.ndarray:
    """Padded where it had to be, cut, and perhaps resized."""
    pad = params.get("pad_params") or {"pad_left": 0, "pad_top": 0}
    left, upper, right, lower = params["crop_coords"]
    scale = np.diag([after[0] / (right - left), after[1] / (lower - upper), 1.0])
    return scale @ _shift(pad["pad_left"] - left, pad["pad_top"] - upper)


def _is_cropped_and_padded(transform: Any, params: Mapping[str, Any], before: Size, after: Size) -> np.ndarray:
    left, upper = (params["crop_params"] or (0, 0))[:2]
    top, _, begin, _ = params["pad_params"] or (0, 0, 0, 0)
    height, width = params["result_shape"]
    return np.diag([after[0] / width, after[1] / height, 1.0]) @ _shift(begin - left, top - upper)


def _shift(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0, x], [0, 1.0, y], [0, 0, 1.0]])


FORWARD: dict[str, Forward] = {
    **dict.fromkeys(("CoarseDropout", "Erasing", "GridDropout", "PixelDropout", "XYMasking", "Morphological"), _stays),
    "NoOp": _stays,
    **dict.fromkeys(("HorizontalFlip", "VerticalFlip", "Transpose", "D4", "SquareSymmetry"), _is_turned),
    "RandomRotate90": _is_turned,
    **dict.fromkeys(("Affine", "ShiftScaleRotate", "Rotate", "SafeRotate"), _is_warped),
    **dict.fromkeys(("Resize", "LongestMaxSize", "SmallestMaxSize", "RandomScale"), _is_scaled),
    **dict.fromkeys(("Pad", "PadIfNeeded"), _is_padded),
    **dict.fromkeys(("RandomCrop", "CenterCrop", "Crop", "RandomCropFromBorders"), _is_cropped),
    **dict.fromkeys(("RandomResizedCrop", "RandomSizedCrop"), _is_cropped),
    "CropAndPad": _is_cropped_and_padded,
}
"""What moves pixels and how; colours, noise and blur move none."""
