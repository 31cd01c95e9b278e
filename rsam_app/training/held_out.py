"""What classifiers that never saw an image's label say about the image: the plainest sign of a wrong label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rsam_app.data.records import DataSet
from rsam_app.training.dynamics import MOST_ENTRIES
from rsam_app.training.warm_start import logistic_regression

FOLDS, WORK = 10, 2 * 10**10
"""Classifiers at most, and at least two: as many as keep the product of images, features, classes and classifiers below
the second number (some ten seconds). On birds ten found wrong labels among siblings with average precision .585, five
with .557."""
LENGTH, DECAY = 10.0, 3e-3
"""Length of the vectors and weight decay of the classifiers: weaker ones follow the wrong labels among those that they
see. On birds with a tenth of the labels wrong, average precision .944 (decay .001: .921; .0003: .882; three seeds)."""


def keep_held_out(path: Path, embeddings: np.ndarray, dataset: DataSet, seed: int) -> None:
    """Keep at `path` what is said about the training images, whose pretrained embeddings are `(N, D)`."""
    labels = torch.tensor([dataset.class_index[record.label] for record in dataset.split("train")])
    found = held_out_probabilities(torch.from_numpy(embeddings), labels, len(dataset.classes), seed)
    if found is not None:
        np.save(path, found)


def held_out_probabilities(features: Tensor, labels: Tensor, classes: int, seed: int) -> np.ndarray | None:
    """Class probabilities `(N, C)` float32 of each image by a linear classifier fitted to the others: up to `FOLDS` of
    them, each leaving out a stratified share of the images, drawn by `seed`.

    `features` `(N, D)` are pretrained ones, which know nothing of the labels `(N,)`. None where there are too many
    numbers to keep, or fewer than two images. (cross-validation as cleanlab wants it, Northcutt et al. 2021, arXiv
    1911.00068, at the price of a few linear fits instead of several trainings)
    """
    count = len(features)
    if count * classes > MOST_ENTRIES or count < 2:
        return None
    folds = int(np.clip(WORK // (features.numel() * classes), 2, min(FOLDS, count)))
    points = LENGTH * F.normalize(features.float(), dim=1)
    shuffled = np.random.default_rng(seed).permutation(count)
    by_class = shuffled[np.argsort(labels.cpu().numpy()[shuffled], kind="stable")]
    fold = np.empty(count, dtype=np.int64)
    fold[by_class] = np.arange(count) % folds
    found = np.empty((count, classes), dtype=np.float32)
    for number in range(folds):
        held = torch.from_numpy(fold == number).to(points.device)
        weight, bias, _ = logistic_regression(points[~held], labels[~held], classes, DECAY)
        found[fold == number] = torch.softmax(points[held] @ weight.T + bias, dim=1).cpu().numpy()
    return found
