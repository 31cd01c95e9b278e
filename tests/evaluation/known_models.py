"""Models with known outputs, for tests that need exact ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rsam_app.data.records import Record
from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.evaluation.robustness.subset import Subset
from rsam_app.evaluation.robustness.view_outputs import ViewOutputs, predict_views
from rsam_app.geometry import rectangles as geometry
from rsam_app.model.classifier import AttentiveOutput

SIZE = 96
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Known(nn.Module):
    """A model that is a function from normalised images `(B, 3, S, S)` to logits and rectangles."""

    def __init__(self, observe: Callable[[Tensor], tuple[Tensor, Tensor | None]]) -> None:
        super().__init__()
        self.pretrained_cfg = {"mean": MEAN, "std": STD, "input_size": (3, SIZE, SIZE)}
        self.function = observe

    def forward(self, images: Tensor, return_output: bool = False) -> AttentiveOutput:
        logits, rectangle = self.function(images)
        return AttentiveOutput(logits, rectangle, None, logits[None])


def runner_of(observe: Callable[[Tensor], tuple[Tensor, Tensor | None]]) -> ModelRunner:
    return ModelRunner(Known(observe), torch.device("cpu"), batch_size=4)  # type: ignore[arg-type]


def redness(images: Tensor) -> Tensor:
    """Red minus blue above .3, never negative, `(B, S, S)`."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    shown = images * std + mean
    return (shown[:, 0] - shown[:, 2] - 0.3).clamp_min(0)


def finds_red(images: Tensor) -> tuple[Tensor, Tensor]:
    """Attends to the red block; class 1 if there is much red, else 0."""
    red = redness(images)
    amount = red.sum(dim=(1, 2))
    return torch.stack([torch.zeros_like(amount), amount - 40], dim=1), geometry.from_moments(red)


def always_the_same(images: Tensor) -> tuple[Tensor, Tensor]:
    """One rectangle off the middle in every image, always class 0."""
    rectangle = torch.tensor([[30.0, 40.0, 30.0, 14.0, 0.4]]).expand(len(images), 5)
    return torch.tensor([[1.0, 0.0]]).expand(len(images), 2), rectangle


def red_blocks(count: int = 6) -> Subset:
    """Images with a red rotated block on blue ground, somewhere in the middle half."""
    rng = np.random.default_rng(0)
    rectangles = np.column_stack(
        [
            rng.uniform(40, 56, (count, 2)),
            rng.uniform(24, 30, count),
            rng.uniform(10, 14, count),
            rng.uniform(-1, 1, count),
        ]
    )
    masks = geometry.soft_mask(torch.from_numpy(rectangles), SIZE, SIZE, 0.5).numpy()[..., None]
    images = masks * np.array([230, 30, 20]) + (1 - masks) * np.array([20, 40, 200])
    records = tuple(Record(f"{i}", Path(f"{i}"), "red", "test", SIZE, SIZE) for i in range(count))
    return Subset(records, np.ones(count, dtype=np.int64), np.rint(images).astype(np.uint8))


def clean_outputs(runner: ModelRunner, subset: Subset) -> ViewOutputs:
    return predict_views(runner, len(subset), lambda rows: runner.normalise(subset.images[rows]))
