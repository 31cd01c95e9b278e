"""`rsam locate`: find the objects in the training images again, taught by all answers given so far.

The next training starts from the same rectangles, which stay cached.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from rsam_app.geometry.types import Rectangle
from rsam_app.run.answers import Answers
from rsam_app.run.job import Job
from rsam_app.system.errors import UserError


@dataclass(frozen=True)
class Located:
    """Where the objects of the training images are now: `rectangles` in image pixels by record id; the `answers` that
    taught it; the ids of the rectangles that `moved` since the run was trained, and of those marked wrong that `left`
    the place; and what more answers would bring."""

    rectangles: dict[str, Rectangle]
    answers: Answers
    moved: list[str]
    left: list[str]
    outlook: str
    seconds: float

    def text(self) -> str:
        """What the answers did, in a sentence."""
        wrong = self.answers.wrong.keys() - self.answers.right.keys()
        elsewhere = f"; of the {len(wrong):,} marked wrong {len(self.left):,} are elsewhere now" if wrong else ""
        return (
            f"{self.answers.count}: {len(self.moved):,} of {len(self.rectangles):,} rectangles moved{elsewhere}"
            f" ({self.seconds:.0f} s). {self.outlook}"
        ).rstrip()

    def as_dict(self) -> dict[str, Any]:
        """Its numbers, for JSON."""
        return {
            "right": len(self.answers.right),
            "wrong": len(self.answers.wrong),
            "rectangles": len(self.rectangles),
            "moved": len(self.moved),
            "left": len(self.left),
            "seconds": round(self.seconds, 1),
            "text": self.text(),
        }


def locate(job: Job) -> Located:
    """Locate the objects in the run's training images with all answers in the corrections table.

    Raises `UserError` if the run was not trained, discovers no objects, or nobody has answered.
    """
    from rsam_app.run.corrections import apply_corrections, corrections_path, read_corrections
    from rsam_app.training.discovery.targets import discover_in_training, moved, stored_targets

    stored = job.run.path / "discovered.json"
    if not stored.exists():
        raise UserError(
            f"{job.run.path}: this run discovered no objects, so there are none to locate again.\n"
            "Run `rsam train` first, with `model.attention: rsam` and `train.discover_objects: auto`."
        )
    before = stored_targets(stored)
    table = corrections_path(job.run.path, job.original.name)
    dataset, _, answers = apply_corrections(job.original, read_corrections(table))
    records = dataset.split("train")
    answers = answers.among(records)
    if not answers:
        raise UserError(
            f"{table}: nobody has answered about a rectangle of a training image yet.\n"
            "Draw, accept or mark some in the App, then run `rsam apply`."
        )
    begun = time.perf_counter()
    found = discover_in_training(job, _features(job), records, answers)
    after = found.rectangles
    changed, wrong = moved(before, after), {k: r for k, r in answers.wrong.items() if k not in answers.right}
    left = moved(wrong, {k: after[k] for k in wrong if k in after})
    outlook = found.outlook.sentence() if found.outlook else ""
    return Located(after, answers, changed, left, outlook, time.perf_counter() - begun)


def _features(job: Job) -> Any:
    """The features that training discovers objects in: the pretrained backbone's, or the trained one's."""
    from rsam_app.model import build_model, load_model
    from rsam_app.training.setup import feature_source

    if job.pipeline.model.weights == "none":
        model = load_model(job.run.model)
    else:
        config = job.pipeline.model.model_copy(update={"second_look": False})
        model = build_model(config, job.corrected.dataset.classes)
    return feature_source(job, model.to(job.accelerator.device))


def show_located(job: Job, located: Located) -> str:
    """Write the rectangles into FiftyOne, into the field `KEY_located` of the training images; returns a line about it.

    Raises `UserError` if the run is not in FiftyOne.
    """
    from rsam_app.review.dataset.schema import open_review
    from rsam_app.review.writing.write_located import write_located

    review_set, key = open_review(job.review_dataset), job.review_key
    field, view = write_located(review_set, key, located.rectangles, located.moved)
    return f"FiftyOne dataset {review_set.name!r}: field {field}; saved view {view!r} with the rectangles that moved"
