"""`rsam label`: label photographs in the App before there is a model, in batches with reasons and suggestions."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rsam_app.config import Card, load_card, load_pipeline
from rsam_app.config.load import known_names
from rsam_app.data import UNLABELLED, Images, list_images
from rsam_app.data.layouts.folder import folders_in
from rsam_app.data.layouts.ignored import Ignored
from rsam_app.data.layouts.recognise import recognise_unlabelled
from rsam_app.data.left_out import first_names
from rsam_app.data.unlabelled import list_unlabelled
from rsam_app.review.dataset.memory import LabellingMemory
from rsam_app.review.dataset.schema import memory
from rsam_app.review.labelling.batches import choose_ahead, is_batch_done, left_in_batch, take_batch
from rsam_app.review.labelling.begin import begin_labelling
from rsam_app.review.labelling.follow import LabelFollower
from rsam_app.run.job import Job
from rsam_app.system.errors import UserError
from rsam_app.system.progress import Reporter
from rsam_app.workflow.init import initialise, name_of, write_pipeline

FEW_LEFT = 10
"""Images left in a batch at which the next one is chosen."""
TABLES = (".csv", ".parquet", ".arrow")


@dataclass
class Labelling:
    """A dataset that is being labelled: computes features beside the App, and follows the labels given in it."""

    job: Job
    reference: str
    """The pipeline's name or file."""
    overrides: Sequence[str]
    review_set: Any
    follower: LabelFollower
    _features: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _noted: bool = field(default=False, init=False)
    _ahead: threading.Thread | None = field(default=None, init=False)
    _ahead_of: int = field(default=0, init=False)

    def step(self) -> None:
        """Start computing the features, or take note that they are computed; follow the labels; choose the next batch
        ahead.

        To be called every second while the App is open.
        """
        if self._features is None:
            self._features = self._start()
        elif not self._noted and self._features.poll() is not None:
            self._noted = True
            self._note_features(self._features.returncode)
        self.follower.step()
        self._choose_ahead()

    def take_first_batch(self) -> None:
        """Choose a batch, unless one is unfinished."""
        if is_batch_done(self.review_set):
            take_batch(self.review_set)

    def finish(self) -> None:
        """Compute the features to their end, take the first batch and follow the labels."""
        self._features = self._features or self._start()
        self._features.wait()
        self.step()
        self.take_first_batch()

    def close(self) -> None:
        """Stop computing, and record the labels given so far."""
        if self._features and self._features.poll() is None:
            self._features.terminate()
            self._features.wait()
        self.follower.step()

    def summary(self) -> str:
        """One line: how many images are labelled, and what to do with them."""
        counts = self.review_set.count_values("ground_truth.label")
        left = counts.pop(None, 0)
        labelled = f"{sum(counts.values()):,} images of {len(counts):,} classes have a label, {left:,} have none"
        return f"{labelled}. `rsam run {self.reference}` trains with them." if len(counts) > 1 else f"{labelled}."

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "rsam_app.workflow.label_features", str(os.getpid()), self.reference]
        # In a process group of its own: Ctrl-C closes the App, and is not an error of this process.
        return subprocess.Popen([*command, str(self.job.run.path), *self.overrides], process_group=0)

    def _choose_ahead(self) -> None:
        """Begin to choose the next batch if few images of this one are left: it takes seconds for 10,000 images."""
        if not self._noted or (self._ahead and self._ahead.is_alive()) or left_in_batch(self.review_set) > FEW_LEFT:
            return
        self.review_set.reload()
        labelling = memory(self.review_set).labelling
        if labelling and labelling.batch and not labelling.at_random and labelling.batch != self._ahead_of:
            self._ahead_of = labelling.batch
            self._ahead = threading.Thread(target=self._choose_after, args=(labelling,), daemon=True)
            self._ahead.start()

    def _choose_after(self, labelling: LabellingMemory) -> None:
        try:
            choose_ahead(self.review_set, labelling)
        except UserError as error:
            self.job.reporter.say(f"the next batch is not chosen ahead: {error}")

    def _note_features(self, code: int) -> None:
        """Replace a batch that was drawn at random. A failure is reported: labelling goes on without features."""
        self.review_set.reload()  # the App may have taken another batch
        labelling = memory(self.review_set).labelling
        if code:
            self.job.reporter.say("Without features, images come at random and nothing is suggested.")
        elif labelling and labelling.at_random and (batch := take_batch(self.review_set, same_number=True)):
            self.job.reporter.say(f"batch {batch.number}: {len(batch.ids)} images that represent most others")


def begin(job: Job, reference: str, overrides: Sequence[str], classes: Sequence[str], budget: int) -> Labelling:
    """Write the job's images into FiftyOne. No image is opened.

    Raises `UserError` if all images have labels.
    """
    if budget < 1:
        raise UserError(f"rsam label: budget is {budget}, expected at least 1.")
    images = list_images(job.card)
    _refuse_labelled(job.card, images)
    if not job.run.config_path.exists():  # a training may hold it
        with job.run.writing():
            job.create_run()
    job.run.labelled_in_app.touch()
    with job.reporter.bar("writing into FiftyOne") as advance:
        review_set = begin_labelling(job.card, images, job.run, job.pipeline.name, budget, classes, advance)
    return Labelling(job, reference, overrides, review_set, LabelFollower(review_set, job.reporter.say))


def pipeline_to_label(
    target: str, name: str | None, backbone: str | None, reporter: Reporter, ignore_folders: bool = False
) -> str:
    """Return the name of the pipeline for a folder of photographs, a list of them, or a card.

    For a folder without a card, card and pipeline are written as by `rsam init`; for a card without a pipeline of its
    name, the pipeline. Folders that have dates as names are not classes; with `ignore_folders`, none is. Raises
    `UserError`, and writes nothing, if the images are sorted into classes already.
    """
    path = Path(os.path.expanduser(target))
    if path.is_dir() or (path.suffix in TABLES and path.exists()):
        return _pipeline_of_folder(path, name or name_of(path), backbone, reporter, ignore_folders)
    if option := f"--name {name}" if name else "--ignore-folders" if ignore_folders else "":
        raise UserError(f"rsam label {option}: is for a folder of photographs, and {target} is a card.")
    card = load_card(target)
    return _pipeline_of_card(card, str(path.resolve()) if path.suffix == ".yaml" else target, backbone, reporter)


def _pipeline_of_folder(path: Path, name: str, backbone: str | None, reporter: Reporter, ignore_folders: bool) -> str:
    file = Path("datasets", f"{name}.yaml")
    if file.exists():
        card = load_card(file)
        places = [card.root_path.resolve(), card.root_path.resolve().parent]
        if path.resolve() not in [*places, *([card.unlabelled_path.resolve()] if card.unlabelled_path else [])]:
            raise UserError(
                f"{file}: is the card of other images, {card.root}.\n"
                f"Choose another name with --name; or run `rsam label {name}` to label those."
            )
        if ignore_folders and card.layout != "photographs":
            raise UserError(
                f"rsam label --ignore-folders: {file} has the layout {card.layout}. Set `layout: photographs` there."
            )
        return _pipeline_of_card(card, name, backbone, reporter)
    card, listing = recognise_unlabelled(path.absolute(), name, ignore_folders)
    labelled = [record for record in listing.records if record.label]
    if len(labelled) == len(listing.records) and not list_unlabelled(card, listing.records)[0]:
        raise UserError(
            f"{path}: all {len(labelled):,} images have a class already, e.g. {first_names(listing.classes)}.\n"
            f"`rsam init {path}` writes a card for them, and `rsam run {name}` trains. If the folders are not classes:"
            f" `rsam label {path} --ignore-folders`."
        )
    written = initialise(path, name, backbone, (card, listing))
    if below := folders_in(path, Ignored(path, ())) if card.layout == "photographs" else []:
        reporter.say(f"{len(listing.records):,} images; folders are not classes, e.g. {below[0].name}")
    reporter.say(f"wrote {written.card} and {written.pipeline}")
    return name


def _pipeline_of_card(card: Card, reference: str, backbone: str | None, reporter: Reporter) -> str:
    if card.name not in known_names("pipelines"):
        reporter.say(f"wrote {write_pipeline(card.name, reference, backbone)}")
    elif backbone:
        raise UserError(f"rsam label --backbone {backbone}: pipelines/{card.name}.yaml exists; set it there.")
    elif load_card(load_pipeline(card.name).dataset).name != card.name:
        raise UserError(f"pipelines/{card.name}.yaml: is a pipeline of another card. Rename it, or the card.")
    return card.name


def _refuse_labelled(card: Card, images: Images) -> None:
    if not any(record.split == UNLABELLED for record in images.records):
        raise UserError(
            f"card {card.name}: all {len(images.records):,} images have labels.\n"
            "Add photographs, or train with `rsam run PIPELINE`; then `rsam review RUN` corrects labels."
        )
