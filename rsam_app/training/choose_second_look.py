"""Whether the whole image, the crop along the rectangle, or both are classified, chosen on validation images.

A backbone's last cells see the whole picture, so no gate keeps out surroundings that give the class away in training;
a crop along a taught rectangle does. On validation images as they are such surroundings are no drawback, so each
candidate is measured on exchanged ones too: the content of an image's rectangle on another validation image. (ours)
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
from rsam_app.data.loader import Target, Views, make_loader
from rsam_app.data.records import Record
from rsam_app.data.sampling import ShardedBatches
from rsam_app.evaluation.inference.model_runner import all_cores
from rsam_app.model import AttentiveClassifier
from rsam_app.model.preprocess import normalise
from rsam_app.run.job import Job
from rsam_app.system.precision import autocast
from rsam_app.training.features.source import FeatureSource
from rsam_app.training.warm_start import fit_classifier

Look = Literal[False, True, "only"]
LOOKS: dict[Look, str] = {False: "the whole image", True: "whole image and crop", "only": "the crop alone"}

MAX_TRAINING, MAX_VALIDATION = 2000, 1000
"""Images that the candidates are fitted to and measured on: more would not change the choice."""


@dataclass(frozen=True)
class Choice:
    """The look that is classified, and top-1 on validation images as they are and on exchanged surroundings, by
    look."""

    look: Look
    as_they_are: Mapping[Look, float]
    exchanged: Mapping[Look, float]

    def line(self) -> str:
        """The choice and its reason in a sentence."""
        figures = (f"{LOOKS[k]} {v:.3f} and {self.exchanged[k]:.3f}" for k, v in self.as_they_are.items())
        return (
            f"classified from now on: {LOOKS[self.look]}; top-1 on validation images as they are and on exchanged"
            f" surroundings: {', '.join(figures)} (model.second_look)"
        )

    def as_dict(self) -> dict[str, Any]:
        """For `run.json`."""
        figures = {
            str(k).lower(): {"top1": round(v, 4), "top1_exchanged": round(self.exchanged[k], 4)}
            for k, v in self.as_they_are.items()
        }
        return {"chosen": self.look, "validation": figures}


def may_choose(job: Job) -> bool:
    """Whether the pipeline leaves the look open and a reviewer has answered about rectangles of training images, so
    that a rectangle taught by these answers can be cropped along."""
    model, dataset = job.pipeline.model, job.corrected.dataset
    return (
        model.second_look == "auto"
        and model.attention == "rsam"
        and model.stage == -1
        and model.weights != "none"
        and bool(job.corrected.answers.among(dataset.split("train")))
        and len(dataset.split("val")) > 1
    )


def choose(
    source: FeatureSource, pipeline: Pipeline, training: Sequence[Record], validation: Sequence[Record],
    targets: Mapping[str, Target],
) -> Choice:  # fmt: skip
    """The best look by validation, with a classifier for each fitted to the present features.

    The model of `source` has a second look, and a rectangle that was fitted to the targets. Another look than the whole
    image must be better by a standard error, and as good on the images as they are.
    """
    draws, class_index = np.random.default_rng((pipeline.seed, 6)), source.class_index
    training = [training[i] for i in draws.permutation(len(training))[:MAX_TRAINING]]
    validation = [validation[i] for i in draws.permutation(len(validation))[:MAX_VALIDATION]]
    learned = _embeddings(source, pipeline, training, targets)
    plain, exchanged = (_embeddings(source, pipeline, validation, {}, exchange) for exchange in (False, True))
    labels = torch.tensor([class_index[record.label] for record in training])
    truth = torch.tensor([class_index[record.label] for record in validation])
    right: dict[Look, list[np.ndarray]] = {}
    for look in LOOKS:
        views = {False: (0,), True: (0, 1), "only": (1,)}[look]
        head = nn.Linear(learned[0].shape[1], len(class_index))
        fit_classifier(head, torch.cat([learned[v] for v in views]), labels.repeat(len(views)))
        with torch.inference_mode():
            logits = [torch.stack([head(one[v]) for v in views]).mean(dim=0) for one in (plain, exchanged)]
        right[look] = [(one.argmax(dim=1) == truth).double().numpy() for one in logits]
    best: Look = False
    for look in (True, "only"):
        gain = np.mean(right[look], axis=0) - np.mean(right[best], axis=0)
        loss = right[False][0] - right[look][0]
        if gain.mean() > _error(gain) and loss.mean() <= _error(loss):
            best = look
    return Choice(best, *({k: float(v[part].mean()) for k, v in right.items()} for part in (0, 1)))


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _embeddings(
    source: FeatureSource,
    pipeline: Pipeline,
    records: Sequence[Record],
    targets: Mapping[str, Target],
    exchange: bool = False,
) -> list[Tensor]:
    """Embeddings `(N, D)` of whole images, gated, and of their crops, along the targets where there are any, else along
    the predicted rectangles; with `exchange` on the surroundings of the image before."""
    model, parts = source.model.eval(), []
    views = Views(records, source.class_index, pipeline.model.input_side, None, targets)
    for batch in make_loader(views, ShardedBatches(len(records), 32), source.workers, False):
        images, weights = normalise(batch["image"], model, source.device), batch["target_weight"].to(source.device)
        with torch.inference_mode(), all_cores(), autocast(source.precision, source.device):
            rectangle, gated = _located(model, images)
            rectangle = torch.where(weights[:, None] > 0, batch["target"].to(source.device), rectangle)
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
