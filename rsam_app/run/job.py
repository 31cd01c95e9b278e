"""A job: the pipeline, run folder, data and processes of one command, opened once and shared by its stages."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsam_app.config import Card, Pipeline, apply_overrides, find_pipeline, load_card, load_pipeline
from rsam_app.config.pipeline import split_source
from rsam_app.config.validation import place_of
from rsam_app.data import Dataset, Images, load_dataset, load_images
from rsam_app.data.images.file_identity import stamp
from rsam_app.data.left_out import left_out_lines, listed
from rsam_app.data.records import UNLABELLED, renamed_classes
from rsam_app.geometry.types import Rectangle
from rsam_app.run.corrections import (
    CorrectedDataset,
    Correction,
    apply_corrections,
    class_names_in_force,
    corrections_path,
    earlier_labels,
    first_labels,
    read_corrections,
)
from rsam_app.run.folder import RunFolder
from rsam_app.run.trained_on import MeasuredDataset, as_model_knows, keep_in_train, training_ids
from rsam_app.system.errors import UserError
from rsam_app.system.files import fingerprint

if TYPE_CHECKING:
    from accelerate import Accelerator

    from rsam_app.system.progress import Reporter


@dataclass
class Job:
    """A pipeline at work in a run folder."""

    pipeline: Pipeline
    run: RunFolder
    reporter: Reporter
    _measured: tuple[Any, MeasuredDataset] | None = field(default=None, init=False, repr=False)

    @classmethod
    def of_pipeline(cls, reference: str, overrides: list[str], run: Path | None, reporter: Reporter) -> Job:
        """The job of a pipeline given by name or path; `run` defaults to `runs/<pipeline name>`."""
        pipeline = load_pipeline(reference, overrides)
        _check_transforms(pipeline, find_pipeline(reference), overrides)
        folder = RunFolder(run or Path("runs") / pipeline.name)
        if pipeline.review.into is None and folder.config_path.exists():  # `rsam review RUN --into NAME` stays
            review = pipeline.review.model_copy(update={"into": folder.load_pipeline().review.into})
            pipeline = pipeline.model_copy(update={"review": review})
        return cls(pipeline, folder, reporter)

    @classmethod
    def of_run(cls, run: Path, overrides: list[str], reporter: Reporter) -> Job:
        """The job of an existing run, with overrides for this command only."""
        folder = RunFolder(run)
        pipeline = apply_overrides(folder.load_pipeline(), overrides, folder.config_path)
        _check_transforms(pipeline, folder.config_path, overrides)
        return cls(pipeline, folder, reporter)

    def create_run(self) -> None:
        """Write the pipeline into a new run folder; an existing run keeps its own."""
        if not self.run.config_path.exists():
            self.run.save_pipeline(self.pipeline)

    def report_weights(self) -> None:
        """Report the file that the backbone's pretrained weights come from."""
        if self.pipeline.model.weights != "none":
            model = self.pipeline.model
            own = model.backbone if split_source(model.backbone)[0] else "timm, from its hub"
            self.reporter.say(f"backbone weights: {model.weights_file or own}")

    def report_arrived(self, weights: dict[str, Any]) -> None:
        """Report how many of the backbone's tensors got their values, from a built model's `pretrained`."""
        if weights["tensors"]:
            arrived, tensors = round(weights["arrived"] * weights["tensors"]), weights["tensors"]
            self.reporter.say(f"backbone weights: {arrived} of {tensors} tensors loaded, the classifier not counted")

    @cached_property
    def card(self) -> Card:
        """The card of the dataset."""
        return load_card(self.pipeline.dataset, place=str(self.run.config_path) if self.run.path.is_dir() else "")

    @cached_property
    def original(self) -> Dataset:
        """The dataset as it is on disk, without corrections; if no image there has a label, with those that the
        corrections give. Reading it reports what was left out or assumed."""
        labels = first_labels(self._read_corrections()[0])
        with self.reporter.bar("reading images") as advance:
            dataset = load_dataset(self.card, self.pipeline.seed, advance, labels)
        self._report_left_out(dataset)
        return dataset

    @cached_property
    def images(self) -> Images:
        """The card's images, whether or not they suffice for training; otherwise as `original`."""
        with self.reporter.bar("reading images") as advance:
            images = load_images(self.card, advance)
        self._report_left_out(images)
        return images

    def _report_left_out(self, checked: Dataset | Images) -> None:
        for line in left_out_lines(checked, self.card.root_path):
            self.reporter.say(line)

    def left_out(self, checked: Dataset | Images) -> dict[str, Any]:
        """All images and masks that were left out, as `(path, reason)`, and the notes: a part of `data` in `run.json`.

        Paths are relative to the card's root.
        """
        return {
            "skipped": listed(checked.skipped, self.card.root_path),
            "skipped_masks": listed(checked.skipped_masks, self.card.root_path),
            "notes": list(checked.notes),
        }

    def _read_corrections(self) -> tuple[list[Correction], int]:
        """The corrections that this run uses, and how many newer ones are left for the next round: a round uses only
        those that it began with."""
        table = read_corrections(corrections_path(self.run.path, self.card.name))
        rows = self.run.corrections_of_round
        used = table if rows is None else table[:rows]
        return used, len(table) - len(used)

    def corrections_line(self) -> str:
        """How many corrections this run uses, and from which table; empty if none."""
        corrections, later = self._read_corrections()
        if not corrections:
            return ""
        line = f"{len(corrections)} corrections from {corrections_path(self.run.path, self.card.name)}"
        return line + (f"; {later} newer ones are left for the next round" if later else "")

    @cached_property
    def corrected(self) -> CorrectedDataset:
        """The dataset with the reviewer's corrections, and the reviewer's target rectangles."""
        original = self.original  # its report comes first
        if line := self.corrections_line():
            self.reporter.say(line)
        corrected = apply_corrections(original, self._read_corrections()[0])
        for note in corrected.dataset.notes[len(self.original.notes) :]:
            self.reporter.say(note)
        return corrected

    @property
    def measured(self) -> MeasuredDataset:
        """The corrected dataset, with the images that the run's model was trained on in `train`, wherever the data have
        them by now. Reading it reports them."""
        from rsam_app.run.predictions import class_names

        # A training in this job replaces the file and the model.
        state = stamp(self.run.training_records), class_names(self.run)
        if self._measured is None or self._measured[0] != state:
            dataset, foreign = self._as_model_knows(state[1])
            measured = keep_in_train(dataset, training_ids(self.run.training_records))
            if foreign:
                self.reporter.say(foreign)
            for line in measured.lines():
                self.reporter.say(line)
            self._measured = state, measured
        return self._measured[1]

    @property
    def present_classes(self) -> list[str]:
        """The classes of the dataset's files under the names that reviewers gave them."""
        return renamed_classes(self.original.classes, class_names_in_force(self._read_corrections()[0]))

    def _as_model_knows(self, classes: tuple[str, ...]) -> tuple[Dataset, str]:
        filed, rows = self.original, self._read_corrections()[0]
        names = class_names_in_force(rows)
        placed = filed.taxonomy
        if placed and names:
            placed = placed.renamed(names, list(dict.fromkeys([*filed.classes, *names.values()])))
        return as_model_knows(self.corrected.dataset, classes, placed, earlier_labels(filed, rows))

    @property
    def review_key(self) -> str:
        """Prefix of the run's fields in FiftyOne."""
        return self.pipeline.review.key or self.run.key

    @property
    def review_dataset(self) -> str:
        """Name of the FiftyOne dataset that the run is reviewed in."""
        return self.pipeline.review.into or self.card.name

    @property
    def evaluated_split(self) -> str:
        """The pipeline's `evaluate.split`; `val` if that is `test`, which the dataset lacks."""
        split, dataset = self.pipeline.evaluate.split, self.corrected.dataset
        return "val" if split == "test" and not dataset.split("test") and dataset.split("val") else split

    @property
    def is_unmeasured(self) -> bool:
        """Whether no image can be held out to evaluate on, as only a few of many have a label so far."""
        dataset = self.corrected.dataset
        held_out = dataset.split(self.evaluated_split) or dataset.split("val") or dataset.split("test")
        return bool(dataset.split(UNLABELLED)) and not held_out

    def require_evaluated(self) -> None:
        """Raise `UserError` if the split to evaluate has no images, unless the dataset `is_unmeasured`: call it before
        hours of training."""
        if not self.is_unmeasured:
            self.corrected.dataset.require(self.evaluated_split)

    @property
    def learns_from(self) -> str:
        """Fingerprint of the training data: the corrected dataset, the targets and the other answers."""
        return fingerprint(self.corrected.dataset.fingerprint, *self.taught_rectangles)

    @property
    def taught_rectangles(self) -> tuple[list[tuple[str, Rectangle]], ...]:
        """All rectangles that training learns from, in a fixed order, for fingerprints: the targets, and, if there are
        any, the answers about other rectangles of training images."""
        dataset, targets, answers = self.corrected
        training = answers.among(dataset.split("train"))
        others = [{k: r for k, r in part.items() if k not in targets} for part in (training.right, training.wrong)]
        return (sorted(targets.items()), *(sorted(part.items()) for part in others if any(others)))

    @cached_property
    def accelerator(self) -> Accelerator:
        """The processes of this command.

        Raises `UserError` if one of them does not see this run folder and this data. The main process must hold the run
        for writing.
        """
        from rsam_app.system.allocator import retain_freed_memory
        from rsam_app.system.distributed.accelerator import make_accelerator
        from rsam_app.system.distributed.agreement import check_data, check_run_folder

        retain_freed_memory()
        accelerator = make_accelerator(self.pipeline.train.precision)
        check_run_folder(accelerator, self.run.path)
        check_data(accelerator, self.original.name, self.learns_from)
        return accelerator


def _check_transforms(pipeline: Pipeline, path: Path, overrides: list[str]) -> None:
    """Check the albumentations that a pipeline names; imported only if there are any, as that takes seconds."""
    augment = pipeline.train.augment
    for key in ("extra", "transforms"):
        if getattr(augment, key):
            from rsam_app.data.augmentation.named_transforms import NamedTransforms

            try:
                NamedTransforms(getattr(augment, key), f"train.augment.{key}")
            except UserError as error:
                place = place_of(f"train.augment.{key}", path, overrides)
                raise UserError(f"{place}: {error}") from error
