"""What classifiers that never saw an image's label say about the image: the plainest sign of a wrong label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rsam_app.data.records import Dataset
from rsam_app.evaluation.scores.label_quality import label_quality
from rsam_app.training.training_dynamics import MOST_ENTRIES
from rsam_app.training.warm_start import logistic_regression

FOLDS, WORK = 10, 10**10
"""Classifiers at most, and at least two: as many as keep the product of images, features, classes and classifiers below
the second number (some ten seconds, twice). On birds ten found wrong labels among siblings with average precision .585,
five with .557."""
LENGTH, DECAY = 10.0, 3e-3
"""Length of the vectors and weight decay of the classifiers: weaker ones follow the wrong labels among those that they
see. On birds with a tenth of the labels wrong, average precision .944 (decay .001: .921; .0003: .882; three seeds)."""


def write_held_out_probabilities(path: Path, embeddings: np.ndarray, dataset: Dataset, seed: int) -> None:
    """Keep at `path` what is said about the training images, whose pretrained embeddings are `(N, D)`.

    The steadier those are, the better: averaged over augmented views (`FrozenFeatures.steadier_embeddings`), average
    precision with a tenth of the labels wrong went from .949 to .959 on birds and .847 to .884 on generated beetles,
    and from .612 to .683 between the beetles' siblings (two plantings each).
    """
    labels = torch.tensor([dataset.class_index[record.label] for record in dataset.split("train")])
    found = held_out_probabilities(torch.from_numpy(embeddings), labels, len(dataset.classes), seed)
    if found is not None:
        np.save(path, found)


def held_out_probabilities(features: Tensor, labels: Tensor, classes: int, seed: int) -> np.ndarray | None:
    """Class probabilities `(N, C)` float32 of each image by a linear classifier fitted to the others: up to `FOLDS` of
    them, each leaving out a stratified share of the images, drawn by `seed`.

    They are fitted twice. The second time an image counts by the `label_quality` that the first gave its label,
    relative to its class, so that suspect labels teach less and every class weighs what it did. With a tenth of the
    labels wrong, average precision (two plantings each) from .930 to .943 on birds, .958 to .967 on pets, .846 to .902
    on generated beetles; between siblings .563 to .634, .668 to .717, .547 to .618. Leaving the suspect out, counting
    by the square, without regard to the class, or a third time is better here and worse there. (ours)

    `features` `(N, D)` are pretrained ones, which know nothing of the labels `(N,)`. None where there are too many
    numbers to keep, or fewer than two images. (cross-validation as cleanlab wants it, Northcutt et al. 2021, arXiv
    1911.00068, at the price of a few linear fits instead of several trainings)
    """
    count = len(features)
    if count * classes > MOST_ENTRIES or count < 2:
        return None
    folds = int(np.clip(WORK // (features.numel() * classes), 2, min(FOLDS, count)))
    points = LENGTH * F.normalize(features.float(), dim=1)
    named = labels.cpu().numpy()
    shuffled = np.random.default_rng(seed).permutation(count)
    fold = np.empty(count, dtype=np.int64)
    fold[shuffled[np.argsort(named[shuffled], kind="stable")]] = np.arange(count) % folds
    first = _left_out(points, labels, classes, fold, np.ones(count))
    return _left_out(points, labels, classes, fold, relative_quality(label_quality(first, named), named, classes))


def relative_quality(quality: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """`quality` `(N,)` of each label by the mean of those that name its class: 1 on average in every class."""
    means = np.bincount(labels, quality, classes) / np.maximum(np.bincount(labels, minlength=classes), 1)
    usual = means[labels]
    relative: np.ndarray = np.divide(quality, usual, out=np.ones_like(usual), where=usual > 0)
    return relative


def _left_out(points: Tensor, labels: Tensor, classes: int, fold: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Probabilities `(N, C)` of the rows of each fold by a classifier of the other folds' rows, each counting as
    `counts` `(N,)` says."""
    found = np.empty((len(points), classes), dtype=np.float32)
    weights = torch.from_numpy(counts.astype(np.float32)).to(points.device)
    for number in range(fold.max() + 1):
        held = torch.from_numpy(fold == number).to(points.device)
        others = weights[~held] / weights[~held].mean()
        weight, bias, _ = logistic_regression(points[~held], labels[~held], classes, DECAY, others)
        found[fold == number] = torch.softmax(points[held] @ weight.T + bias, dim=1).cpu().numpy()
    return found
