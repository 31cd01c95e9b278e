"""Objectness taught by a reviewer: what is in the rectangles on the object, and not in those beside it, is the object.

The most salient thing in a photograph may be a wrong one, and then the objects that are found without answers are wrong
in nearly every image. A linear score of single positions, fitted to the answered images alone and strongly
regularised, finds the right one from about ten rectangles. Both scores, and their mean, are tried on the answers, each
answer located by a score that was not fitted to it; the best one marks the object in all other images, and objectness
is fitted to these and to the answers, which stay as they are. (self-training; ours)

All classes share the score: one per class beside it locates no better with a hundred answers about three classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rsam_app.data.records import Record
from rsam_app.geometry import rectangles as geometry
from rsam_app.geometry.boxes import mask_edges
from rsam_app.geometry.overlap import rasterise
from rsam_app.geometry.types import Rectangle
from rsam_app.run.answers import Answers
from rsam_app.training.decision_weights import TAUGHT_SHARE
from rsam_app.training.discovery.objectness import (
    UPSAMPLE,
    Objectness,
    feature_scale,
    fit_objectness,
    within_image,
)

DECAY = 0.03
"""Factor of the squared norm of a score's weights, beside the mean loss of a position. With 9 to 45 rectangles .01, .03
and .1 locate alike, .001 worse, and a linear discriminant with the covariance of all positions much worse."""

ITERATIONS = 25
"""Iterations of L-BFGS, enough with this regularisation."""

FOLDS = 5

SAMPLE = 256
"""Images beside the answered ones that scores are calibrated on to compare them, so that the time does not grow with
the dataset."""

FINE = 128
"""Side of the grid that rectangles are drawn on before their share of each cell is taken."""

MARGIN = 0.5
"""A cut may leave the located part by this share of the part's sides."""


@dataclass(frozen=True)
class Lessons:
    """Answers on feature maps: the images' `rows` `(n,)`, the share of each cell that the rectangle covers, `covers`
    `(n, H, W)`, and whether it is on the object, `right` `(n,)`."""

    rows: Tensor
    covers: Tensor
    right: Tensor

    def take(self, chosen: Tensor) -> Lessons:
        """Some of the lessons."""
        return Lessons(self.rows[chosen], self.covers[chosen], self.right[chosen])

    @property
    def targets(self) -> Tensor:
        """The probability `(n, H, W)` that a cell is on the object. Beside a wrong rectangle it is even, as if the
        object were as large as the rectangle and anywhere else."""
        outside = 1 - self.covers
        elsewhere = self.covers.sum(dim=(1, 2), keepdim=True) / outside.sum(dim=(1, 2), keepdim=True).clamp_min(1e-6)
        return torch.where(self.right[:, None, None], self.covers, outside * elsewhere.clamp_max(0.5))

    def impose(self, masks: Tensor) -> Tensor:
        """Replace the masks `(N, H, W)` of images with a right rectangle by it, and remove wrong ones from theirs."""
        imposed = masks.clone()
        imposed[self.rows] = torch.where(self.right[:, None, None], self.covers, masks[self.rows] * (1 - self.covers))
        return imposed

    def merits(self, masks: Tensor) -> Tensor:
        """How well masks `(n, H, W)` of the answered images agree with the answers, in [-1, 1]: the IoU with a right
        rectangle, minus that with a wrong one."""
        shared, either = torch.minimum(masks, self.covers), torch.maximum(masks, self.covers)
        ious = shared.sum(dim=(1, 2)) / either.sum(dim=(1, 2)).clamp_min(1e-6)
        return torch.where(self.right, ious, -ious)


def make_lessons(answers: Answers, records: Sequence[Record], height: int, width: int) -> Lessons:
    """The answers about `records` on maps of `height × width` cells. A right rectangle makes a wrong one in its image
    superfluous; one that covers nothing teaches nothing."""
    rows, covers, right = [], [torch.zeros(0, height, width)], []
    for row, record in enumerate(records):
        rectangle = answers.right.get(record.id) or answers.wrong.get(record.id)
        cover = _cover(rectangle, record, height, width) if rectangle else torch.zeros(height, width)
        if cover.any():
            rows.append(row)
            covers.append(cover[None])
            right.append(record.id in answers.right)
    return Lessons(torch.tensor(rows, dtype=torch.long), torch.cat(covers), torch.tensor(right, dtype=torch.bool))


def teach(untaught: Objectness, features: Tensor, lessons: Lessons, seed: int) -> Objectness:
    """Objectness `untaught` for features `(N, C, H, W)` of many images, changed by a reviewer's lessons; itself without
    any, and if it agrees best with them."""
    if not len(lessons.rows):
        return untaught
    scale = feature_scale(features)
    share = float(lessons.covers[lessons.right].mean()) if lessons.right.any() else _found_share(untaught, features)
    objectness = _choose(untaught, features, lessons, scale, share)
    if objectness is untaught:
        return untaught
    weights = torch.full((len(features),), (1 - TAUGHT_SHARE) / len(features))
    weights[lessons.rows] += TAUGHT_SHARE / len(lessons.rows)
    masks = _part_masks(objectness.with_share(features, share), features)
    return fit_objectness(features, lessons.impose(masks), seed, weights).with_share(features, share)


def focused(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities `(H, W)`, 0 outside the neighbourhood of the most likely part."""
    enlarged = cv2.resize(
        probabilities.astype(np.float32), None, fx=UPSAMPLE, fy=UPSAMPLE, interpolation=cv2.INTER_CUBIC
    )
    clipped = np.clip(enlarged, 1e-3, 1 - 1e-3)
    left, top, right, bottom = mask_edges(_best_part(np.log(clipped / (1 - clipped))))[0] / UPSAMPLE
    across, down = MARGIN * max(1, right - left), MARGIN * max(1, bottom - top)
    rows = slice(max(0, int(np.floor(top - down))), int(np.ceil(bottom + down)))
    columns = slice(max(0, int(np.floor(left - across))), int(np.ceil(right + across)))
    result = np.zeros_like(probabilities)
    result[rows, columns] = probabilities[rows, columns]
    return result


def fit_to_answers(features: Tensor, lessons: Lessons, scale: Tensor) -> Objectness:
    """A linear score of the positions of the answered images' features `(n, C, H, W)`, fitted to the lessons only."""
    inputs = (within_image(features) / scale[:, None, None]).permute(0, 2, 3, 1).reshape(-1, len(scale))
    targets = lessons.targets.reshape(-1)
    weight = torch.zeros(len(scale), requires_grad=True)
    bias = torch.zeros((), requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        solver.zero_grad()
        loss = F.binary_cross_entropy_with_logits(inputs @ weight + bias, targets) + DECAY * weight.square().sum()
        loss.backward()
        return loss

    solver.step(objective)
    return Objectness(scale, weight.detach(), bias.item())


def _choose(untaught: Objectness, features: Tensor, lessons: Lessons, scale: Tensor, share: float) -> Objectness:
    """The untaught score, the taught one or their mean: the one that agrees best with held-out answers."""
    taught = fit_to_answers(features[lessons.rows], lessons, scale)
    candidates = (untaught, _mean(untaught, taught, features), taught)
    if len(lessons.rows) < 2:
        return candidates[1]
    sample = torch.cat([features[lessons.rows], features[:SAMPLE]])
    at = Lessons(torch.arange(len(lessons.rows)), lessons.covers, lessons.right)
    return candidates[best_kind(held_out_merits(untaught, within_image(sample), at, scale, share))]


def held_out_merits(
    untaught: Objectness, features: Tensor, lessons: Lessons, scale: Tensor, share: float, parts: int = 1
) -> np.ndarray:
    """How well the untaught score, its mean with a taught one, and the taught one agree with each lesson, as
    `Lessons.merits`: `(3, n)`.

    The taught score is fitted to the lessons of the other folds, divided into `parts`: to one part at a time, and the
    merits are the means over the parts.
    """
    answered = features[lessons.rows]
    merits = np.zeros((3, len(lessons.rows)))
    folds = torch.arange(len(lessons.rows)) % FOLDS
    for fold in folds.unique().tolist():
        tested, others = folds == fold, torch.nonzero(folds != fold)[:, 0]
        for part in range(parts):
            chosen = others[part::parts]
            fitted = fit_to_answers(answered[chosen], lessons.take(chosen), scale)
            scores = [one.with_share(features, share) for one in (_mean(untaught, fitted, features), fitted)]
            for kind, score in enumerate((untaught, *scores)):
                boxes = _boxes_around(_part_masks(score, answered[tested]))
                merits[kind, tested.numpy()] += lessons.take(tested).merits(boxes).numpy() / parts
    return merits


def best_kind(merits: np.ndarray) -> int:
    """The row of `held_out_merits` to use. It must be better than the one before it by a standard error, so that few
    answers do not undo what many images have in common."""
    best = 0
    for kind in (1, 2):
        gain = merits[kind] - merits[best]
        if gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)):
            best = kind
    return best


def _boxes_around(masks: Tensor) -> Tensor:
    """The upright boxes around masks `(N, H, W)`, as masks; in each direction cells count as far as the mask reaches
    into them."""
    return masks.amax(dim=2)[:, :, None] * masks.amax(dim=1)[:, None, :]


def _part_masks(objectness: Objectness, features: Tensor) -> Tensor:
    """For each image the share `(N, H, W)` of each cell that is in the part that looks most like the object."""
    masks = []
    for batch in features.split(256):
        scores = F.interpolate(objectness.score(batch)[:, None], scale_factor=UPSAMPLE, mode="bicubic")[:, 0]
        parts = torch.from_numpy(np.stack([_best_part(score) for score in scores.numpy()])).float()
        masks.append(F.interpolate(parts[:, None], size=features.shape[2:], mode="area")[:, 0])
    return torch.cat(masks)


def _mean(first: Objectness, second: Objectness, features: Tensor) -> Objectness:
    """The mean of two scores, each divided by its spread over the features; one without any counts for nothing."""
    weight = sum(one.weight / one.scale / _spread(one, features) for one in (first, second))
    return Objectness(torch.ones_like(first.scale), torch.as_tensor(weight), 0.0)


def _spread(objectness: Objectness, features: Tensor) -> float:
    spread = float(torch.cat([objectness.score(part) for part in features[:256].split(64)]).std())
    return spread or torch.inf


def _found_share(objectness: Objectness, features: Tensor) -> float:
    return float(torch.cat([objectness.score(part) > 0 for part in features.split(256)]).float().mean())


def _best_part(score: np.ndarray) -> np.ndarray:
    """The connected part of the positive scores `(H, W)` with the largest sum; the highest one if none is positive."""
    positive = (score > 0 if score.max() > 0 else score == score.max()).astype(np.uint8)
    count, labels = cv2.connectedComponents(positive, connectivity=4)
    sums = np.bincount(labels.ravel(), np.clip(score, 1e-6, None).ravel(), minlength=count)
    best: np.ndarray = labels == 1 + sums[1:].argmax()
    return best


def _cover(rectangle: Rectangle, record: Record, height: int, width: int) -> Tensor:
    """The share `(height, width)` of each cell that a rectangle covers."""
    values = torch.tensor([rectangle], dtype=torch.float64)
    scaled = geometry.transform(values, geometry.scaling(FINE / record.width, FINE / record.height, values))
    drawn = torch.from_numpy(rasterise(scaled[0].numpy(), FINE, FINE)).float()
    return F.interpolate(drawn[None, None], size=(height, width), mode="area")[0, 0]
