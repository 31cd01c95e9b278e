"""Probabilities and rectangles that a model gives for edited images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.geometry.types import Floats, Integers

View = Callable[[slice], Tensor]
"""Makes the normalised inputs `(B, 3, S, S)` of some images, on the device."""


@dataclass(frozen=True)
class ViewOutputs:
    """Outputs for N images: `probabilities` `(N, C)`, and `rectangles` `(N, 5)` in pixels of the network input, a
    square in which rotations do not shear; NaN without attention."""

    probabilities: Floats
    rectangles: Floats

    @property
    def predicted(self) -> Integers:
        """The most probable class `(N,)`."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def has_rectangles(self) -> bool:
        """Whether the model has attention."""
        return not np.isnan(self.rectangles).any()

    def accuracy(self, labels: Integers) -> float:
        """Share in [0, 1] of images whose label `(N,)` is the predicted class."""
        return float((self.predicted == labels).mean())

    def probability_of(self, classes: Integers) -> Floats:
        """Probability `(N,)` of one class per image."""
        return np.asarray(self.probabilities[np.arange(len(classes)), classes])


def predict_views(runner: ModelRunner, count: int, view: View) -> ViewOutputs:
    """Return the outputs for the `count` images that `view` makes."""

    def batches() -> Iterator[tuple[Tensor, None]]:
        for start in range(0, count, runner.batch_size):
            yield view(slice(start, min(start + runner.batch_size, count))), None

    def outputs(images: Tensor, _: None) -> tuple[Floats, Floats]:
        with runner.autocast():
            output = runner.model(images, return_output=True)
        logits = output.logits.float().cpu().numpy().astype(np.float64)
        nothing = torch.full((len(images), 5), torch.nan)
        rectangles = nothing if output.rectangle is None else output.rectangle.float().cpu()
        return softmax(logits, axis=1), rectangles.numpy()

    probabilities, rectangles = zip(*runner.run(batches(), outputs), strict=True)
    return ViewOutputs(np.concatenate(probabilities), np.concatenate(rectangles).astype(np.float64))
