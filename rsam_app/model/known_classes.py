"""Known classes: how unlike every class that the model has learned an image is, as a number with a meaning."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.special import logsumexp

from rsam_app.geometry.types import Floats
from rsam_app.system.errors import UserError, reason_of
from rsam_app.system.files import replace_atomically


@dataclass(frozen=True)
class KnownClasses:
    """The classes in a model's embedding, and how far held-out images of them are: images it was not trained on.

    `means` `(C, D)` float32 of length 1; of the held-out images, each `(M,)` float64 ascending, the `distances` from
    their nearest class, the `energies` of their logits, and the mean ranks in both (`ranks`). The pair was chosen among
    the scores of `benchmarks/unknown_classes.py`. (ours)
    """

    means: Floats
    distances: Floats
    energies: Floats
    ranks: Floats

    @classmethod
    def fit(cls, embeddings: Floats, labels: np.ndarray, held_out_embeddings: Floats, held_out_logits: Floats) -> Self:
        """From training embeddings `(N, D)` with their classes `(N,)`, and embeddings `(M, D)` and logits `(M, C)` of
        images of the same classes that were not trained on. Raises `ValueError` if one of them is empty or not
        finite."""
        for points in (embeddings, held_out_embeddings, held_out_logits):
            if not len(points) or not np.isfinite(points).all():
                raise ValueError("known classes need finite outputs for training and for held-out images")
        embeddings = np.asarray(embeddings, dtype=np.float64)
        means = _unit(np.stack([embeddings[labels == label].mean(axis=0) for label in np.unique(labels)]))
        nothing = np.empty(0)
        blank = cls(means.astype(np.float32), nothing, nothing, nothing)
        distances, energies = np.sort(blank.distance(held_out_embeddings)), np.sort(_energy(held_out_logits))
        unranked = cls(blank.means, distances, energies, nothing)
        return cls(blank.means, distances, energies, np.sort(unranked._rank(held_out_embeddings, held_out_logits)))

    def distance(self, embeddings: Floats) -> Floats:
        """Cosine distance `(N,)`, in [0, 2], of embeddings `(N, D)` from the nearest class mean."""
        return np.asarray(1 - (_unit(embeddings) @ self.means.astype(np.float64).T).max(axis=1))

    def require_width(self, width: int) -> None:
        """Raise `UserError` unless embeddings have so many numbers: else these are another model's known classes."""
        if self.means.shape[1] != width:
            raise UserError(
                f"known_classes.safetensors: is another model's: {self.means.shape[1]} numbers an image, not {width}.\n"
                "Remove it from the model's folder; `rsam predict RUN` writes it again."
            )

    def unknown_score(self, embeddings: Floats, logits: Floats) -> Floats:
        """The share `(N,)` of held-out images that look more like a known class, by embeddings `(N, D)` and logits
        `(N, C)`.

        0: no held-out image looks more known. .95: 95 % of them do, so that calling this and everything above it
        unknown misjudges about 5 % of images of known classes. NaN for outputs that are not finite. Use it for images
        of no class; for images between two classes use the confidence.
        """
        ranks = self._rank(embeddings, logits)
        return np.where(np.isfinite(ranks), _share_below(self.ranks, ranks), np.nan)

    def _rank(self, embeddings: Floats, logits: Floats) -> Floats:
        """Mean `(N,)` of the shares of held-out images that are closer to a class, and that have a lower energy."""
        distance, energy = self.distance(embeddings), _energy(logits)
        mean = (_share_below(self.distances, distance) + _share_below(self.energies, energy)) / 2
        return np.asarray(np.where(np.isfinite(distance) & np.isfinite(energy), mean, np.nan))

    def save(self, path: Path) -> None:
        """Write a safetensors file, atomically."""
        with replace_atomically(path) as partial:
            save_file({name: np.ascontiguousarray(values) for name, values in vars(self).items()}, partial)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The known classes in a file. Raises `UserError` if it is damaged."""
        try:
            tensors = load_file(path)
            means, *held_out = (tensors[field.name] for field in fields(cls))
            if means.ndim != 2 or not means.size or any(part.ndim != 1 or not part.size for part in held_out):
                raise ValueError("arrays of other shapes")
            if not all(np.isfinite(part).all() for part in (means, *held_out)):
                raise ValueError("NaN or infinite values")
            return cls(means, *held_out)
        except (SafetensorError, OSError, LookupError, ValueError, TypeError) as error:
            raise UserError(
                f"{path}: is damaged ({reason_of(error)}). Remove it; `rsam predict RUN` writes it again."
            ) from error


def _unit(points: Floats) -> Floats:
    points = np.asarray(points, dtype=np.float64)
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True).clip(min=np.finfo(np.float64).tiny))


def _energy(logits: Floats) -> Floats:
    """Energy `(N,)` of logits `(N, C)`, lower for a surer model (Liu et al., NeurIPS 2020)."""
    return np.asarray(-logsumexp(np.asarray(logits, dtype=np.float64), axis=1))


def _share_below(ascending: Floats, values: Floats) -> Floats:
    return np.asarray(np.searchsorted(ascending, values, side="left") / len(ascending))
