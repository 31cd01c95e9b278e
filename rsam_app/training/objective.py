"""What one batch's loss is made of: classification, the way to target rectangles, and the chosen signals."""

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
class BatchLoss:
    """Sums over the images of a batch: the whole `loss`, and of it `classification` and, before its weight,
    `to_target`; `logits` `(B, classes)` of what was seen."""

    loss: Tensor
    classification: Tensor
    to_target: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Objective:
    """The loss that `pipeline` asks for of `model`, whose images count `sample_weights` `(N,)` each."""

    pipeline: Pipeline
    model: nn.Module
    sample_weights: Tensor
    device: torch.device
    precision: str

    def of(
        self, batch: Batch | FeatureBatch, inputs: Tensor | list[Tensor], labels: Tensor, mixture: Mixture | None
    ) -> BatchLoss:
        """The loss of a batch with `inputs` and `labels` on the device, mixed or not."""
        output, of_views, to_view = self._forward(mixture.images if mixture else inputs)
        classification = self._classification(output, labels, batch["index"], mixture).sum()
        loss, away = classification, classification.new_zeros(())
        if output.rectangle is not None and self.pipeline.model.attention == "rsam":
            if not mixture:  # a mixed image shows two objects
                targets, weights = batch["target"].to(self.device), batch["target_weight"].to(self.device)
                away = (losses.to_target(output.rectangle, targets, self.pipeline.model.input_side) * weights).sum()
                loss = loss + self.pipeline.train.target_weight * away
            loss = loss + self._signals(output, output.rectangle, of_views, to_view)
        return BatchLoss(loss, classification.detach(), away.detach(), output.logits)

    def _classification(
        self, output: AttentiveOutput, labels: Tensor, index: Tensor, mixture: Mixture | None
    ) -> Tensor:
        """The loss `(B,)` of each image, the mean over the looks."""

        def of(wanted: Tensor, index: Tensor) -> Tensor:
            smoothing = self.pipeline.train.label_smoothing
            each = [losses.classification(logits, wanted, smoothing) for logits in output.each]
            return self.sample_weights[index].to(labels.device) * torch.stack(each).mean(dim=0)

        if mixture is None:
            return of(labels, index)
        other = of(labels[mixture.partner], index[mixture.partner.cpu()])
        return mixture.share * of(labels, index) + (1 - mixture.share) * other

    def _forward(self, inputs: Tensor | list[Tensor]) -> tuple[AttentiveOutput, Tensor | None, Tensor | None]:
        """The look at a batch; where equivariance is trained, the rectangles of other views of it, and the way there.

        Both views go through the model as one batch: with several processes it may run once per step.
        """
        weights, count = self.pipeline.train.signals, len(inputs)
        to_view = None
        teaches = weights.equivariance > 0 and self.pipeline.model.attention == "rsam"
        if teaches and isinstance(inputs, Tensor):  # feature maps show no other view: the pipeline refuses it
            views, to_view = losses.other_view(inputs)
            inputs = torch.cat([inputs, views])
        with autocast(self.precision, self.device):
            output: AttentiveOutput = self.model(inputs, return_output=True, outside=weights.outside > 0)
        if to_view is None or output.rectangle is None or output.mask is None:
            return output, None, None
        outside = None if output.outside is None else output.outside[:count]
        mine = AttentiveOutput(
            output.logits[:count], output.rectangle[:count], output.mask[:count], output.each[:, :count], outside
        )
        return mine, output.rectangle[count:], to_view

    def _signals(
        self, output: AttentiveOutput, rectangle: Tensor, of_views: Tensor | None, to_view: Tensor | None
    ) -> Tensor:
        weights, side = self.pipeline.train.signals, self.pipeline.model.input_side
        total = torch.zeros((), device=output.logits.device)
        if weights.area:
            total = total + weights.area * losses.area(rectangle, side).sum()
        if weights.border:
            total = total + weights.border * losses.border(rectangle, side).sum()
        if output.outside is not None:
            total = total + weights.outside * losses.outside_suffices(output.outside).sum()
        if of_views is not None and to_view is not None:
            total = total + weights.equivariance * losses.equivariance(rectangle, of_views, to_view, side).sum()
        return total
