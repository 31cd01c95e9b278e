"""One command's work on one run: its pipeline, folder, data and processes, opened once and shared by its stages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rsam_app.config import Card, Pipeline, find_pipeline, load_card, load_pipeline, overridden
from rsam_app.data import Dataset, load_dataset
from rsam_app.geometry.types import Rectangle
from rsam_app.run.corrections import apply_corrections, corrections_path, read_corrections
from rsam_app.run.folder import RunFolder
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
    corrections: int | None = None
    """How many rows of the corrections table hold; None: those that the run's round began with, else all."""

    @classmethod
    def of_pipeline(cls, reference: str, overrides: list[str], run: Path | None, reporter: Reporter) -> Job:
        """The job of a pipeline's name or path; its run is `runs/<pipeline name>` where not given."""
        pipeline = load_pipeline(reference, overrides)
        _check_transforms(pipeline, find_pipeline(reference))
        return cls(pipeline, RunFolder(run or Path("runs") / pipeline.name), reporter)

    @classmethod
    def of_run(cls, run: Path, overrides: list[str], reporter: Reporter) -> Job:
        """The job that made a run, with overrides that hold for this command."""
        folder = RunFolder(run)
        pipeline = overridden(folder.load_pipeline(), overrides, folder.config_path)
        _check_transforms(pipeline, folder.config_path)
        return cls(pipeline, folder, reporter)

    def own_run(self) -> None:
        """Make a new folder the run of this pipeline; a run that exists keeps its own."""
        if not self.run.config_path.exists():
            self.run.save_pipeline(self.pipeline)

    @cached_property
    def card(self) -> Card:
        """The card of the dataset."""
        return load_card(self.pipeline.dataset)

    @cached_property
    def original(self) -> Dataset:
        """The dataset as its files have it."""
        with self.reporter.bar("reading images") as advance:
            return load_dataset(self.card, self.pipeline.seed, advance)

    @cached_property
    def corrected(self) -> tuple[Dataset, dict[str, Rectangle]]:
        """The dataset with a person's decisions applied, and the rectangles she gave, by record id."""
        path = corrections_path(self.run.path, self.original.name)
        table = read_corrections(path)
        corrections = table[: self._held(len(table))]
        if corrections:
            later = len(table) - len(corrections)
            self.reporter.say(
                f"{len(corrections)} corrections from {path}"
                + (f"; {later} came after this round began and are for the next" if later else "")
            )
        return apply_corrections(self.original, corrections)

    def _held(self, rows: int) -> int:
        if self.corrections is not None:
            return self.corrections
        begun = self.run.read_json().get("round", {}).get("corrections", {}).get("rows")
        return rows if begun is None else int(begun)

    @property
    def learns_from(self) -> str:
        """Fingerprint of what a training learns from: the corrected dataset and the rectangles a person gave."""
        dataset, rectangles = self.corrected
        return fingerprint(dataset.fingerprint, sorted(rectangles.items()))

    @cached_property
    def accelerator(self) -> Accelerator:
        """The processes this command was launched with; all see this run folder and this data.

        Raises `UserError` where they do not. The main process must hold the run for writing.
        """
        from rsam_app.system.allocator import retain_freed_memory
        from rsam_app.system.distributed.accelerator import make_accelerator
        from rsam_app.system.distributed.agreement import check_data, check_run_folder

        retain_freed_memory()
        accelerator = make_accelerator(self.pipeline.train.precision)
        check_run_folder(accelerator, self.run.path)
        check_data(accelerator, self.original.name, self.learns_from)
        return accelerator


def _check_transforms(pipeline: Pipeline, path: Path) -> None:
    """Try the albumentations that a pipeline names, if any: importing them takes seconds."""
    augment = pipeline.train.augment
    for key in ("extra", "transforms"):
        if getattr(augment, key):
            from rsam_app.data.augmentation.named_transforms import NamedTransforms

            try:
                NamedTransforms(getattr(augment, key), f"train.augment.{key}")
            except UserError as error:
                raise UserError(f"{path}: {error}") from error
