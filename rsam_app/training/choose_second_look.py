"""Whether the whole image, the crop along the rectangle, or both are classified, chosen on held-out images.

A backbone's last cells see the whole picture, so no gate keeps out surroundings that give the class away in training;
a crop along a taught rectangle does. On images as they are such surroundings are no drawback, so once a reviewer has
taught the rectangle, each candidate is measured on exchanged ones too: the content of an image's rectangle on another
image. A rectangle that nobody taught may lie on the misleading part itself: then only images as they are count, and the
whole image is always classified, too. (ours)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from rsam_app.config import Pipeline
from rsam_app.data.augmentation.surroundings import content_share
from rsam_app.data.loader import Views, make_loader
from rsam_app.data.records import Record
from rsam_app.data.sampling import ShardedBatches
from rsam_app.evaluation.inference.model_runner import all_cores
from rsam_app.model import AttentiveClassifier
from rsam_app.model.attention.second_look import UNSURE_SHARE
from rsam_app.model.preprocess import normalise
from rsam_app.run.job import Job
from rsam_app.system.precision import autocast
from rsam_app.training.discovery.targets import discovery_epoch
from rsam_app.training.features.source import FeatureSource
from rsam_app.training.warm_start import fit_classifier

Look = Literal[False, True, "only", "unsure"]
LOOKS: dict[Look, str] = {
    False: "the whole image",
    "unsure": "the whole image, and the crop if unsure",
    True: "whole image and crop",
    "only": "the crop alone",
}
VIEWS: dict[Look, tuple[int, ...]] = {False: (0,), "unsure": (0, 1), True: (0, 1), "only": (1,)}
"""The views that each look classifies: the whole image (0) and the crop (1)."""

TAUGHT: tuple[Look, ...] = (True, "only")
"""The looks that a reviewer's answers about rectangles make eligible: both bring the crop to images that misleading
surroundings leave the network sure of."""

MAX_IMAGES, FOLDS = 3000, 3
"""Images that the candidates are compared on, and the parts that cross-validation holds out in turn: more would not
change the choice."""

ROUNDING = 1e-9
"""One image more that is right, and none fewer, is a gain of exactly one standard error: not enough."""


@dataclass(frozen=True)
class Choice:
    """The look that is classified, and top-1 on held-out images by look, as they are and, with a taught rectangle, on
    exchanged surroundings."""

    look: Look
    as_they_are: Mapping[Look, float]
    exchanged: Mapping[Look, float]

    def line(self) -> str:
        """The choice and its reason in a sentence."""
        kinds = (self.as_they_are, self.exchanged) if self.exchanged else (self.as_they_are,)
        figures = (f"{LOOKS[k]} " + " and ".join(f"{kind[k]:.3f}" for kind in kinds) for k in self.as_they_are)
        measured = " as they are and on exchanged surroundings" if self.exchanged else ""
        return (
            f"classified from now on: {LOOKS[self.look]}; top-1 on held-out images{measured}: {'; '.join(figures)}"
            " (model.second_look)"
        )

    def as_dict(self) -> dict[str, Any]:
        """For `run.json`."""
        figures = {
            str(k).lower(): {"top1": round(v, 4)}
            | ({"top1_exchanged": round(self.exchanged[k], 4)} if self.exchanged else {})
            for k, v in self.as_they_are.items()
        }
        return {"chosen": self.look, "held_out": figures}


def may_choose(job: Job) -> bool:
    """Whether the pipeline leaves the look open, and its model has features and a rectangle to judge one by before
    training."""
    model = job.pipeline.model
    return (
        model.second_look == "auto"
        and model.attention == "rsam"
        and model.stage == -1
        and model.weights != "none"
        and (discovery_epoch(job.pipeline) == 0 or rectangle_is_taught(job))
        and len(job.corrected.dataset.split("train")) >= FOLDS
    )


def rectangle_is_taught(job: Job) -> bool:
    """Whether a reviewer has answered about rectangles of training images."""
    return bool(job.corrected.answers.among(job.corrected.dataset.split("train")))


def choose(source: FeatureSource, pipeline: Pipeline, records: Sequence[Record], taught: bool) -> Choice:
    """The best look on held-out images, with classifiers fitted to the present features of the others: by thirds of the
    training and validation images, or, if a reviewer has answered about rectangles, on validation images.

    The model of `source` has a second look, and a rectangle that was fitted to its targets. `taught` says whether a
    reviewer has answered. If so, `TAUGHT` come first: the best that beats the whole image by more than
    a standard error, over images as they are and on exchanged surroundings, and is not worse on the first by more than
    one. If there is none, or without answers, `unsure` must beat the whole image on images as they are.
    """
    draws, exchanges = np.random.default_rng((pipeline.seed, 6)), (False, True) if taught else (False,)
    records = [records[i] for i in draws.permutation(len(records))[:MAX_IMAGES]]
    kinds = [_embeddings(source, pipeline, records, exchange) for exchange in exchanges]
    labels = torch.tensor([source.class_index[record.label] for record in records])
    fold = _folds(records, taught)
    counted = fold >= 0
    looks: tuple[Look, ...] = (False, "unsure", *TAUGHT) if taught else (False, "unsure")
    logits = {v: _held_out_logits(kinds, labels, v, fold)[:, :, counted] for v in {VIEWS[look] for look in looks}}
    right = {look: (_answers(logits[VIEWS[look]], look) == labels[counted]).double().numpy() for look in looks}
    best: Look = False
    for look in TAUGHT if taught else ():
        if _is_better(right[look], right[best]) and _is_no_worse(right[look][0], right[False][0]):
            best = look
    if best is False and _is_better(right["unsure"][:1], right[False][:1]):
        best = "unsure"
    figures = [{look: float(each[kind].mean()) for look, each in right.items()} for kind in range(len(kinds))]
    return Choice(best, figures[0], figures[1] if taught else {})


def _folds(records: Sequence[Record], taught: bool) -> Tensor:
    """The fold `(N,)` of each image, -1 for those that are never held out: with answers, training images. The weights
    may be an earlier round's, to which the images that it trained on look easier than any others."""
    validation = torch.tensor([record.split == "val" for record in records])
    if taught and validation.sum() > 1:
        return validation.long() - 1
    return torch.arange(len(records)) % FOLDS


def _held_out_logits(kinds: Sequence[Sequence[Tensor]], labels: Tensor, views: Sequence[int], fold: Tensor) -> Tensor:
    """The logits `(kinds, views, N, C)` of each image of a fold, as it is and in the other kinds, by classifiers fitted
    to these views of all other images as they are; 0 for images of none."""
    logits = torch.zeros(len(kinds), len(views), len(labels), int(labels.max()) + 1)
    for number in range(int(fold.max()) + 1):
        learned, held_out = fold != number, fold == number
        head = nn.Linear(kinds[0][0].shape[1], logits.shape[3])
        fit_classifier(head, torch.cat([kinds[0][v][learned] for v in views]), labels[learned].repeat(len(views)))
        with torch.inference_mode():
            for kind, embeddings in enumerate(kinds):
                for view, v in enumerate(views):
                    logits[kind, view, held_out] = head(embeddings[v][held_out])
    return logits


def _answers(logits: Tensor, look: Look) -> Tensor:
    """The classes `(kinds, N)` that a look answers with, from its views' logits `(kinds, views, N, C)`."""
    answer = logits.mean(dim=1)
    if look == "unsure":
        whole = logits[:, 0]
        sure = whole.softmax(dim=2).amax(dim=2)
        answer = torch.where((sure < sure[0].quantile(UNSURE_SHARE))[..., None], answer, whole)
    return answer.argmax(dim=2)


def _is_better(right: np.ndarray, other: np.ndarray) -> bool:
    """Whether one look's `(kinds, N)` is better than another's by more than a standard error, over all kinds."""
    gain = (right - other).mean(axis=0)
    return bool(gain.mean() > _error(gain) + ROUNDING)


def _is_no_worse(right: np.ndarray, other: np.ndarray) -> bool:
    """Whether one look's `(N,)` is not worse than another's by more than a standard error."""
    loss = other - right
    return bool(loss.mean() <= _error(loss) + ROUNDING)


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _embeddings(source: FeatureSource, pipeline: Pipeline, records: Sequence[Record], exchange: bool) -> list[Tensor]:
    """Embeddings `(N, D)` of whole images, gated, and of their crops along the predicted rectangles; with `exchange` on
    the surroundings of the image before."""
    model, parts = source.model.eval(), []
    views = Views(records, source.class_index, pipeline.model.input_side)
    for batch in make_loader(views, ShardedBatches(len(records), 32), source.workers, False):
        images = normalise(batch["image"], model, source.device)
        with torch.inference_mode(), all_cores(), autocast(source.precision, source.device):
            rectangle, gated = _located(model, images)
            if exchange:
                images = on_other_surroundings(images, rectangle)
                gated = _located(model, images)[1]
            crop = model.crop_features(images, rectangle)
            parts.append([model.forward_head(one, pre_logits=True).float().cpu() for one in (gated, crop)])
    return [torch.cat(one) for one in zip(*parts, strict=True)]


def _located(model: AttentiveClassifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """The predicted rectangles `(B, 5)` in pixels of the images, and the gated map of the whole images."""
    result = model.forward_attention(model.shrink(images))[1]
    rectangle = model.to_input(result, images.shape[2:])
    assert result is not None and rectangle is not None  # a second look has attention
    return rectangle.float(), result.features


def on_other_surroundings(images: Tensor, rectangles: Tensor) -> Tensor:
    """The content of the rectangles `(B, 5)` of images `(B, C, H, W)`, at its place on the image before."""
    share = content_share(rectangles, images.shape[2], images.shape[3])[:, None].to(images.dtype)
    return share * images + (1 - share) * images.roll(1, dims=0)
