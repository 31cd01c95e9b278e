"""Detection of images of classes that the model has never seen, by distance in its embedding and by its logits.

    RSAM_DATA=data RSAM_WEIGHTS=weights python benchmarks/unknown_classes.py

Ten of the 50 bird classes are left out of training. A linear head is trained on features of a frozen MobileNetV2 of the
other 40 classes' training images; a fifth of these is held out for calibration. Every score then has to tell the test
images of the ten classes from those of the 40: AUROC, and the share of unknown images found while 5 % of the known ones
are called unknown. The score of the product was chosen on left-out classes drawn from 20 of the 50 ("choosing"), and
the figures to cite are of classes drawn from the other 30 ("reported"), five draws each.

"product" is the score of `rsam predict`: the first combination, as the share of held-out images that look more known.
One thread. Written to `benchmarks/results/unknown_classes.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring.surroundings import where
from scipy.special import logsumexp, softmax
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestNeighbors
from torch import nn

from rsam_app.evaluation.inference.pretrained_features import pretrained_features
from rsam_app.model.known_classes import KnownClasses
from rsam_app.run.job import Job
from rsam_app.system.progress import Reporter
from rsam_app.training.warm_start import fit_classifier

RESULTS = Path(__file__).resolve().parent / "results" / "unknown_classes.json"
LEFT_OUT, CHOOSING_CLASSES, SEEDS, HELD_OUT, NEIGHBOURS = 10, 20, 5, 0.2, 10

Array = np.ndarray


@dataclass(frozen=True)
class Trained:
    """What a score may use: training embeddings `(N, D)` with labels `(N,)` from 0, and the linear head's logits."""

    embeddings: Array
    labels: Array
    logits_of: Callable[[Array], Array]

    @cached_property
    def means(self) -> Array:
        """Means `(C, D)` of the classes."""
        return np.stack([self.embeddings[self.labels == c].mean(axis=0) for c in range(self.labels.max() + 1)])

    @cached_property
    def within(self) -> Array:
        """The covariance `(D, D)` within classes, shrunk (Ledoit and Wolf, 2004)."""
        deviations = self.embeddings - self.means[self.labels]
        return np.asarray(LedoitWolf(assume_centered=True).fit(deviations).covariance_)

    @cached_property
    def logits(self) -> Trained:
        """The same with logits as embeddings."""
        return Trained(self.logits_of(self.embeddings.astype(np.float32)), self.labels, self.logits_of)

    @cached_property
    def unit(self) -> Trained:
        """The same with embeddings of length 1."""
        return Trained(unit(self.embeddings), self.labels, self.logits_of)


def unit(embeddings: Array) -> Array:
    return np.asarray(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True))


def squared(points: Array, means: Array, covariance: Array) -> Array:
    """Squared Mahalanobis distances `(N, C)`."""
    whiten = np.linalg.inv(np.linalg.cholesky(covariance)).T
    a, b = points @ whiten, means @ whiten
    return np.asarray((a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)[None])


def mahalanobis(trained: Trained, points: Array) -> Array:
    """Lee et al., NeurIPS 2018: to the nearest class mean by the shared covariance within classes."""
    return np.asarray(squared(points, trained.means, trained.within).min(axis=1))


def relative_mahalanobis(trained: Trained, points: Array) -> Array:
    """Ren et al., 2021 (arXiv 2106.09022): the same, minus the distance from the mean of all images."""
    overall = LedoitWolf().fit(trained.embeddings)
    background = squared(points, overall.location_[None], overall.covariance_)[:, 0]
    return np.asarray(mahalanobis(trained, points) - background)


def cosine(trained: Trained, points: Array) -> Array:
    return np.asarray(1 - (unit(points) @ unit(trained.means).T).max(axis=1))


def centred_cosine(trained: Trained, points: Array) -> Array:
    """The same from the mean of all training images, which pooled features share."""
    centre = trained.embeddings.mean(axis=0)
    return np.asarray(1 - (unit(points - centre) @ unit(trained.means - centre).T).max(axis=1))


def whitened_cosine(trained: Trained, points: Array) -> Array:
    """The same after whitening by the covariance within classes."""
    whiten = np.linalg.inv(np.linalg.cholesky(trained.within)).T
    whitened = Trained(trained.embeddings @ whiten, trained.labels, trained.logits_of)
    return centred_cosine(whitened, points @ whiten)


def neighbour(trained: Trained, points: Array) -> Array:
    """Sun et al., ICML 2022: distance of unit embeddings from the tenth nearest training image."""
    near = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(unit(trained.embeddings))
    return np.asarray(near.kneighbors(unit(points))[0][:, -1])


SCORES: dict[str, Callable[[Trained, Array], Array]] = {
    "maximum softmax": lambda trained, points: 1 - softmax(trained.logits_of(points), axis=1).max(axis=1),
    "maximum logit": lambda trained, points: -trained.logits_of(points).max(axis=1),
    "energy": lambda trained, points: -logsumexp(trained.logits_of(points), axis=1),
    "cosine to the nearest class mean": cosine,
    "centred cosine": centred_cosine,
    "whitened cosine": whitened_cosine,
    "logits: cosine": lambda trained, points: cosine(trained.logits, trained.logits_of(points)),
    "logits: centred cosine": lambda trained, points: centred_cosine(trained.logits, trained.logits_of(points)),
    "logits: Mahalanobis": lambda trained, points: mahalanobis(trained.logits, trained.logits_of(points)),
    "tenth nearest neighbour": neighbour,
    "Mahalanobis": mahalanobis,
    "Mahalanobis, unit length": lambda trained, points: mahalanobis(trained.unit, unit(points)),
    "relative Mahalanobis": relative_mahalanobis,
    "relative Mahalanobis, unit length": lambda trained, points: relative_mahalanobis(trained.unit, unit(points)),
}

COMBINED = (("cosine to the nearest class mean", "energy"), ("cosine to the nearest class mean", "maximum softmax"))
"""Pairs whose mean rank among the held-out images is a further score."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("RSAM_WEIGHTS")
    weights = Path(folder) / "mobilenetv2_100.safetensors" if folder else None
    parser.add_argument("--weights", type=Path, default=weights, required=not weights, help="MobileNetV2's")
    parser.add_argument("--folder", type=Path, default=Path("runs/unknown-classes-benchmark"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.perf_counter()
    overrides = [f"model.weights={arguments.weights}", "train.frozen_backbone=true"]
    job = Job.of_pipeline("cub_mobilenetv2", overrides, arguments.folder, Reporter())
    dataset = job.original
    records = [r for r in dataset.records if r.split in ("train", "val", "test")]
    points, _ = pretrained_features(job, records, dataset.classes)
    labels = np.array([dataset.class_index[r.label] for r in records])
    test = np.array([r.split == "test" for r in records])
    parts = np.split(np.random.default_rng(0).permutation(len(dataset.classes)), [CHOOSING_CLASSES])
    found = {}
    for part, classes in zip(("choosing", "reported"), parts, strict=True):
        draws = [np.random.default_rng((seed, 1)).choice(classes, LEFT_OUT, replace=False) for seed in range(SEEDS)]
        cells = [measure(points, labels, test, unknown, seed) for seed, unknown in enumerate(draws)]
        found[part] = summarise(cells)
        print(table(part, found[part]), flush=True)
    content = {
        "images": len(records),
        "classes": len(dataset.classes),
        "left_out": LEFT_OUT,
        "seeds": SEEDS,
        **found,
        "seconds": round(time.perf_counter() - begun, 1),
        "threads": 1,
        "environment": where(),
    }
    arguments.results.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def measure(points: Array, labels: Array, test: Array, unknown: Array, seed: int) -> dict[str, dict[str, float]]:
    """Figures of every score with the classes `unknown` left out of training."""
    known = ~np.isin(labels, unknown)
    learned, held_out = train_test_split(
        np.flatnonzero(known & ~test), test_size=HELD_OUT, stratify=labels[known & ~test], random_state=seed
    )
    _, compact = np.unique(labels[learned], return_inverse=True)
    head = nn.Linear(points.shape[1], compact.max() + 1)
    fit_classifier(head, torch.from_numpy(points[learned]), torch.from_numpy(compact))

    def logits_of(some: Array) -> Array:
        with torch.no_grad():
            return np.asarray(head(torch.from_numpy(some)).numpy().astype(np.float64))

    trained = Trained(points[learned].astype(np.float64), compact, logits_of)
    figures = {}
    rows = {"held out": held_out, "known": np.flatnonzero(known & test), "unknown": np.flatnonzero(~known & test)}
    ends = np.cumsum([len(part) for part in rows.values()])[:-1]
    scored = {name: score(trained, points[np.concatenate(list(rows.values()))]) for name, score in SCORES.items()}
    for pair in COMBINED:
        ranks = [np.searchsorted(np.sort(scored[name][: len(held_out)]), scored[name]) for name in pair]
        scored[" + ".join(pair)] = np.mean(ranks, axis=0)
    outputs = points[rows["held out"]], logits_of(points[rows["held out"]])
    product = KnownClasses.fit(trained.embeddings, trained.labels, *outputs)
    scored["product"] = np.concatenate([product.unknown_score(points[r], logits_of(points[r])) for r in rows.values()])
    for name, score in scored.items():
        values = dict(zip(rows, np.split(score, ends), strict=True))
        truth = np.repeat([0, 1], [len(values["known"]), len(values["unknown"])])
        limit = 0.95 if name == "product" else np.quantile(values["held out"], 0.95)
        figures[name] = {
            "auroc": float(roc_auc_score(truth, np.concatenate([values["known"], values["unknown"]]))),
            "found_at_95": float((values["unknown"] > limit).mean()),
            "known_called_unknown": float((values["known"] > limit).mean()),
        }
    return figures


def summarise(cells: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """Mean, lowest and highest of every figure over the draws of left-out classes."""
    return {
        name: {
            figure: {
                "mean": round(float(np.mean(values)), 4),
                "range": [round(min(values), 4), round(max(values), 4)],
            }
            for figure in cells[0][name]
            for values in [[cell[name][figure] for cell in cells]]
        }
        for name in cells[0]
    }


def table(part: str, figures: dict[str, dict[str, Any]]) -> str:
    lines = [f"{part:52} AUROC  [range]         found   known called unknown"]
    for name, row in sorted(figures.items(), key=lambda item: -item[1]["auroc"]["mean"]):
        low, high = row["auroc"]["range"]
        lines.append(
            f"{name:52} {row['auroc']['mean']:.3f}  [{low:.3f}, {high:.3f}]  {row['found_at_95']['mean']:.3f}"
            f"   {row['known_called_unknown']['mean']:.3f}"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
