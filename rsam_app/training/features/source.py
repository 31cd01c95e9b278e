"""Feature maps of whole training images from the current backbone, uncached."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rsam_app.data.loader import Views, make_loader
from rsam_app.data.records import Record
from rsam_app.data.sampling import ShardedBatches
from rsam_app.model import AttentiveClassifier
from rsam_app.model.fold_batch_norms import fold_batch_norms
from rsam_app.model.preprocess import normalise
from rsam_app.system.precision import autocast


@dataclass(frozen=True)
class FeatureSource:
    """A model that runs on whole images, in batches, with `workers` loading processes."""

    model: AttentiveClassifier
    class_index: Mapping[str, int]
    device: torch.device
    precision: str
    workers: int

    def evidence(self, records: Sequence[Record], size: int) -> list[Tensor]:
        """The maps `(N, C, H, W)`, half precision, that rectangles in inputs of `size` pixels are predicted from."""
        batches = [maps for maps, _ in self._extract(records, size, _evidence)]
        return [torch.cat(parts) for parts in zip(*batches, strict=True)]

    def late_stages(self, records: Sequence[Record], size: int, thumbnail: int) -> Iterator[tuple[Tensor, np.ndarray]]:
        """Batches, in order, of the last two stages' maps `(B, C, H, W)`, half precision, on the last stage's grid and
        with its channels first, and of small images `(B, thumbnail, thumbnail, 3)` uint8.

        These stages precede a widening head convolution, which mixes object and surroundings.
        """
        for (maps,), images in self._extract(records, size, _late_stages):
            pixels = images.permute(0, 2, 3, 1).numpy()
            small = [cv2.resize(image, (thumbnail, thumbnail), interpolation=cv2.INTER_AREA) for image in pixels]
            yield maps, np.stack(small)

    def last_stage_channels(self) -> int | None:
        """The number of the last stage's channels in `late_stages`; None if the backbone does not return its stages."""
        info = getattr(self.model.backbone, "feature_info", None)
        if not hasattr(self.model.backbone, "forward_intermediates") or not info:
            return None
        return int(info[-1]["num_chs"])

    def largest_size(self, wanted: int, own: int) -> int:
        """The side of images in pixels to run on: `wanted`, or `own` if the backbone takes no other, as transformers
        with a fixed number of tokens do."""
        try:
            self.late_stage_shape(torch.zeros(1, self.model.in_chans, wanted, wanted, device=self.device))
        except (AssertionError, RuntimeError, ValueError):  # timm has no exception class for this
            return own
        return wanted

    def late_stage_shape(self, inputs: Tensor) -> tuple[int, ...]:
        """The shape `(C, H, W)` of an image's maps in `late_stages`, for inputs `(1, C, S, S)`."""
        self.model.eval()
        with torch.no_grad():
            return tuple(_late_stages(self.model, inputs)[0].shape[1:])

    def _extract(
        self, records: Sequence[Record], size: int, extract: Callable[[AttentiveClassifier, Tensor], Sequence[Tensor]]
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        views = Views(records, self.class_index, size)
        model = fold_batch_norms(self.model.eval())
        for batch in make_loader(views, ShardedBatches(len(records), 32), self.workers, False):
            with torch.no_grad(), autocast(self.precision, self.device):
                maps = extract(model, normalise(batch["image"], model, self.device))
            yield [one.half().cpu() for one in maps], batch["image"]


def _evidence(model: AttentiveClassifier, images: Tensor) -> list[Tensor]:
    return model.evidence(model.shrink(images))


def _late_stages(model: AttentiveClassifier, images: Tensor) -> list[Tensor]:
    if not hasattr(model.backbone, "forward_intermediates"):
        return [model.forward_features(images)]
    stages: list[Tensor] = model.backbone.forward_intermediates(images, indices=2, intermediates_only=True)
    earlier = F.interpolate(stages[-2].float(), size=stages[-1].shape[-2:], mode="area")
    return [torch.cat([stages[-1].float(), earlier], dim=1)]
