"""Cached feature maps of a frozen backbone, on which attention and classifier are trained.

The backbone runs once on every whole training image and on a few augmented views of it; an epoch then draws one of them
per image and needs no backbone. The cache key covers the backbone's weights, the image files and the augmentation.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler

from rsam_app.config import Pipeline, why_not_cached
from rsam_app.data.augmentation.random_view import TrainAugment
from rsam_app.data.images.file_identity import files_hash
from rsam_app.data.loader import Target, Views, make_loader
from rsam_app.data.records import Record
from rsam_app.data.sampling import Draw
from rsam_app.evaluation.inference.model_runner import all_cores
from rsam_app.model import AttentiveClassifier, AttentiveOutput
from rsam_app.model.fold_batch_norms import fold_batch_norms
from rsam_app.model.preprocess import normalise
from rsam_app.model.store import backbone_hash
from rsam_app.system.cache.rows import RowCache, open_cache
from rsam_app.system.errors import UserError
from rsam_app.system.files import sha256_of
from rsam_app.system.precision import autocast
from rsam_app.system.versions import FEATURE_MAPS
from rsam_app.training.features.source import FeatureSource

if TYPE_CHECKING:
    from rsam_app.training.features.crops import CropEmbeddings

BLOCK = 32
"""Images per batch of the backbone. A block is computed as a whole, so that a row's last bits do not depend on which
rows were cached already."""

AFFINE_BYTES = 24

AUTOMATIC_VIEWS = 4


class FeatureBatch(TypedDict):
    """`maps`: the last feature map `(B, C, H, W)`, those of the stages that the rectangle is predicted from, and, with
    a second look, the crops' embeddings `(B, D)`, half precision; the other fields as in a batch of images."""

    maps: list[Tensor]
    label: Tensor
    index: Tensor
    target: Tensor
    target_weight: Tensor


class OnMaps(nn.Module):
    """The part of a classifier behind its backbone, for inputs of `side` pixels."""

    def __init__(self, model: AttentiveClassifier, side: int) -> None:
        super().__init__()
        self.model, self.side = model, side

    def forward(self, maps: Sequence[Tensor], return_output: bool = True, outside: bool = False) -> AttentiveOutput:
        """The output for the `maps` of a batch; the rectangle is in input pixels."""
        crop = maps[-1] if self.model.second_look else None
        stages = maps[1:] if crop is None else maps[1:-1]
        return self.model.forward_maps(maps[0], stages, (self.side, self.side), outside, crop)


@dataclass(frozen=True)
class FrozenFeatures:
    """Feature maps of whole training images, of `views` augmented views of each, and of whole validation images."""

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
        """A row's feature maps, half precision, and the affine `(2, 3)` from its input's pixels to the image's.

        Raises `UserError` if the row is damaged.
        """
        raw = self.rows.get(row)
        if raw is None:
            raise UserError(
                f"{self.rows.folder}: feature maps are damaged. Remove the folder and rerun with `--resume`."
            )
        halves, maps, begin = torch.from_numpy(raw[:-AFFINE_BYTES].view(np.float16)), [], 0
        for shape in self.shapes:
            maps.append(halves[begin : begin + math.prod(shape)].view(shape))
            begin += math.prod(shape)
        return maps, raw[-AFFINE_BYTES:].view(np.float32).reshape(2, 3)

    def evidence(self, records: Sequence[Record], size: int) -> list[Tensor]:
        """The maps `(N, C, H, W)`, half precision, that the rectangles of whole training images are predicted from."""
        rows = {record.id: row for row, record in enumerate(self.training)}
        maps = [self.maps_of(rows[record.id])[0] for record in records]
        last, *stages = [torch.stack(parts) for parts in zip(*maps, strict=True)]
        return stages or [last]

    def embeddings(self, model: AttentiveClassifier) -> np.ndarray:
        """The model's embeddings `(N, D)` of the whole training images."""
        return self._run(model, range(len(self.training)), pre_logits=True)

    def averaged_embeddings(self, model: AttentiveClassifier, whole: np.ndarray) -> np.ndarray:
        """The mean `(N, D)` of `whole`, the result of `embeddings`, and the average over the augmented views, in which
        effects of the view cancel out. `whole` itself without augmented views."""
        if not self.views:
            return whole
        count, total = len(self.training), np.zeros_like(whole)
        for view in range(1, 1 + self.views):
            total += self._run(model, range(view * count, (view + 1) * count), pre_logits=True)
        mean: np.ndarray = (whole + total / self.views) / 2
        return mean

    def validation_logits(self, model: AttentiveClassifier) -> np.ndarray:
        """The model's logits `(N, C)` of the validation images."""
        first = (1 + self.views) * len(self.training)
        return self._run(model, range(first, first + len(self.validation)), pre_logits=False)

    def _run(self, model: AttentiveClassifier, rows: range, pre_logits: bool) -> np.ndarray:
        training, parts = model.training, []
        model.eval()
        with torch.inference_mode(), all_cores():
            for begin in range(0, len(rows), 2 * BLOCK):
                maps = [self.maps_of(row)[0] for row in rows[begin : begin + 2 * BLOCK]]
                # Outside autocast, which cannot stack float16 on a CPU.
                features, *stages = [torch.stack(one).to(self.device).float() for one in zip(*maps, strict=True)]
                with autocast(self.precision, self.device):
                    result = model.attend(features, stages)
                    gated = result.features if result else features
                    parts.append(model.forward_head(gated, pre_logits=pre_logits).float().cpu().numpy())
        model.train(training)
        return np.concatenate(parts)


class FeatureViews(Dataset[FeatureBatch]):
    """Training images as maps of one of their views, which is drawn from seed, epoch and index alone."""

    def __init__(
        self, features: FrozenFeatures, targets: Mapping[str, Target], crops: CropEmbeddings | None = None
    ) -> None:
        self.features, self.targets, self.crops = features, targets, crops

    def __len__(self) -> int:
        return len(self.features.training)

    def __getitem__(self, draw: Draw) -> FeatureBatch:
        epoch, index = draw
        features = self.features
        view = int(np.random.default_rng((features.seed, epoch, index)).integers(1 + features.views))
        maps, to_image = features.maps_of(view * len(self) + index)
        if self.crops is not None:
            maps.append(self.crops.training[view, index])
        record = features.training[index]
        target, weight = Views.target_in_view(self.targets.get(record.id), to_image, features.side)
        return FeatureBatch(
            maps=maps,
            label=torch.tensor(features.class_index[record.label]),
            index=torch.tensor(index),
            target=target,
            target_weight=torch.tensor(weight),
        )


def views_to_cache(pipeline: Pipeline) -> int:
    """The number of augmented views per image to cache; 0 if the backbone runs in every epoch."""
    views = pipeline.train.cached_views
    return 0 if why_not_cached(pipeline) else AUTOMATIC_VIEWS if views == "auto" else views


def exchanged_share(pipeline: Pipeline) -> float:
    """The share of the augmented views whose surroundings are exchanged; 0 unless the pipeline or a training decided
    otherwise."""
    share = pipeline.train.exchange_surroundings
    return 0.0 if share == "auto" else share


def extract_features(
    source: FeatureSource,
    pipeline: Pipeline,
    training: Sequence[Record],
    validation: Sequence[Record],
    views: int,
    make: bool,
    targets: Mapping[str, Target] | None = None,
) -> FrozenFeatures:
    """Cached feature maps of all these images; with `make`, missing ones are computed now.

    Surroundings are exchanged along the `targets`. Raises `NoRoomError` if the cache cannot hold them.
    """
    side, seed = pipeline.model.input_side, pipeline.seed
    with torch.no_grad():
        blank = torch.zeros(1, source.model.in_chans, side, side, device=source.device)
        features, stages = source.model.eval().maps(source.model.shrink(blank))
    shapes = tuple(tuple(maps.shape[1:]) for maps in (features, *stages))
    count = (1 + views) * len(training) + len(validation)
    row = (2 * sum(map(math.prod, shapes)) + AFFINE_BYTES,)
    settings = [
        FEATURE_MAPS,
        side,
        views,
        seed,
        source.precision,
        pipeline.train.augment.model_dump(mode="json"),
        shapes,
    ]
    if exchanged := exchanged_share(pipeline):
        settings += [exchanged, targets]
    images = files_hash([*training, None, *validation])
    key = sha256_of("\n".join([backbone_hash(source.model), images, json.dumps(settings), torch.__version__]))[:24]
    frozen = FrozenFeatures(
        open_cache(f"features-{key}", [row] * count, np.dtype(np.uint8)),
        shapes, training, validation, source.class_index, side, views, seed, source.device, source.precision,
    )  # fmt: skip
    if make:
        _compute_missing(frozen, source, pipeline, targets)
    return frozen


def _compute_missing(
    frozen: FrozenFeatures, source: FeatureSource, pipeline: Pipeline, targets: Mapping[str, Target] | None
) -> None:
    validation = Views(frozen.validation, frozen.class_index, frozen.side)
    begin, missing = 0, set(frozen.rows.missing())
    model = fold_batch_norms(source.model) if missing else source.model
    for views, epoch in [*training_views(frozen, pipeline, targets), (validation, 0)]:
        incomplete = [block for block in blocks_of(len(views)) if any(begin + i in missing for i in block)]
        for batch in make_loader(views, Blocks(incomplete, epoch), source.workers, False):
            with torch.inference_mode(), all_cores(), autocast(frozen.precision, frozen.device):
                images = normalise(batch["image"], model, frozen.device)
                maps, stages = model.maps(model.shrink(images))
            halves = [one.half().cpu().numpy().reshape(len(one), -1) for one in (maps, *stages)]
            affine = batch["to_image"].numpy().reshape(-1, 6).view(np.uint8)
            raw = np.concatenate([np.concatenate(halves, axis=1).view(np.uint8), affine], axis=1)
            for i, values in zip(batch["index"].tolist(), raw, strict=True):
                frozen.rows.put(begin + i, values)
        begin += len(views)


def training_views(
    frozen: FrozenFeatures, pipeline: Pipeline, targets: Mapping[str, Target] | None = None
) -> list[tuple[Views, int]]:
    """The views of the training images that are cached, each as dataset and epoch to draw from: the whole images, then
    the augmented ones."""
    augment = TrainAugment(pipeline.train.augment, frozen.side)
    whole = Views(frozen.training, frozen.class_index, frozen.side, None, targets)
    augmented = Views(
        frozen.training, frozen.class_index, frozen.side, augment, targets, frozen.seed, exchanged_share(pipeline)
    )
    return [(whole, 0), *((augmented, view) for view in range(frozen.views))]


def blocks_of(count: int) -> list[range]:
    """The indices of `count` images, in order, in batches of `BLOCK`."""
    return [range(begin, min(begin + BLOCK, count)) for begin in range(0, count, BLOCK)]


class Blocks(Sampler[list[Draw]]):
    """Batches of these images, all of one epoch."""

    def __init__(self, blocks: Sequence[range], epoch: int) -> None:
        self.blocks, self.epoch = blocks, epoch

    def __len__(self) -> int:
        return len(self.blocks)

    def __iter__(self) -> Iterator[list[Draw]]:
        return iter([[(self.epoch, i) for i in block] for block in self.blocks])
