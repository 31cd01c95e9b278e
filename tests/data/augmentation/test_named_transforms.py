"""albumentations transforms by name: each map matches the pixels, and what has no map is refused."""

from __future__ import annotations

import pickle

import albumentations as A
import cv2
import numpy as np
import pytest

from rsam_app.config import AugmentConfig, TrainConfig
from rsam_app.data.augmentation.named_transforms import FORWARD, NamedTransforms
from rsam_app.data.augmentation.random_view import TrainAugment
from rsam_app.geometry.clipping import rectangle_in_view
from rsam_app.geometry.rectangles import corners
from rsam_app.geometry.types import Rectangle
from rsam_app.system.errors import UserError

WIDTH, HEIGHT = 210, 150
REFLECT = cv2.BORDER_REFLECT_101
ARGUMENTS = {
    "Affine": [
        {"rotate": [-40, 40], "scale": [0.8, 1.3], "translate_percent": [-0.1, 0.1], "shear": [-10, 10]},
        {"rotate": [-40, 40], "border_mode": REFLECT, "translate_percent": [0, 0]},
        {"rotate": 30, "fit_output": True},
    ],
    "ShiftScaleRotate": [{}],
    "Rotate": [{}, {"limit": 30, "crop_border": True}, {"border_mode": REFLECT, "limit": 20}],
    "Resize": [{"height": 96, "width": 70}, {"height": 300, "width": 333}],
    "LongestMaxSize": [{"max_size": 101}],
    "SmallestMaxSize": [{"max_size": 77}],
    "RandomScale": [{"scale_limit": 0.4}],
    "Pad": [{"padding": 9}],
    "PadIfNeeded": [{"min_height": 233, "min_width": 301}, {"min_height": 201, "min_width": 251, "position": "random"}],
    "RandomCrop": [
        {"height": 100, "width": 90},
        {"height": 301, "width": 99, "pad_if_needed": True, "pad_position": "random"},
    ],
    "CenterCrop": [{"height": 100, "width": 91}, {"height": 200, "width": 95, "pad_if_needed": True}],
    "Crop": [{"x_min": 11, "y_min": 7, "x_max": 120, "y_max": 111}],
    "RandomResizedCrop": [{"size": [96, 80]}, {"size": [90, 90], "scale": [0.5, 0.6]}],
    "RandomSizedCrop": [{"min_max_height": [70, 140], "size": [64, 64]}],
    "CropAndPad": [{"percent": [-0.2, 0.2]}, {"px": [-20, 20], "keep_size": False, "sample_independently": True}],
}
CASES = [(name, arguments) for name in FORWARD for arguments in ARGUMENTS.get(name, [{}])]


def marked(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Red encodes x, green y, and blue whether a pixel belongs to the image."""
    image = np.full((height, width, 3), 255, np.uint8)
    image[..., 0] = np.round((np.arange(width) + 0.5) * 255 / width)
    image[..., 1] = np.round((np.arange(height) + 0.5) * 255 / height)[:, None]
    return image


def mask_in_view(mask: np.ndarray, to_image: np.ndarray, size: int) -> np.ndarray:
    """A mask `(H, W)` of the image in the view, `(size, size)`; False beyond the image."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    by_index = to_image.astype(float) @ half - [[0, 0, 0.5], [0, 0, 0.5]]  # OpenCV counts from pixel centres
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(mask.astype(np.uint8), by_index, (size, size), flags=flags) > 0


def slip(view: np.ndarray, to_image: np.ndarray) -> float:
    """Return the largest error of a map, in image pixels, against the colours of a view of `marked`.

    Points beyond the image are not compared: a reflecting border repeats the image there.
    """
    sure = (view[..., 2] > 252) & (view[..., :2].min(axis=2) > 8) & (view[..., :2].max(axis=2) < 247)
    sure = cv2.erode(sure.astype(np.uint8), np.ones((5, 5)), borderValue=0).astype(bool)
    rows, columns = np.nonzero(sure)
    points = np.column_stack([columns + 0.5, rows + 0.5, np.ones(len(rows))])
    led = points @ to_image[:2].T
    inside = ((led > 4) & (led < (WIDTH - 4, HEIGHT - 4))).all(axis=1)
    assert inside.sum() > 150
    shown = view[rows, columns, :2] * (WIDTH / 255, HEIGHT / 255)
    seen = np.linalg.lstsq(points[inside], shown[inside], rcond=None)[0]
    return float(np.abs(points[inside] @ seen - led[inside]).max())


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=[f"{n}-{i}" for i, (n, _) in enumerate(CASES)])
def test_every_transform_that_may_be_named_says_where_its_pixels_come_from(name, arguments):
    named = NamedTransforms([{name: {**arguments, "p": 1.0}}], "here")
    small = name == "Morphological"  # widens bright areas, so that the marks themselves wander
    for seed in range(4):
        view, to_image = named(marked(), np.random.default_rng(seed))
        assert slip(view, to_image) < (1.6 if small else 0.25)


@pytest.mark.parametrize("seed", range(8))
def test_any_sequence_of_them_composes_with_the_crop_that_follows(seed):
    named = [
        {"OneOf": {"transforms": [{"Rotate": {"limit": 20, "p": 1}}, {"Transpose": {"p": 1}}], "p": 1}},
        {"SomeOf": {"transforms": [{"RandomScale": {"p": 1}}, {"HorizontalFlip": None}, {"D4": {"p": 1}}], "n": 2}},
        {"GaussNoise": {"std_range": [0.005, 0.01], "p": 0.5}},
        {"CropAndPad": {"percent": 0.05, "p": 0.5}},
    ]
    augments = [
        TrainAugment(AugmentConfig(extra=named, color=0, rotate=20), 128),
        TrainAugment(AugmentConfig(transforms=named), 128),
    ]
    for augment in augments:
        view, to_image = augment(marked(), (WIDTH, HEIGHT), (seed,))
        assert view.shape == (128, 128, 3)
        assert slip(view, to_image) < 0.4


@pytest.mark.parametrize("preset", ["none", "light", "standard", "strong"])
def test_what_presets_do_themselves_is_as_exact(preset):
    config = TrainConfig(augment=preset).augment  # type: ignore[arg-type]
    augment = TrainAugment(config.model_copy(update={"color": 0.0}), 96)
    for seed in range(6):
        view, to_image = augment(marked(), (WIDTH, HEIGHT), (seed,))
        assert slip(view, to_image) < 0.15


def test_masks_boxes_and_rectangles_are_carried_by_the_same_map():
    """albumentations' own mask is the reference: ours may differ only along the outline."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(mask, (100, 70), (60, 35), 20, 0, 360, 255, -1)
    named = NamedTransforms([{"Rotate": {"limit": [25, 25], "p": 1}}, {"HorizontalFlip": {"p": 1}}], "here")
    _, to_image = named(marked(), np.random.default_rng(0))
    theirs = A.Compose([A.Rotate(limit=(25, 25), p=1), A.HorizontalFlip(p=1)])(image=marked(), mask=mask)["mask"]
    ours = mask_in_view(mask > 0, to_image[:2], WIDTH)[:HEIGHT]
    assert (ours & (theirs > 0)).sum() / (ours | (theirs > 0)).sum() > 0.98


def test_a_box_in_a_turned_view_surrounds_what_it_surrounded():
    box = Rectangle(95.0, 65.0, 70.0, 50.0, 0.0)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[40:90, 60:130] = True
    square = {"CenterCrop": {"height": HEIGHT, "width": HEIGHT}}  # squashing would make the turned box oblique
    turned = [square, {"Affine": {"rotate": [30, 30], "p": 1}}, {"D4": {"p": 1}}]
    augment = TrainAugment(AugmentConfig(transforms=turned), 100)
    for seed in range(5):
        _, to_image = augment(marked(), (WIDTH, HEIGHT), (seed,))
        rectangle, share = rectangle_in_view(box, to_image, 100)
        drawn = np.zeros((100, 100), np.uint8)
        cv2.fillPoly(drawn, [np.round(corners(rectangle[None])[0].numpy() - 0.5).astype(np.int32)], 1)
        shown = mask_in_view(mask, to_image, 100)
        assert share > 0.99
        assert (shown & (drawn > 0)).sum() / (shown | (drawn > 0)).sum() > 0.9


def test_the_same_draws_whatever_was_drawn_before_and_in_another_process():
    config = AugmentConfig(extra=[{"GaussNoise": {"p": 0.5}}, {"CoarseDropout": {"p": 0.5}}, {"HorizontalFlip": None}])
    augment = TrainAugment(config, 64)
    first = [augment(marked(), (WIDTH, HEIGHT), (0, 3, i)) for i in range(6)]
    other = pickle.loads(pickle.dumps(augment))
    for i in (4, 1, 5):
        again = other(marked(), (WIDTH, HEIGHT), (0, 3, i))
        assert all(np.array_equal(a, b) for a, b in zip(again, first[i], strict=True))
    assert not np.array_equal(first[0][0], first[1][0])


def test_named_flips_fire_independently():
    """One seed for all children would fire both or neither."""
    named = NamedTransforms([{"HorizontalFlip": {"p": 0.5}}, {"VerticalFlip": {"p": 0.5}}], "here")
    maps = [named(marked(12, 8), np.random.default_rng((0, i)))[1] for i in range(300)]
    sides, upright = (np.array([m[k, k] < 0 for m in maps]) for k in (0, 1))
    assert 0.4 < sides.mean() < 0.6 and 0.4 < upright.mean() < 0.6
    assert abs(np.corrcoef(sides, upright)[0, 1]) < 0.2


def test_what_shrinks_does_not_alias():
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    for entry in ({"Resize": {"height": 90, "width": 90}}, {"RandomResizedCrop": {"size": [90, 90], "scale": [1, 1]}}):
        view, _ = NamedTransforms([entry], "here")(stripes, np.random.default_rng(0))
        assert view.astype(float).mean(axis=0).std() < 20  # sampling every fourth pixel or so would show bars


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"GausianBlur": {}}, ["here.0: GausianBlur", "no transform of that name"]),
        ({"GaussianBlur": {"sigma": 3}}, ["here.0: GaussianBlur", "takes no sigma", "blur_limit"]),
        ({"GaussianBlur": {"blur_limit": "wide"}}, ["here.0: GaussianBlur", "blur_limit"]),
        ({"ElasticTransform": {}}, ["here.0: ElasticTransform", "no rectangle follows"]),
        ({"Perspective": {}}, ["no rectangle follows"]),
        ({"RandomGridShuffle": {}}, ["no rectangle follows"]),
        ({"Lambda": {}}, ["no rectangle follows"]),
        ({"Normalize": {}}, ["Normalize", "float32", "normalised on the device"]),
        ({"ToFloat": {}}, ["float32"]),
        ({"ToGray": {"num_output_channels": 1}}, ["three channels"]),
        ({"RandomCrop": {"height": 5000, "width": 20}}, ["here.0: RandomCrop", "exceeds"]),
        ({"OneOf": {"transforms": [{"NoOp": {}}, {"Blurr": {}}]}}, ["here.0: OneOf.transforms.1: Blurr"]),
        ({"OneOf": {}}, ["transforms: [...]"]),
        ({"OneOf": {"transforms": [{"NoOp": {}}], "probability": 1}}, ["here.0: OneOf", "probability"]),
        ({"Compose": {}}, ["no transform of that name"]),
        ({"os": {}}, ["no transform of that name"]),
        ({"NoOp": {}, "Blur": {}}, ["one albumentations name per item"]),
        ({}, ["one albumentations name per item"]),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place_and_reason(entry, expected):
    with pytest.raises(UserError) as caught:
        NamedTransforms([entry], "here")
    message = str(caught.value)
    assert all(part in message for part in expected), message
    assert "\n" not in message


def test_an_image_too_small_for_a_crop_is_named():
    named = NamedTransforms([{"RandomCrop": {"height": 200, "width": 20}}], "here")
    with pytest.raises(UserError, match=r"here: on an image of 30 x 40: .*exceeds"):
        named(marked(30, 40), np.random.default_rng(0))
