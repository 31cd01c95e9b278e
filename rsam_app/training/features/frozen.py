"""Training attention and classifier on feature maps that a frozen backbone gave once and that are kept on disk.

The backbone looks at every training image whole and at a few augmented views of it; an epoch then takes one of them
per image and costs no convolution. Rows are keyed by the backbone's weights, the files and what makes a view.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from rsam_app.config import Pipeline, why_not_cached
from rsam_app.data.augmentation.random_view import TrainAugment
from rsam_app.data.images.file_identity import files_hash
from rsam_app.data.loader import Target, Views, make_loader
from rsam_app.data.records import Record
from rsam_app.data.sampling import Draw
from rsam_app.evaluation.inference.model_runner import all_cores
from rsam_app.model import AttentiveClassifier, AttentiveOutput
from rsam_app.model.preprocess import normalise
from rsam_app.model.store import backbone_hash
from rsam_app.system.cache.rows import RowCache, open_cache
from rsam_app.system.errors import UserError
from rsam_app.system.precision import autocast
from rsam_app.training.features.source import FeatureSource

BLOCK = 32
"""Images to a batch of the backbone. A block is made as a whole, so that a row's last bits do not depend on which
others were there already."""

AFFINE_BYTES = 24

AUTOMATIC_VIEWS = 4


class FeatureBatch(TypedDict):
    """`maps`: the last feature map `(B, C, H, W)` and those of the stages that attention looks at, half precision; the
    rest as in a batch of images."""

    maps: list[Tensor]
    label: Tensor
    index: Tensor
    target: Tensor
    target_weight: Tensor


class OnMaps(nn.Module):
    """A classifier from its backbone's maps on, for inputs of `side` pixels."""

    def __init__(self, model: AttentiveClassifier, side: int) -> None:
        super().__init__()
        self.model, self.side = model, side

    def forward(self, maps: Sequence[Tensor], return_output: bool = True, outside: bool = False) -> AttentiveOutput:
        """The output for the last map `(B, C, H, W)` and those of stages; the rectangle is in input pixels."""
        return self.model.forward_maps(maps[0], maps[1:], (self.side, self.side), outside)


@dataclass(frozen=True)
class FrozenFeatures:
    """Feature maps of training images, as whole and as `views` augmented ones, and of validation images as whole."""

    rows: RowCache
    shapes: tuple[tuple[int, ...], ...]
    training: Sequence[Record]
    validation: Sequence[Record]
    class_index: Mapping[str, int]
    side: int
    views: int
    seed: int
    device: torch.device
    precision: str

    def maps_of(self, row: int) -> tuple[list[Tensor], np.ndarray]:
        """The maps of a row, half precision, and the map `(2, 3)` from its input's pixels to the image's.

        Raises `UserError` where the row is damaged."""
        raw = self.rows.get(row)
        if raw is None:
            raise UserError(f"{self.rows.folder}: feature maps are damaged. Remove the folder and `--resume`.")
        halves, maps, begin = torch.from_numpy(raw[:-AFFINE_BYTES].view(np.float16)), [], 0
        for shape in self.shapes:
            maps.append(halves[begin : begin + math.prod(shape)].view(shape))
            begin += math.prod(shape)
        return maps, raw[-AFFINE_BYTES:].view(np.float32).reshape(2, 3)

    def evidence(self, records: Sequence[Record], size: int) -> list[Tensor]:
        """The maps `(N, C, H, W)`, half precision, that rectangles are predicted from in whole training images."""
        place = {record.id: row for row, record in enumerate(self.training)}
        seen = [self.maps_of(place[record.id])[0] for record in records]
        columns = [torch.stack(maps) for maps in zip(*seen, strict=True)]
        return columns[1:] or columns

    def embeddings(self, model: AttentiveClassifier) -> np.ndarray:
        """Embeddings `(N, D)` of the whole training images by the model as it is."""
        return self._run(model, range(len(self.training)), pre_logits=True)

    def steadier_embeddings(self, model: AttentiveClassifier, whole: np.ndarray) -> np.ndarray:
        """Embeddings `(N, D)` of the training images half of `whole`, theirs as `embeddings` gives them, half the mean
        of their augmented views': what changes with the view averages out. Those as they are where no views are
        kept."""
        if not self.views:
            return whole
        count, total = len(self.training), np.zeros_like(whole)
        for view in range(1, 1 + self.views):
            total += self._run(model, range(view * count, (view + 1) * count), pre_logits=True)
        mean: np.ndarray = (whole + total / self.views) / 2
        return mean

    def validation_logits(self, model: AttentiveClassifier) -> np.ndarray:
        """Logits `(N, C)` of the validation images by the model as it is."""
        first = (1 + self.views) * len(self.training)
        return self._run(model, range(first, first + len(self.validation)), pre_logits=False)

    def _run(self, model: AttentiveClassifier, rows: range, pre_logits: bool) -> np.ndarray:
        training, found = model.training, []
        model.eval()
        with torch.inference_mode(), all_cores():
            for begin in range(0, len(rows), 2 * BLOCK):
                parts = [self.maps_of(row)[0] for row in rows[begin : begin + 2 * BLOCK]]
                # Outside of autocast, which cannot stack float16 on a CPU.
                features, *stages = [torch.stack(maps).to(self.device).float() for maps in zip(*parts, strict=True)]
                with autocast(self.precision, self.device):
                    result = model.attend(features, stages)
                    seen = result.features if result else features
                    found.append(model.forward_head(seen, pre_logits=pre_logits).float().cpu().numpy())
        model.train(training)
        return np.concatenate(found)


class FeatureViews(Dataset[FeatureBatch]):
    """Training images as maps of one of their views: which one is drawn from seed, epoch and index alone."""

    def __init__(self, features: FrozenFeatures, targets: Mapping[str, Target]) -> None:
        self.features, self.targets = features, targets

    def __len__(self) -> int:
        return len(self.features.training)

    def __getitem__(self, draw: Draw) -> FeatureBatch:
        epoch, index = draw
        features = self.features
        view = int(np.random.default_rng((features.seed, epoch, index)).integers(1 + features.views))
        maps, to_image = features.maps_of(view * len(self) + index)
        record = features.training[index]
        target, weight = Views.target_in_view(self.targets.get(record.id), to_image, features.side)
        return FeatureBatch(
            maps=maps,
            label=torch.tensor(features.class_index[record.label]),
            index=torch.tensor(index),
            target=target,
            target_weight=torch.tensor(weight),
        )


def feature_loader(views: FeatureViews, batches: Sampler[list[Draw]]) -> DataLoader[FeatureBatch]:
    """A loader in this process: reading a row is quicker than passing it from another one."""
    return DataLoader(views, batch_sampler=batches, num_workers=0)


def wanted_views(pipeline: Pipeline) -> int:
    """How many augmented views are to be kept; 0 where the backbone looks anew in every epoch."""
    asked = pipeline.train.cached_views
    return 0 if why_not_cached(pipeline) else AUTOMATIC_VIEWS if asked == "auto" else asked


def extract_features(
    source: FeatureSource,
    pipeline: Pipeline,
    training: Sequence[Record],
    validation: Sequence[Record],
    views: int,
    make: bool,
    advance: Callable[[int], object] = lambda images: None,
) -> FrozenFeatures:
    """Feature maps of all these images; with `make`, those that are not kept yet are made now.

    Raises `NoRoomError` where they cannot be kept.
    """
    side, seed = pipeline.model.input_side, pipeline.seed
    with torch.no_grad():
        features, stages = source.model.eval().maps(
            torch.zeros(1, source.model.in_chans, side, side, device=source.device)
        )
    shapes = tuple(tuple(maps.shape[1:]) for maps in (features, *stages))
    count = (1 + views) * len(training) + len(validation)
    row = (2 * sum(map(math.prod, shapes)) + AFFINE_BYTES,)
    settings = [side, views, seed, source.precision, pipeline.train.augment.model_dump(mode="json"), shapes]
    key = _key(source.model, settings, [*training, None, *validation])
    kept = FrozenFeatures(
        open_cache(f"features-{key}", [row] * count, np.dtype(np.uint8)),
        shapes, training, validation, source.class_index, side, views, seed, source.device, source.precision,
    )  # fmt: skip
    if make:
        _make_missing(kept, source, pipeline, advance)
    return kept


def _key(model: AttentiveClassifier, settings: object, records: Sequence[Record | None]) -> str:
    parts = [backbone_hash(model), files_hash(records), json.dumps(settings), torch.__version__]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _make_missing(
    kept: FrozenFeatures, source: FeatureSource, pipeline: Pipeline, advance: Callable[[int], object]
) -> None:
    augment = TrainAugment(pipeline.train.augment, kept.side)
    whole = Views(kept.training, kept.class_index, kept.side)
    augmented = Views(kept.training, kept.class_index, kept.side, augment, seed=kept.seed)
    validation = Views(kept.validation, kept.class_index, kept.side)
    begin, missing = 0, set(kept.rows.missing())
    for views, epoch in [(whole, 0), *((augmented, view) for view in range(kept.views)), (validation, 0)]:
        blocks = [range(b, min(b + BLOCK, len(views))) for b in range(0, len(views), BLOCK)]
        wanted = [block for block in blocks if any(begin + i in missing for i in block)]
        advance(len(views) - sum(map(len, wanted)))
        for batch in make_loader(views, _Blocks(wanted, epoch), source.workers, False):
            with torch.inference_mode(), all_cores(), autocast(kept.precision, kept.device):
                maps, stages = source.model.maps(normalise(batch["image"], source.model, kept.device))
            halves = [one.half().cpu().numpy().reshape(len(one), -1) for one in (maps, *stages)]
            affine = batch["to_image"].numpy().reshape(-1, 6).view(np.uint8)
            raw = np.concatenate([np.concatenate(halves, axis=1).view(np.uint8), affine], axis=1)
            for i, values in zip(batch["index"].tolist(), raw, strict=True):
                kept.rows.put(begin + i, values)
            advance(len(raw))
        begin += len(views)


class _Blocks(Sampler[list[Draw]]):
    def __init__(self, blocks: Sequence[range], epoch: int) -> None:
        self.blocks, self.epoch = blocks, epoch

    def __len__(self) -> int:
        return len(self.blocks)

    def __iter__(self) -> Iterator[list[Draw]]:
        return iter([[(self.epoch, i) for i in block] for block in self.blocks])
