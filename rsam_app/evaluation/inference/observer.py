"""A model asked again and again about edited images: what it says and where it looked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from rsam_app.evaluation.inference.run_model import all_cores
from rsam_app.geometry.types import Floats, Integers, Pixels
from rsam_app.model import AttentiveClassifier
from rsam_app.model.preprocess import normalise
from rsam_app.system.precision import autocast

View = Callable[[slice], Tensor]
"""Makes the normalised inputs `(b, 3, S, S)` of some images, on the device."""


@dataclass(frozen=True)
class ViewOutputs:
    """What a model says about N images: `probabilities` `(N, C)`, and `rectangles` `(N, 5)` in pixels of the network
    input, where squeezed images are square and turns are turns; NaN without attention."""

    probabilities: Floats
    rectangles: Floats

    @property
    def predicted(self) -> Integers:
        """The most probable class `(N,)`."""
        return np.asarray(self.probabilities.argmax(axis=1))

    def accuracy(self, labels: Integers) -> float:
        """Share in [0, 1] of images whose class `(N,)` is the predicted one."""
        return float((self.predicted == labels).mean())

    def probability_of(self, classes: Integers) -> Floats:
        """The probability `(N,)` of one class an image."""
        return np.asarray(self.probabilities[np.arange(len(classes)), classes])


@dataclass(frozen=True)
class Observer:
    """A model in evaluation mode, the device it is on, its arithmetic, and how many images it sees at once.

    `advance` is told how many images were looked at.
    """

    model: AttentiveClassifier
    device: torch.device
    precision: str = "float32"
    batch_size: int = 64
    advance: Callable[[int], object] = lambda images: None

    def normalised(self, images: Pixels) -> Tensor:
        """uint8 images `(B, S, S, 3)` as the network takes them, `(B, 3, S, S)` on the device."""
        return normalise(torch.from_numpy(images).permute(0, 3, 1, 2), self.model, self.device)

    def observe(self, count: int, view: View) -> ViewOutputs:
        """Looks at `count` images that `view` makes, a batch at a time."""
        probabilities, rectangles = [], []
        with torch.inference_mode(), all_cores():
            for start in range(0, count, self.batch_size):
                images = view(slice(start, min(start + self.batch_size, count)))
                with autocast(self.precision, self.device):
                    seen = self.model(images, return_output=True)
                logits = seen.logits.float().cpu().numpy().astype(np.float64)
                probabilities.append(softmax(logits, axis=1))
                nothing = torch.full((len(images), 5), torch.nan)
                rectangles.append((nothing if seen.rectangle is None else seen.rectangle.float().cpu()).numpy())
                self.advance(len(images))
        return ViewOutputs(np.concatenate(probabilities), np.concatenate(rectangles).astype(np.float64))
