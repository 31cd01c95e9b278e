"""Discovery of one object per training image, as a rectangle, from a pretrained backbone's features and without boxes.

Coarse objectness, a linear classifier of single positions over all images, and GrabCut, which follows colours and edges
within one image, teach each other: objectness is fitted to the cut masks and starts the next cut. On 1,500 photographs
of birds this raises the boxes' mean overlap with the true ones from .59 to .66, on 356 of cats and dogs from .57 to
.64, with three iterations of GrabCut. (ours)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rsam_app.data.records import Record
from rsam_app.geometry import rectangles as geometry
from rsam_app.geometry.boxes import mask_edges
from rsam_app.geometry.types import Rectangle
from rsam_app.run.answers import Answers
from rsam_app.run.outlook import Outlook
from rsam_app.system.hardware import available_cores
from rsam_app.training.discovery.learning_curve import find_outlook
from rsam_app.training.discovery.lessons import make_lessons
from rsam_app.training.discovery.objectness import UPSAMPLE, Objectness, fit_objectness, largest_part, learn_objectness
from rsam_app.training.discovery.parts import focused
from rsam_app.training.discovery.taught import teach, try_lessons
from rsam_app.training.features.late_stages import CachedLateStages
from rsam_app.training.features.source import FeatureSource

SIDE, ITERATIONS = 128, 1
"""Side in pixels of the square image that GrabCut cuts, and its iterations. One iteration finds boxes of birds as well
as three in two thirds of the time."""

LEARNING_SIDE = 96
"""Side of a square with as many pixels as GrabCut gets at most while objectness is learned; see `MAX_CUT`."""

TAUGHT_SIDE = 80
"""As `LEARNING_SIDE`, around a taught object. The mean IoU with the true boxes is that with 128: birds .633 and .631,
pets .637 and .636 (23 answers, two draws); with 64 pets have .633."""

MAX_CUT = 500
"""Images whose cuts objectness is learned from. With these and `LEARNING_SIDE`, at 320 pixels and without boxes, 1,344
birds have a mean IoU of .625 and 613 pets .550 (MobileNetV2), and 1,347 birds .613 (EfficientNet-Lite0). All images on
128 pixels have .619, .545 and .617, and on the birds take four times as long to learn from."""

MAX_LEARNED_IMAGES = 2000
"""Images that objectness is learned from, so that memory does not grow with the dataset."""

MIN_SHARE, MAX_SHARE = 0.01, 0.9
"""Shares of the image between which an object is plausible."""

RETAINED_SHARE = 0.8
"""After each round, the share of the area found first that objectness is calibrated to: a coarse map extends past the
object, and uncalibrated rounds would find ever less."""

CERTAIN, LAST_CERTAIN = (0.02, 0.98), (0.05, 0.95)
"""Probabilities below and above which GrabCut takes a pixel as certain, while learning and for the last cut."""

OBJECT = (cv2.GC_FGD, cv2.GC_PR_FGD)
"""GrabCut's states of pixels of the object."""

NO_ANSWERS = Answers()


@dataclass(frozen=True)
class Discovery:
    """Rectangles in image pixels by record id, and the outlook of the answers if there were any."""

    rectangles: dict[str, Rectangle]
    outlook: Outlook | None


def discover_rectangles(
    source: FeatureSource | CachedLateStages,
    records: Sequence[Record],
    size: int,
    seed: int,
    answers: Answers = NO_ANSWERS,
    untaught: Objectness | None = None,
    located_untaught: Mapping[str, Rectangle] | None = None,
) -> Discovery:
    """Discover rectangles at `size` pixels; images without a plausible object have none.

    A reviewer's answers teach what to look for; their right rectangles are returned as they are. All images of the
    answers are learned from, beside `MAX_LEARNED_IMAGES` at most. `untaught` is the result of `learn_untaught`, and
    `located_untaught` are the rectangles found without answers, with the same arguments, if at hand.
    """
    answers = answers.among(records)
    chosen = _learned(len(records), seed)
    chosen |= {i for i, r in enumerate(records) if r.id in answers.right or r.id in answers.wrong}
    ordered = [records[i] for i in sorted(chosen)] + [r for i, r in enumerate(records) if i not in chosen]
    maps: list[Tensor] = []
    images: list[np.ndarray] = []
    rectangles: list[Rectangle | None] = []
    objectness: Objectness | None = None
    outlook: Outlook | None = None
    for batch_maps, batch_images in source.late_stages(ordered, size, SIDE):
        maps.append(batch_maps)
        images.append(batch_images)
        if objectness is None and sum(map(len, maps)) < len(chosen):
            continue
        part_maps, part_images = torch.cat(maps), np.concatenate(images)
        if objectness is None:
            untaught = untaught or _learn(part_maps, part_images, source.last_stage_channels(), seed)
            lessons = make_lessons(answers, ordered[: len(part_maps)], *part_maps.shape[2:])
            objectness = untaught
            if answers:
                trial = try_lessons(untaught, part_maps, lessons)
                objectness, outlook = teach(untaught, part_maps, lessons, trial, seed), find_outlook(trial)
            if objectness is untaught and located_untaught is not None:
                return Discovery({**located_untaught, **answers.right}, outlook)
        part_records = ordered[len(rectangles) : len(rectangles) + len(part_maps)]
        rectangles += locate_objects(objectness, part_maps, part_images, part_records, seed, objectness is not untaught)
        maps, images = [], []
    found = {r.id: rectangle for r, rectangle in zip(ordered, rectangles, strict=True) if rectangle is not None}
    return Discovery(found | dict(answers.right), outlook)


def learn_untaught(
    source: FeatureSource | CachedLateStages, records: Sequence[Record], size: int, seed: int
) -> Objectness:
    """The objectness that `discover_rectangles` learns before any answers."""
    learned = [records[i] for i in sorted(_learned(len(records), seed))]
    maps, images = zip(*source.late_stages(learned, size, SIDE), strict=True)
    return _learn(torch.cat(maps), np.concatenate(images), source.last_stage_channels(), seed)


def _learned(count: int, seed: int) -> set[int]:
    return set(np.random.default_rng(seed).permutation(count)[:MAX_LEARNED_IMAGES].tolist())


def _learn(maps: Tensor, images: np.ndarray, channels: int | None, seed: int) -> Objectness:
    objectness = learn_objectness(maps, channels or maps.shape[1], seed)
    chosen = np.sort(np.random.default_rng(seed).random(len(maps)).argsort()[:MAX_CUT])  # more maps hardly change it
    cut_maps, cut_images = maps[torch.from_numpy(chosen)], images[chosen]
    share = RETAINED_SHARE * float(torch.cat([objectness.score(p) > 0 for p in maps.split(256)]).float().mean())
    for _ in range(2):
        cut = cut_out(cut_images, _probabilities(objectness, cut_maps), CERTAIN, seed, LEARNING_SIDE)
        masks = torch.from_numpy(np.stack(cut)).float()[:, None]
        coarse = F.interpolate(masks, size=maps.shape[2:], mode="area")[:, 0]
        objectness = fit_objectness(cut_maps, coarse, objectness.scale, seed).with_share(maps, share)
    return objectness


def locate_objects(
    objectness: Objectness, maps: Tensor, images: np.ndarray, records: Sequence[Record], seed: int, taught: bool
) -> list[Rectangle | None]:
    """The rectangle in image pixels of each record's object, None without a plausible one, from late maps
    `(N, C, H, W)` and images `(N, SIDE, SIDE, 3)`. With `taught` objectness it is the part that looks most like the
    object, else the largest."""

    def locate(image: np.ndarray, coarse: np.ndarray, record: Record) -> Rectangle | None:
        coarse = focused(coarse) if taught else coarse
        cut = _cut_one(image, coarse, LAST_CERTAIN, seed, TAUGHT_SIDE if taught else SIDE)
        return fit_rectangle(cut, coarse, record.width, record.height)

    with ThreadPoolExecutor(available_cores()) as pool:
        return list(pool.map(locate, images, _probabilities(objectness, maps), records))


def _probabilities(objectness: Objectness, maps: Tensor) -> np.ndarray:
    probabilities: np.ndarray = torch.cat([objectness.probability(part) for part in maps.split(256)]).numpy()
    return probabilities


def cut_out(
    images: np.ndarray, probabilities: np.ndarray, certain: tuple[float, float], seed: int, limit: int = SIDE
) -> list[np.ndarray]:
    """Masks `(SIDE, SIDE)`, bool, of the objects in images `(N, SIDE, SIDE, 3)` uint8, one connected part each.

    GrabCut (Rother et al. 2004; OpenCV's) starts from the enlarged probabilities `(N, h, w)`: below the first number of
    `certain` a pixel is background and above the second it is object; in between, colours and edges decide. Where
    all probabilities are 0, it does not look. GrabCut gets at most `limit`² pixels of each. The result does not
    depend on the number of threads.
    """
    with ThreadPoolExecutor(available_cores()) as pool:
        return list(pool.map(lambda one, p: _cut_one(one, p, certain, seed, limit), images, probabilities))


def _cut_one(
    image: np.ndarray, probability: np.ndarray, certain: tuple[float, float], seed: int, limit: int = SIDE
) -> np.ndarray:
    """`cut_out` of one image, at a resolution at which the part to search has at most `limit`² pixels."""
    enlarged = cv2.resize(probability.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    state = np.where(enlarged > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    state[enlarged < certain[0]] = cv2.GC_BGD
    state[enlarged > certain[1]] = cv2.GC_FGD
    start = (state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)
    window = _window(probability)
    cut = np.zeros_like(start)
    cut[window] = _grab_cut(image[window], state[window], seed, limit)
    return largest_part(cut if cut.any() else start)


def _grab_cut(image: np.ndarray, state: np.ndarray, seed: int, limit: int) -> np.ndarray:
    """The object `(H, W)`, bool, in an image `(H, W, 3)` with GrabCut's state `(H, W)`, on at most `limit`² pixels."""
    height, width = state.shape
    shrink = min(1.0, limit / np.sqrt(height * width))
    size = (max(1, round(shrink * width)), max(1, round(shrink * height)))
    pixels = np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    labels = np.array(cv2.resize(state, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
    if len(np.unique(np.isin(labels, OBJECT))) > 1:  # else one of the two colour models would have no pixels
        cv2.setRNGSeed(seed)  # per thread, for the initial clusters of the colour models
        colours = (np.zeros((1, 65)), np.zeros((1, 65)))
        unused = (0, 0, 1, 1)
        cv2.grabCut(pixels, labels, unused, *colours, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    found = np.isin(labels, OBJECT).astype(np.float32)
    enlarged: np.ndarray = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
    return enlarged


def _window(probability: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the image of `SIDE` pixels around the probabilities `(h, w)` above 0, and a cell more."""
    edges = mask_edges(probability > 0)
    if not len(edges):
        return slice(0, SIDE), slice(0, SIDE)
    (left, top, right, bottom), (height, width) = edges[0], probability.shape
    rows = slice(round(max(0, top - 1) * SIDE / height), round(min(height, bottom + 1) * SIDE / height))
    return rows, slice(round(max(0, left - 1) * SIDE / width), round(min(width, right + 1) * SIDE / width))


def fit_rectangle(cut: np.ndarray, coarse: np.ndarray, width: int, height: int) -> Rectangle | None:
    """The rectangle, in pixels of a `width × height` image, of an object's cut mask `(SIDE, SIDE)` and its coarse
    probabilities `(h, w)`; None if the mask covers almost nothing or everything.

    Angle and aspect ratio are those of the mask's moments. The centre, and the area of the upright box around the
    rectangle, are those of the mean of both masks' boxes: the cut is sharper, but the coarse mask never leaks along a
    branch.
    """
    rough = largest_part(cv2.resize(coarse.astype(np.float32), None, fx=UPSAMPLE, fy=UPSAMPLE) > 0.5)
    if not MIN_SHARE <= cut.mean() <= MAX_SHARE or not rough.any():
        return None
    box = (_extent(cut) + _extent(rough)) / 2 * (width, height, width, height)
    shape = (max(1, round(SIDE * width / max(width, height))), max(1, round(SIDE * height / max(width, height))))
    in_proportion = cv2.resize(cut.astype(np.float32), shape, interpolation=cv2.INTER_AREA)
    moments = geometry.from_moments(torch.from_numpy(in_proportion[None]))
    shaped = geometry.transform(moments, geometry.scaling(width / shape[0], height / shape[1], moments))
    around = geometry.bounding_boxes(shaped)[0, 2:]
    scale = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1]) / float(around[0] * around[1])))
    _, _, w, h, angle = (float(v) for v in shaped[0])
    return Rectangle(float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2, w * scale, h * scale, angle)


def _extent(mask: np.ndarray) -> np.ndarray:
    """Left, top, right and bottom `(4,)` of a non-empty mask, as shares of its sides."""
    height, width = mask.shape
    shares: np.ndarray = mask_edges(mask)[0] / (width, height, width, height)
    return shares
