"""The problem that every alternative solves: training and test photographs, weights, a number of epochs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

MEAN = STD = (0.5, 0.5, 0.5)
"""Of the pixels that the shared weights were trained with."""


@dataclass(frozen=True)
class Problem:
    """Paths and class numbers of the training images, paths of the test images, and how to train.

    `answer` is the file that the predicted class numbers of the test images go to.
    """

    train: list[tuple[str, int]]
    test: list[str]
    classes: int
    backbone: str
    weights: str
    side: int
    epochs: int
    learning_rate: float
    batch: int
    seed: int
    answer: str

    @classmethod
    def given(cls) -> Problem:
        """The problem in the file that the command line names."""
        fields = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        return cls(**fields | {"train": [(path, label) for path, label in fields["train"]]})

    def network(self) -> nn.Module:
        """Timm's network with its pretrained weights and a new head."""
        cfg: dict[str, Any] = {"file": self.weights, "mean": MEAN, "std": STD}
        arguments: dict[str, Any] = {"pad_type": "same"} if self.backbone.startswith("mobilenetv2") else {}
        return timm.create_model(
            self.backbone, pretrained=True, num_classes=self.classes, pretrained_cfg_overlay=cfg, **arguments
        )

    @property
    def unlabelled(self) -> list[tuple[str, int]]:
        """The test images with a class number that nothing uses."""
        return [(path, 0) for path in self.test]

    def save(self, predicted: Sequence[int]) -> None:
        """Write the predicted class numbers of the test images, in their order."""
        Path(self.answer).write_text(json.dumps([int(label) for label in predicted]), encoding="utf-8")


class Photographs(Dataset[tuple[Tensor, int]]):
    """Photographs through a transform, with their class numbers."""

    def __init__(self, items: Sequence[tuple[str, int]], transform: Callable[[Image.Image], Tensor]) -> None:
        self.items, self.transform = items, transform

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.items[index]
        with Image.open(path) as image:
            return self.transform(image.convert("RGB")), label
