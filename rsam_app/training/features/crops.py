"""Embeddings of crops along the rectangles, of a frozen backbone: what the classifier learns from in a second look.

A crop for training follows its image's target, so it is computed once; those of validation images follow the rectangle
that the model predicts, which changes as it learns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rsam_app.config import Pipeline
from rsam_app.data.loader import Batch, Target, Views, make_loader
from rsam_app.evaluation.inference.model_runner import all_cores
from rsam_app.model import AttentiveClassifier
from rsam_app.model.preprocess import normalise
from rsam_app.system.precision import autocast
from rsam_app.training.features.frozen import Blocks, FrozenFeatures, blocks_of, training_views
from rsam_app.training.features.source import FeatureSource


@dataclass(frozen=True)
class CropEmbeddings:
    """Embeddings `(1 + views, N, D)`, half precision, of crops of the whole training images and of their augmented
    views."""

    training: Tensor
    frozen: FrozenFeatures
    source: FeatureSource

    def embeddings(self, whole: np.ndarray) -> np.ndarray:
        """The embeddings `(N, D)` of the whole training images that are classified: the crops', or their mean with
        `whole`, the images' own."""
        crops: np.ndarray = self.training[0].float().numpy()
        return crops if self.source.model.second_look == "only" else (whole + crops) / 2

    def averaged(self, own: np.ndarray) -> np.ndarray:
        """The mean `(N, D)` of `own`, the result of `embeddings`, and the average over the augmented views' crops."""
        if len(self.training) == 1:
            return own
        mean: np.ndarray = (own + self.training[1:].float().mean(dim=0).numpy()) / 2
        return mean

    def validation_logits(self, model: AttentiveClassifier) -> np.ndarray:
        """The model's logits `(N, C)` of the validation images, cropped along the rectangles it predicts now."""
        frozen, source = self.frozen, self.source
        first = len(self.training) * len(frozen.training)
        records = frozen.validation
        views, parts = Views(records, frozen.class_index, frozen.side), []
        training = model.training
        model.eval()
        for batch in make_loader(views, Blocks(blocks_of(len(views)), 0), source.workers, False):
            stored = [frozen.maps_of(first + i)[0] for i in batch["index"].tolist()]
            maps = [torch.stack(one).to(frozen.device).float() for one in zip(*stored, strict=True)]
            images = normalise(batch["image"], model, frozen.device)
            with torch.inference_mode(), all_cores(), autocast(frozen.precision, frozen.device):
                rectangle = model.to_input(model.attend(maps[0], maps[1:]), images.shape[2:])
                assert rectangle is not None  # a second look has attention
                crop = model.forward_head(model.crop_features(images, rectangle), pre_logits=True)
                output = model.forward_maps(maps[0], maps[1:], images.shape[2:], crop=crop)
            parts.append(output.logits.float().cpu().numpy())
        model.train(training)
        return np.concatenate(parts)


def embed_crops(
    source: FeatureSource, pipeline: Pipeline, frozen: FrozenFeatures, targets: Mapping[str, Target]
) -> CropEmbeddings:
    """Embeddings of crops of all cached views of the training images along their targets; of whole images without one.

    A view that cuts off much of the target counts as the whole image: its crop would teach the surroundings.
    """
    source.model.eval()
    parts: list[Tensor] = []
    for views, epoch in training_views(frozen, pipeline, targets):
        loader = make_loader(views, Blocks(blocks_of(len(views)), epoch), source.workers, False)
        embedded, visible = zip(*[(_embedded(source, batch), batch["target_weight"]) for batch in loader], strict=True)
        shown = torch.tensor([views.shows_target(i, w) for i, w in enumerate(torch.cat(visible).tolist())])
        parts.append(torch.where(shown[:, None], torch.cat(embedded), parts[0]) if parts else torch.cat(embedded))
    return CropEmbeddings(torch.stack(parts), frozen, source)


def _embedded(source: FeatureSource, batch: Batch) -> Tensor:
    """The embeddings `(B, D)`, half precision, of crops of a batch along its targets, of whole views without one."""
    model = source.model
    images, side = normalise(batch["image"], model, source.device), batch["image"].shape[3]
    whole = torch.tensor([side / 2, side / 2, side, side, 0.0])
    rectangle = torch.where(batch["target_weight"][:, None] > 0, batch["target"], whole).to(source.device)
    with torch.inference_mode(), all_cores(), autocast(source.precision, source.device):
        return model.forward_head(model.crop_features(images, rectangle), pre_logits=True).half().cpu()
