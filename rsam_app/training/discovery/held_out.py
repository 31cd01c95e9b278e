"""The worth of a score fitted to a reviewer's answers: its agreement with answers that it was not fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rsam_app.training.discovery.lessons import Lessons
from rsam_app.training.discovery.objectness import Objectness, shifted_to_share, spread_of, within_image
from rsam_app.training.discovery.parts import boxes_around, part_masks

DECAY = 0.03
"""Factor of the squared norm of a score's weights, beside the mean loss of a position. With 9 to 45 rectangles .01, .03
and .1 locate alike, .001 worse, and a linear discriminant with the covariance of all positions much worse."""

ITERATIONS = 25
"""Iterations of L-BFGS, enough with this regularisation."""

FOLDS = 5

SAMPLE = 256
"""Images beside the answered ones that scores are calibrated on to compare them, so that the time does not grow with
the dataset."""


@dataclass(frozen=True)
class Trial:
    """The lessons on a sample: `features` `(M, C, H, W)`, float32 and relative to their image's mean, those of the
    answered images first, and the score `untaught` `(M, H, W)` there; features are divided by `scale` `(C,)`, and
    `share` of all positions counts as the object."""

    features: Tensor
    lessons: Lessons
    scale: Tensor
    share: float
    untaught: Tensor

    @classmethod
    def of(cls, untaught: Objectness, features: Tensor, lessons: Lessons, scale: Tensor, share: float) -> Trial:
        """The trial of lessons about features `(N, C, H, W)` of many images."""
        sample = within_image(torch.cat([features[lessons.rows], features[:SAMPLE]]))
        first = Lessons(torch.arange(len(lessons.rows)), lessons.covers, lessons.right)
        return cls(sample, first, scale, share, untaught.score(sample))

    @cached_property
    def all_others(self) -> np.ndarray:
        """`merits` of scores fitted to all lessons of the other folds."""
        return self.merits(1)

    def merits(self, parts: int) -> np.ndarray:
        """How well the untaught score, its mean with a taught one, and the taught one agree with each lesson, as
        `Lessons.merits`: `(3, n)`.

        The taught score is fitted to the lessons of the other folds, divided into `parts`: to one part at a time, and
        the merits are the means over the parts.
        """
        rows, lessons = self.lessons.rows, self.lessons
        merits = np.zeros((3, len(rows)))
        merits[0] = lessons.merits(boxes_around(part_masks(self.untaught[rows]))).numpy()
        folds = rows % FOLDS
        for fold in folds.unique().tolist():
            tested, others = folds == fold, torch.nonzero(folds != fold)[:, 0]
            for part in range(parts):
                chosen = lessons.take(others[part::parts])
                taught = fit_to_answers(self.features[chosen.rows], chosen, self.scale).score(self.features)
                mean = self.untaught / spread_of(self.untaught) + taught / spread_of(taught)
                for kind, scores in ((1, mean), (2, taught)):
                    boxes = boxes_around(part_masks(shifted_to_share(scores, self.share)[rows[tested]]))
                    merits[kind, tested.numpy()] += lessons.take(tested).merits(boxes).numpy() / parts
        return merits


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


def best_kind(merits: np.ndarray) -> int:
    """The row of `Trial.merits` to use. It must be better than the one before it by a standard error, so that few
    answers do not undo what many images have in common."""
    best = 0
    for kind in (1, 2):
        gain = merits[kind] - merits[best]
        if gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)):
            best = kind
    return best
