"""What a run trains on: data, model, optimizer and schedule, made the same way on every process."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor
from torch.utils.data import DataLoader

from rsam_app.config import Pipeline
from rsam_app.data.augmentation.random_view import TrainAugment
from rsam_app.data.loader import Batch, Target, Views, loading_processes, make_loader
from rsam_app.data.records import Dataset, Record
from rsam_app.data.sampling import EpochBatches
from rsam_app.geometry import rectangles as geometry
from rsam_app.geometry.types import Rectangle
from rsam_app.model import AttentiveClassifier
from rsam_app.model.attention import RSAM
from rsam_app.model.preprocess import normalise
from rsam_app.run.folder import RunFolder
from rsam_app.system.cache.rows import NoRoomError
from rsam_app.system.distributed.agreement import of_main
from rsam_app.system.errors import UserError
from rsam_app.system.files import write_atomically
from rsam_app.training.discovery.cache import discoveries_path, keep, read_discoveries
from rsam_app.training.discovery.discover import MOST_TO_LEARN_FROM, discover_rectangles
from rsam_app.training.features.frozen import (
    FeatureBatch,
    FeatureViews,
    FrozenFeatures,
    OnMaps,
    extract_features,
    feature_loader,
    wanted_views,
)
from rsam_app.training.features.source import FeatureSource
from rsam_app.training.optimizer import make_optimizer, warmup_cosine
from rsam_app.training.warm_start import fit_attention, fit_classifier

CORRECTED_WEIGHT = 5.0
"""A rectangle that a person gave counts as much as this many discovered ones."""

Say = Callable[[str], None]


@dataclass
class Workbench:
    """Everything the loop turns on. `loader` draws from `batches`."""

    model: torch.nn.Module
    bare: AttentiveClassifier
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    batches: EpochBatches
    views: Views | FeatureViews
    workers: int
    device: torch.device
    sample_weights: Tensor
    """How much each training image counts in the loss `(N,)`, 1 on average."""
    average: ModelEmaV3 | None
    """The moving average of `bare`."""

    def __post_init__(self) -> None:
        self.loader = self._make_loader()

    def load_targets(self, targets: dict[str, Target]) -> None:
        """Draw batches with these targets from now on, in new loading processes: the old ones keep what they had."""
        self.views.targets = targets
        self.loader = self._make_loader()

    def inputs(self, batch: Batch | FeatureBatch) -> Tensor | list[Tensor]:
        """What `model` takes of a batch: normalised images, or a frozen backbone's maps, on the device."""
        if isinstance(self.views, FeatureViews):
            return [maps.to(self.device).float() for maps in cast(FeatureBatch, batch)["maps"]]
        return normalise(cast(Batch, batch)["image"], self.bare, self.device)

    def _make_loader(self) -> DataLoader[Any]:
        if isinstance(self.views, FeatureViews):
            return feature_loader(self.views, self.batches)
        return make_loader(self.views, self.batches, self.workers, self.device.type == "cuda")


def build_workbench(
    pipeline: Pipeline,
    dataset: Dataset,
    targets: dict[str, Target],
    bare: AttentiveClassifier,
    accelerator: Accelerator,
    frozen: FrozenFeatures | None = None,
) -> Workbench:
    """Model, optimizer, schedule and loader, prepared for the accelerator; on `frozen` features where given.

    The schedule is not prepared: prepared schedules step once per process.
    """
    config = pipeline.train
    records = dataset.split("train")
    side = pipeline.model.input_side
    views: Views | FeatureViews
    if frozen:
        views = FeatureViews(frozen, targets)
    else:
        augment = TrainAugment(config.augment, side)
        views = Views(records, dataset.class_index, side, augment, targets, pipeline.seed)
    weights = balanced_weights(np.array([dataset.class_index[r.label] for r in records]))
    batches = EpochBatches(
        len(records),
        config.batch_size,
        pipeline.seed,
        accelerator.process_index,
        accelerator.num_processes,
        weights / weights.sum() if config.sampling == "balanced" else None,
    )
    workers = loading_processes(config.workers, accelerator.num_processes)
    bare.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(bare, config, fitted=pipeline.model.weights != "none")
    updates = len(batches.sizes)
    phases = (round(config.warmup_epochs * updates), config.epochs * updates, round(config.head_epochs * updates))
    schedule = warmup_cosine(optimizer, *phases)
    if config.gradient_checkpointing:
        _checkpoint_gradients(bare, pipeline)
    average = ModelEmaV3(bare, decay=config.ema, use_warmup=True) if config.ema else None
    trained: torch.nn.Module = OnMaps(bare, side) if frozen else bare
    if config.compile:
        trained.compile()
    model, optimizer = accelerator.prepare(trained, optimizer)
    counted = weights if config.class_weights == "balanced" else np.ones(len(records))
    sample_weights = torch.from_numpy(counted.astype(np.float32))
    return Workbench(
        model, bare, optimizer, schedule, batches, views, workers, accelerator.device, sample_weights, average
    )


def balanced_weights(labels: np.ndarray) -> np.ndarray:
    """A weight `(N,)` per image with which all classes that have images count alike; their mean is 1."""
    counts = np.bincount(labels)
    weights: np.ndarray = len(labels) / (np.count_nonzero(counts) * counts[labels])
    return weights


def _checkpoint_gradients(bare: AttentiveClassifier, pipeline: Pipeline) -> None:
    try:
        bare.backbone.set_grad_checkpointing(True)
    except (AttributeError, AssertionError) as error:
        raise UserError(
            f"train.gradient_checkpointing: {pipeline.model.backbone} cannot compute its activations twice."
            " Set it to false, or train.accumulate higher."
        ) from error


def frozen_features(
    source: FeatureSource, pipeline: Pipeline, dataset: Dataset, accelerator: Accelerator, say: Say
) -> FrozenFeatures | None:
    """The frozen backbone's maps, made by one process of each machine where they are not kept yet; None where none are
    wanted, or there is no room for them, which is said."""
    views = wanted_views(pipeline)
    if not views:
        return None
    training, validation = dataset.split("train"), dataset.split("val")
    say(f"backbone frozen: it looks once at {1 + views} views of each of {len(training)} training images")
    try:
        args = (source, pipeline, training, validation, views, accelerator.is_local_main_process)
        kept: FrozenFeatures | str = extract_features(*args)
    except NoRoomError as error:
        kept = str(error)
    accelerator.wait_for_everyone()
    reasons = [reason for reason in gather_object([kept if isinstance(kept, str) else ""]) if reason]
    if reasons or isinstance(kept, str):
        say(f"feature maps are not kept, so every epoch looks at new views: {reasons[0]}")
        return None
    return kept


def discovered_targets(
    pipeline: Pipeline, run: RunFolder, dataset: Dataset, source: FeatureSource, accelerator: Accelerator, say: Say
) -> dict[str, Rectangle]:
    """Rectangles by record id, found by the main process, told to the others, and kept in the run as
    `discovered.json` for a resume."""
    path = run.path / "discovered.json"
    if accelerator.is_main_process and not path.exists():
        write_atomically(path, json.dumps(_discover(pipeline, source, dataset.split("train"), say)))
    kept = json.loads(path.read_text()) if accelerator.is_main_process else {}
    return {k: Rectangle(*v) for k, v in of_main(accelerator, kept).items()}


def _discover(pipeline: Pipeline, source: FeatureSource, records: Sequence[Record], say: Say) -> dict[str, Rectangle]:
    size = 2 * pipeline.model.image_size
    pretrained = pipeline.model.weights != "none"  # else no other run has these weights
    path = discoveries_path(source, records, size, pipeline.seed) if pretrained else None
    known = read_discoveries(path) if path else None
    if known is not None:
        say(f"an earlier run found objects in {len(known)} of {len(records)} training images")
        return known
    say(f"looking for objects in {len(records)} training images, without boxes")
    found = discover_rectangles(source, records, size, pipeline.seed)
    say(f"found one in {len(found)} of {len(records)}")
    trouble = keep(path, found) if path else None
    if trouble:
        say(trouble)
    return found


def start_attention(
    bare: AttentiveClassifier,
    source: FeatureSource | FrozenFeatures,
    pipeline: Pipeline,
    dataset: Dataset,
    targets: dict[str, Target],
    say: Say,
) -> None:
    """Fit RSAM's rectangle to the targets on the features, as they are now, of at most 2,000 training images, those
    with the weightiest targets first. The same on every process."""
    records = sorted((r for r in dataset.split("train") if r.id in targets), key=lambda r: -targets[r.id][1])
    records = records[:MOST_TO_LEARN_FROM]
    if not isinstance(bare.attention, RSAM) or not records:
        return
    evidence = source.evidence(records, pipeline.model.input_side)
    height, width = evidence[-1].shape[2:]
    rectangles = torch.tensor([targets[r.id][0] for r in records])
    to_map = torch.cat([geometry.scaling(width / r.width, height / r.height, rectangles) for r in records])
    weights = torch.tensor([targets[r.id][1] for r in records])
    attention = bare.attention.to("cpu")
    placed = geometry.transform(rectangles, to_map)
    decay = pipeline.train.attention_weight_decay
    loss = fit_attention(attention, evidence, placed, weights, pipeline.seed, decay)
    attention.to(source.device)
    say(f"rectangle fitted to {len(records)} targets on the features as they are: loss {loss:.3f}")


def start_classifier(bare: AttentiveClassifier, embeddings: np.ndarray, dataset: Dataset, say: Say) -> None:
    """Fit the last layer, where it is linear, to the pretrained features of the training images."""
    classifier = bare.get_classifier()
    if not isinstance(classifier, torch.nn.Linear) or classifier.in_features != embeddings.shape[1]:
        say("the classifier is not one linear layer: it starts from its own initialisation")
        return
    labels = torch.tensor([dataset.class_index[r.label] for r in dataset.split("train")])
    loss = fit_classifier(classifier.cpu(), torch.from_numpy(embeddings), labels)
    say(f"classifier fitted to the pretrained features: training loss {loss:.3f}")


def join_targets(discovered: dict[str, Rectangle], corrected: dict[str, Rectangle]) -> dict[str, Target]:
    """Targets with their weights; what a person decided replaces what was discovered."""
    targets: dict[str, Target] = {key: (value, 1.0) for key, value in discovered.items()}
    targets.update({key: (value, CORRECTED_WEIGHT) for key, value in corrected.items()})
    return targets
