"""The loss of one batch: classification, distance to target rectangles, and the pipeline's signals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rsam_app.config import Pipeline
from rsam_app.data.loader import Batch
from rsam_app.model import AttentiveOutput
from rsam_app.system.precision import autocast
from rsam_app.training import losses
from rsam_app.training.features.frozen import FeatureBatch
from rsam_app.training.mixing import Mixture


@dataclass(frozen=True)
class BatchLosses:
    """Sums over the images of a batch: the whole `loss`, and its parts `classification` and, unweighted, `to_target`;
    `logits` `(B, classes)` of the inputs."""

    loss: Tensor
    classification: Tensor
    to_target: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Objective:
    """The pipeline's loss for `model`; each training image has one of `sample_weights` `(N,)`, 1 on average."""

    pipeline: Pipeline
    model: nn.Module
    sample_weights: Tensor
    device: torch.device
    precision: str

    def batch_losses(
        self, batch: Batch | FeatureBatch, inputs: Tensor | list[Tensor], labels: Tensor, mixture: Mixture | None
    ) -> BatchLosses:
        """The losses of a batch whose `inputs` and `labels` are on the device; a `mixture` replaces the images."""
        output, view_rectangles, to_view = self._forward(mixture.images if mixture else inputs)
        classification = self._classification(output, labels, batch["index"], mixture).sum()
        loss, distance = classification, classification.new_zeros(())
        if output.rectangle is not None and self.pipeline.model.attention == "rsam":
            if not mixture:  # a mixed image shows two objects
                targets, weights = batch["target"].to(self.device), batch["target_weight"].to(self.device)
                side = self.pipeline.model.input_side
                distance = (losses.to_target(output.rectangle, targets, side) * weights).sum()
                loss = loss + self.pipeline.train.target_weight * distance
            loss = loss + self._signals(output, output.rectangle, view_rectangles, to_view)
        return BatchLosses(loss, classification.detach(), distance.detach(), output.logits)

    def _classification(
        self, output: AttentiveOutput, labels: Tensor, index: Tensor, mixture: Mixture | None
    ) -> Tensor:
        """The loss `(B,)` of each image, the mean over its views."""

        def towards(target: Tensor, index: Tensor) -> Tensor:
            smoothing = self.pipeline.train.label_smoothing
            terms = [losses.classification(logits, target, smoothing) for logits in output.view_logits]
            return self.sample_weights[index].to(labels.device) * torch.stack(terms).mean(dim=0)

        if mixture is None:
            return towards(labels, index)
        other = towards(labels[mixture.partner], index[mixture.partner.cpu()])
        return mixture.share * towards(labels, index) + (1 - mixture.share) * other

    def _forward(self, inputs: Tensor | list[Tensor]) -> tuple[AttentiveOutput, Tensor | None, Tensor | None]:
        """The output for a batch and, if equivariance is trained, the rectangles of other views of it and the maps to
        these views.

        Both views go through the model as one batch: with several processes it may run only once per step.
        """
        weights, count = self.pipeline.train.signals, len(inputs)
        to_view = None
        with_views = weights.equivariance > 0 and self.pipeline.model.attention == "rsam"
        if with_views and isinstance(inputs, Tensor):  # feature maps have no other views: the pipeline refuses them
            views, to_view = losses.other_view(inputs)
            inputs = torch.cat([inputs, views])
        with autocast(self.precision, self.device):
            output: AttentiveOutput = self.model(inputs, return_output=True, outside=weights.outside > 0)
        if to_view is None or output.rectangle is None or output.mask is None:
            return output, None, None
        outside = None if output.outside is None else output.outside[:count]
        logits, view_logits = output.logits[:count], output.view_logits[:, :count]
        first = AttentiveOutput(logits, output.rectangle[:count], output.mask[:count], view_logits, outside)
        return first, output.rectangle[count:], to_view

    def _signals(
        self, output: AttentiveOutput, rectangle: Tensor, view_rectangles: Tensor | None, to_view: Tensor | None
    ) -> Tensor:
        weights, side = self.pipeline.train.signals, self.pipeline.model.input_side
        total = torch.zeros((), device=output.logits.device)
        if weights.area:
            total = total + weights.area * losses.area(rectangle, side).sum()
        if weights.border:
            total = total + weights.border * losses.border(rectangle, side).sum()
        if output.outside is not None:
            total = total + weights.outside * losses.outside_suffices(output.outside).sum()
        if view_rectangles is not None and to_view is not None:
            total = total + weights.equivariance * losses.equivariance(rectangle, view_rectangles, to_view, side).sum()
        return total
