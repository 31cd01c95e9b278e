"""Objectness taught by a reviewer: what is in the rectangles on the object, and not in those beside it, is the object.

The most salient thing in a photograph may be a wrong one, and then the objects that are found without answers are wrong
in nearly every image. A linear score of single positions, fitted to the answered images alone and strongly
regularised, finds the right one from about ten rectangles. Both scores, and their mean, are tried on the answers, each
answer located by a score that was not fitted to it; the best one marks the object in all other images, and objectness
is fitted to these and to the answers, which stay as they are. (self-training; ours)

All classes share the score: one per class beside it locates no better with a hundred answers about three classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rsam_app.training.decision_weights import TAUGHT_SHARE
from rsam_app.training.discovery.held_out import Trial, best_kind, fit_to_answers
from rsam_app.training.discovery.lessons import Lessons
from rsam_app.training.discovery.objectness import Objectness, feature_scale, fit_objectness, spread_of
from rsam_app.training.discovery.parts import part_masks


def try_lessons(untaught: Objectness, features: Tensor, lessons: Lessons) -> Trial:
    """The trial of a reviewer's lessons about features `(N, C, H, W)` of many images."""
    if lessons.right.any():
        share = float(lessons.covers[lessons.right].mean())
    else:
        share = float((_scores(untaught, features) > 0).float().mean())
    return Trial.of(untaught, features, lessons, feature_scale(features), share)


def teach(untaught: Objectness, features: Tensor, lessons: Lessons, trial: Trial, seed: int) -> Objectness:
    """Objectness `untaught` for features `(N, C, H, W)` of many images, changed by a reviewer's lessons as their trial
    supports; itself without any, and if it agrees best with them."""
    kind = 0 if not len(lessons.rows) else 1 if len(lessons.rows) < 2 else best_kind(trial.all_others)
    if kind == 0:
        return untaught
    objectness = fit_to_answers(features[lessons.rows], lessons, trial.scale)
    if kind == 1:
        objectness = _mean(untaught, objectness, features)
    weights = torch.full((len(features),), (1 - TAUGHT_SHARE) / len(features))
    weights[lessons.rows] += TAUGHT_SHARE / len(lessons.rows)
    masks = part_masks(_scores(objectness.with_share(features, trial.share), features))
    taught = fit_objectness(features, lessons.impose(masks), trial.scale, seed, weights)
    return taught.with_share(features, trial.share)


def _mean(first: Objectness, second: Objectness, features: Tensor) -> Objectness:
    """The mean of two scores, each divided by its spread over some of the features."""
    spreads = [spread_of(_scores(one, features[:256])) for one in (first, second)]
    weight = sum(one.weight / one.scale / spread for one, spread in zip((first, second), spreads, strict=True))
    return Objectness(torch.ones_like(first.scale), torch.as_tensor(weight), 0.0)


def _scores(objectness: Objectness, features: Tensor) -> Tensor:
    return torch.cat([objectness.score(part) for part in features.split(256)])
