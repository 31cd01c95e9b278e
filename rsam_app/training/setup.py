"""Setup of a training run: data, model, optimizer and schedule, identical on every process."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.utils.data import DataLoader

from rsam_app.config import Pipeline, TrainConfig
from rsam_app.data.augmentation.random_view import TrainAugment
from rsam_app.data.loader import Batch, Target, Views, loading_processes, make_loader
from rsam_app.data.records import Dataset
from rsam_app.data.sampling import EpochBatches
from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.evaluation.inference.run_model import Outputs, run_model
from rsam_app.model import AttentiveClassifier, build_model
from rsam_app.model.attention.second_look import LOOSE
from rsam_app.model.preprocess import normalise
from rsam_app.run.job import Job
from rsam_app.system.cache.rows import NoRoomError
from rsam_app.system.distributed.agreement import of_main
from rsam_app.system.errors import UserError, reason_of
from rsam_app.system.files import write_atomically
from rsam_app.system.precision import choose_precision
from rsam_app.training.checkpoint import Stateful, TrainingProgress, keep_in_checkpoints
from rsam_app.training.choose_second_look import Look, choose, may_choose, rectangle_is_taught
from rsam_app.training.depthwise import train_slow_depthwise_in_float32
from rsam_app.training.discovery.targets import discovered_targets, discovery_epoch, join_targets
from rsam_app.training.features.crops import CropEmbeddings, embed_crops
from rsam_app.training.features.frozen import (
    FeatureBatch,
    FeatureViews,
    FrozenFeatures,
    OnMaps,
    exchanged_share,
    extract_features,
    views_to_cache,
)
from rsam_app.training.features.source import FeatureSource
from rsam_app.training.held_out_probabilities import write_held_out_probabilities
from rsam_app.training.objective import Objective
from rsam_app.training.optimizer import make_optimizer, set_training_mode, warmup_cosine
from rsam_app.training.timing import TimeSpent
from rsam_app.training.training_dynamics import TrainingDynamics
from rsam_app.training.warm_start import start_attention, start_classifier


@dataclass
class TrainState:
    """Everything that a run trains with, and its progress. `loader` draws from `batches`."""

    bare: AttentiveClassifier
    """The model itself; `model` is what the accelerator made of it, or of its part behind the frozen maps."""
    model: nn.Module
    average: ModelEmaV3 | None
    """The moving average of `bare`."""
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    objective: Objective
    views: Views | FeatureViews
    batches: EpochBatches
    workers: int
    device: torch.device
    frozen: FrozenFeatures | None
    crops: CropEmbeddings | None
    dynamics: TrainingDynamics
    progress: TrainingProgress
    discovery_epoch: int | None
    """The epoch before which objects will be discovered; None if that is done or not wanted."""

    def __post_init__(self) -> None:
        self.times = TimeSpent()
        self.loader = self._make_loader()

    def load_targets(self, targets: dict[str, Target]) -> None:
        """Draw batches with these targets from now on, in new loading processes: running ones hold the old targets."""
        self.views.targets = targets
        if isinstance(self.views, FeatureViews):
            self.views.crops = self.crops
        self.loader = self._make_loader()

    def inputs(self, batch: Batch | FeatureBatch) -> Tensor | list[Tensor]:
        """The input of `model` for a batch: normalised images, or a frozen backbone's maps, on the device."""
        if isinstance(self.views, FeatureViews):
            return [maps.to(self.device).float() for maps in cast(FeatureBatch, batch)["maps"]]
        return normalise(cast(Batch, batch)["image"], self.bare, self.device)

    def _make_loader(self) -> DataLoader[Any]:
        if isinstance(self.views, FeatureViews):
            # In this process: reading a row is faster than receiving it from another process.
            return DataLoader(self.views, batch_sampler=self.batches)
        return make_loader(self.views, self.batches, self.workers, self.device.type == "cuda")


def begin(job: Job, fresh: bool) -> tuple[Pipeline, AttentiveClassifier | None]:
    """Remove an earlier run's files if the run is `fresh`, and return what `decide_second_look` does.

    Raises `UserError` if a process would get no images.
    """
    accelerator, run, training = job.accelerator, job.run, job.corrected.dataset.split("train")
    smallest_part(job.pipeline.train, len(training), accelerator.num_processes)
    if fresh and accelerator.is_main_process:
        for file in (run.path / "discovered.json", run.held_out_probabilities):
            file.unlink(missing_ok=True)
        write_atomically(run.training_records, json.dumps([record.id for record in training]))
    accelerator.wait_for_everyone()
    return decide_second_look(job, fresh)


def set_up(job: Job, inputs: str, fresh: bool, pipeline: Pipeline, fitted: AttentiveClassifier | None) -> TrainState:
    """Build a run's state at the start of training, with the pipeline and the fitted model that `begin` returned.

    With pretrained weights a `fresh` run fits rectangle, if it is not, and classifier to the features; a resumed run
    gets both from its checkpoint.
    """
    accelerator, run = job.accelerator, job.run
    dataset, reviewed = job.corrected.dataset, job.corrected.targets
    set_seed(pipeline.seed)
    bare = fitted or build_model(pipeline.model, dataset.classes)
    if smallest_part(pipeline.train, len(dataset.split("train")), accelerator.num_processes) == 1:
        refuse_single_images(pipeline, bare)
    if not fresh:
        context = of_main(accelerator, run.read_json().get("crop_context", LOOSE))
        bare.crop_context = bare._model_args["crop_context"] = context
    if accelerator.is_main_process:
        run.update_json(weights=bare.pretrained, crop_context=bare.crop_context)
    job.report_arrived(bare.pretrained)
    bare.to(accelerator.device)
    source = feature_source(job, bare)
    processes = f"{accelerator.num_processes} process(es)"
    job.reporter.say(f"training on {accelerator.device.type} in {source.precision}, {processes}")
    discovered = discovered_targets(job, source) if discovery_epoch(pipeline) == 0 else {}
    targets = join_targets(discovered, reviewed)
    frozen = frozen_features(job, pipeline, source, targets)
    crops = embed_crops(source, pipeline, frozen, targets) if frozen and bare.second_look else None
    if fresh and pipeline.model.weights != "none":
        if fitted is None:
            start_attention(job, bare, frozen or source, targets)
        embeddings = frozen.embeddings(bare) if frozen else model_outputs(job, bare, "train").embeddings
        embeddings = crops.embeddings(embeddings) if crops else embeddings
        start_classifier(job, bare, embeddings)
        if accelerator.is_main_process:
            if crops:
                embeddings = crops.averaged(embeddings)
            elif frozen:
                embeddings = frozen.averaged_embeddings(bare, embeddings)
            write_held_out_probabilities(run.held_out_probabilities, embeddings, dataset, pipeline.seed)
    state = build_state(pipeline, dataset, targets, bare, accelerator, frozen, inputs, crops)
    kept: list[Stateful] = [state.schedule, state.progress, state.dynamics, *([state.average] if state.average else [])]
    keep_in_checkpoints(accelerator, kept)
    return state


def decide_second_look(job: Job, fresh: bool) -> tuple[Pipeline, AttentiveClassifier | None]:
    """The job's pipeline with `model.second_look` decided, and, if a second look was chosen now, the model with its
    rectangle fitted to the targets.

    `auto` is decided by `choose` where it can be; the run stores the choice for a resume.
    """
    accelerator, run = job.accelerator, job.run
    if not fresh or not may_choose(job):
        stored = {} if fresh else run.read_json().get("second_look") or {}
        return _with_look(job.pipeline, of_main(accelerator, stored.get("chosen", False))), None
    pipeline, dataset = _with_look(job.pipeline, "only"), job.corrected.dataset
    set_seed(pipeline.seed)
    model = build_model(pipeline.model, dataset.classes)
    model.to(accelerator.device)
    source = feature_source(job, model)
    discovered = discovered_targets(job, source) if discovery_epoch(pipeline) == 0 else {}
    start_attention(job, model, source, join_targets(discovered, job.corrected.targets))
    main, records = accelerator.is_main_process, [*dataset.split("train"), *dataset.split("val")]
    choice = of_main(accelerator, choose(source, pipeline, records, rectangle_is_taught(job)) if main else None)
    assert choice is not None  # the main process has chosen
    job.reporter.say(choice.line())
    if accelerator.is_main_process:
        run.update_json(second_look=choice.as_dict())
    if choice.look is False:
        return _with_look(job.pipeline, False), None
    model.second_look = model._model_args["second_look"] = choice.look
    return _with_look(job.pipeline, choice.look), model


def _with_look(pipeline: Pipeline, look: Look) -> Pipeline:
    """The pipeline with this look, and surroundings exchanged for its sake, where it leaves both open."""
    model, train = pipeline.model, pipeline.train
    if model.second_look != "auto":
        look = False
    else:
        model = model.model_copy(update={"second_look": look})
    if train.exchange_surroundings == "auto":
        train = train.model_copy(update={"exchange_surroundings": 1.0 if look in (True, "only") else 0.0})
    return pipeline.model_copy(update={"model": model, "train": train})


def smallest_part(config: TrainConfig, images: int, processes: int) -> int:
    """Images in the smallest of the parts that `batch_size`, the processes and `accumulate` divide an epoch into.

    Raises `UserError` if a process would get no images.
    """
    if min(config.batch_size, images) < processes:
        what = f"{config.batch_size} is" if config.batch_size < processes else f"{images} training images are"
        raise UserError(
            f"train.batch_size: {what} fewer than the {processes} processes, so some would have no images.\n"
            f"Give at most --processes {min(config.batch_size, images)}"
            + (f", or set train.batch_size to {processes} or more." if config.batch_size < processes else ".")
        )
    of_process = [size // processes for size in EpochBatches(images, config.batch_size, 0, 0, processes).sizes]
    return min(size // min(config.accumulate, size) for size in of_process)


def refuse_single_images(pipeline: Pipeline, bare: AttentiveClassifier) -> None:
    """Raise `UserError` if the model cannot train on one image: batch norm on a map of one cell needs two."""
    config, side = pipeline.train, pipeline.model.input_side
    model = copy.deepcopy(bare)  # its batch-norm statistics are discarded
    set_training_mode(model, config, pretrained=pipeline.model.weights != "none")
    try:
        with torch.no_grad(), torch.random.fork_rng():
            model(torch.zeros(1, bare.in_chans, side, side))
    except ValueError as error:
        raise UserError(
            f"train.batch_size: {config.batch_size} leaves a single image to a batch, or to a part of one, but at"
            f" model.image_size {pipeline.model.image_size} batch norm needs two ({reason_of(error)}).\n"
            "Set train.freeze_batch_norm: true, raise model.image_size, or change train.batch_size, train.accumulate or"
            " --processes, so that every part has two."
        ) from error


def build_state(
    pipeline: Pipeline,
    dataset: Dataset,
    targets: dict[str, Target],
    bare: AttentiveClassifier,
    accelerator: Accelerator,
    frozen: FrozenFeatures | None = None,
    inputs: str = "",
    crops: CropEmbeddings | None = None,
) -> TrainState:
    """Prepare model, optimizer, schedule and loader for the accelerator; on `frozen` features if given.

    The schedule is not prepared: prepared schedules step once per process.
    """
    config, side = pipeline.train, pipeline.model.input_side
    labels = np.array([dataset.class_index[record.label] for record in dataset.split("train")])
    weights = balanced_weights(labels)
    batches = EpochBatches(
        len(labels),
        config.batch_size,
        pipeline.seed,
        accelerator.process_index,
        accelerator.num_processes,
        weights / weights.sum() if config.sampling == "balanced" else None,
    )
    bare.to(accelerator.device)
    precision = choose_precision(config.precision, accelerator.device)
    if accelerator.device.type == "cpu" and precision == "bfloat16":
        train_slow_depthwise_in_float32(bare)
    optimizer = make_optimizer(bare, config, fitted=pipeline.model.weights != "none")
    updates = len(batches.sizes)
    phases = (round(config.warmup_epochs * updates), config.epochs * updates, round(config.head_epochs * updates))
    schedule = warmup_cosine(optimizer, *phases)
    if config.gradient_checkpointing:
        _checkpoint_gradients(bare, pipeline)
    average = ModelEmaV3(bare, decay=config.ema, use_warmup=True) if config.ema else None
    trained: nn.Module = OnMaps(bare, side) if frozen else bare
    if config.compile:
        trained.compile()
    model, optimizer = accelerator.prepare(trained, optimizer)
    sample_weights = weights if config.class_weights == "balanced" else np.ones(len(labels))
    return TrainState(
        bare=bare,
        model=model,
        average=average,
        optimizer=optimizer,
        schedule=schedule,
        objective=Objective(
            pipeline, model, torch.from_numpy(sample_weights.astype(np.float32)), accelerator.device, precision
        ),
        views=FeatureViews(frozen, targets, crops) if frozen else _image_views(pipeline, dataset, targets),
        batches=batches,
        workers=loading_processes(config.workers, accelerator.num_processes),
        device=accelerator.device,
        frozen=frozen,
        crops=crops,
        dynamics=TrainingDynamics(len(labels), len(dataset.classes)),
        progress=TrainingProgress(inputs=inputs),
        discovery_epoch=discovery_epoch(pipeline),
    )


def balanced_weights(labels: np.ndarray) -> np.ndarray:
    """A weight `(N,)` per image with which all classes that have images count equally; their mean is 1."""
    counts = np.bincount(labels)
    weights: np.ndarray = len(labels) / (np.count_nonzero(counts) * counts[labels])
    return weights


def _image_views(pipeline: Pipeline, dataset: Dataset, targets: dict[str, Target]) -> Views:
    side = pipeline.model.input_side
    augment = TrainAugment(pipeline.train.augment, side)
    exchanged = exchanged_share(pipeline)
    return Views(dataset.split("train"), dataset.class_index, side, augment, targets, pipeline.seed, exchanged)


def _checkpoint_gradients(bare: AttentiveClassifier, pipeline: Pipeline) -> None:
    try:
        bare.backbone.set_grad_checkpointing(True)
    except (AttributeError, AssertionError) as error:
        raise UserError(
            f"train.gradient_checkpointing: {pipeline.model.backbone} does not support it."
            " Set it to false, or raise train.accumulate."
        ) from error


def feature_source(job: Job, model: AttentiveClassifier) -> FeatureSource:
    """The model as a source of feature maps, with the job's device, precision and loading processes."""
    config, accelerator = job.pipeline.train, job.accelerator
    precision = choose_precision(config.precision, accelerator.device)
    workers = loading_processes(config.workers, accelerator.num_processes)
    return FeatureSource(model, job.corrected.dataset.class_index, accelerator.device, precision, workers)


def frozen_features(
    job: Job, pipeline: Pipeline, source: FeatureSource, targets: dict[str, Target]
) -> FrozenFeatures | None:
    """The frozen backbone's maps; one process of each machine computes those that are not cached yet. None if the
    pipeline does not want them, or, with a message, if there is no room for them."""
    views, dataset = views_to_cache(pipeline), job.corrected.dataset
    if not views:
        return None
    training, validation = dataset.split("train"), dataset.split("val")
    job.reporter.say(
        f"backbone frozen: caching features of {1 + views} views of each of {len(training)} training images"
    )
    make = job.accelerator.is_local_main_process
    frozen, problem = None, ""
    try:
        frozen = extract_features(source, pipeline, training, validation, views, make, targets)
    except NoRoomError as error:
        problem = str(error)
    job.accelerator.wait_for_everyone()
    problems = [one for one in gather_object([problem]) if one]
    if problems:
        job.reporter.say(f"feature maps are not cached, so every epoch computes new views: {problems[0]}")
        return None
    return frozen


def model_outputs(job: Job, model: AttentiveClassifier, split: str) -> Outputs:
    """The model's outputs for the whole images of a split. Every process must call it."""
    device, config = job.accelerator.device, job.pipeline.train
    precision = choose_precision(config.precision, device)
    runner = ModelRunner(model, device, precision, job.pipeline.evaluate.batch_size, config.workers)
    return run_model(runner, job.corrected.dataset.split(split))
