"""`rsam run --round`: the next run of a pipeline, trained with the latest corrections."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rsam_app.data.records import Record, by_id
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.run.corrections import corrections_path, read_corrections
from rsam_app.run.folder import RunFolder
from rsam_app.run.job import Job
from rsam_app.run.predictions import read_predictions
from rsam_app.system.errors import UserError
from rsam_app.system.files import sha256_of
from rsam_app.system.progress import is_main_process

STAGES = ("train", "evaluate", "review", "select")
"""The stages of a finished round."""


def round_of(path: Path) -> tuple[Path, int]:
    """The folder of the first round, and the number of the round in a run folder's name.

    `birds-round3` is the third round of `birds`; a name without a number is the first.
    """
    match = re.fullmatch(r"(.+)-round([2-9]|[1-9]\d+)", path.resolve().name)
    return (path.with_name(match[1]), int(match[2])) if match else (path, 1)


def round_folder(first: Path, number: int) -> RunFolder:
    """The run folder of a round."""
    return RunFolder(first if number == 1 else first.with_name(f"{first.name}-round{number}"))


def next_round(job: Job) -> Job:
    """The job of the round to run now, in a run folder beside that of `job`: the last round if it stopped before its
    end, or before its comparison with the round before, else the one after it.

    Writes nothing. Raises `UserError` if the first round is not trained yet, or if there are no new corrections since
    the last round.
    """
    first, _ = round_of(job.run.path)
    number = last_round(first)
    last = round_folder(first, number)
    if number > 1 and not is_finished(last):
        return _in_folder(job, last, number)
    if "train" not in last.finished_stages:
        raise UserError(
            f"{last.path}: the first round is not trained yet, so there is nothing to review.\n"
            f"Run `rsam run {job.pipeline.name}`, review in the App, run `rsam apply {last.path}`; then the next round."
        )
    following = _in_folder(job, round_folder(first, number + 1), number + 1)
    if not has_new_corrections(following, last):
        if number > 1 and "change" not in (last.read_json().get("round") or {}):  # stopped before its last line
            return _in_folder(job, last, number)
        raise UserError(
            f"{last.path}: no corrections since round {number} that the next round could learn from.\n"
            f"Review in the App (`rsam review {last.path}`), then run `rsam apply {last.path}`."
        )
    return following


def begin_round(job: Job) -> None:
    """Record in a new round's run which round and which corrections it starts from; the run is held for writing."""
    if not is_main_process() or job.run.read_json().get("round"):
        return
    first, number = round_of(job.run.path)
    before = round_folder(first, number - 1)
    path = corrections_path(job.run.path, job.original.name)
    rows = len(read_corrections(path))
    job.run.save_pipeline(job.pipeline)
    job.run.update_json(
        round={
            "number": number,
            "from": before.path.name,
            "from_model_sha256": _hash_of(before.model / "model.safetensors"),
            "corrections": {"file": f"corrections/{path.name}", "rows": rows, "sha256": _hash_of(path)},
        }
    )
    job.reporter.say(f"round {number}, after {before.path}, with {rows} corrections")
    old = before.load_pipeline()
    sections = ("dataset", "seed", "model", "train")
    changed = [name for name in sections if getattr(old, name) != getattr(job.pipeline, name)]
    if changed:
        job.reporter.say(f"settings differ from {before.path} in: {', '.join(changed)}; compare with care")


def end_round(job: Job) -> None:
    """Report, and record in a finished round's run, what changed since the round before."""
    if is_main_process():
        first, number = round_of(job.run.path)
        report_change(job, round_folder(first, number - 1))


def is_finished(run: RunFolder) -> bool:
    """Whether all stages of a round have finished."""
    return all(name in run.finished_stages for name in STAGES)


def has_new_corrections(following: Job, last: RunFolder) -> bool:
    """Whether the job of a new round would learn from other corrections than the round before."""
    return bool(following.learns_from != (last.read_json().get("data") or {}).get("learns_from"))


def last_round(first: Path) -> int:
    """The largest number of a round that has begun; 1 if there is only the first, or none."""
    begun = [round_of(path)[1] for path in first.parent.glob(f"{first.name}-round*") if (path / "run.json").exists()]
    return max([1, *begun])


def _in_folder(job: Job, run: RunFolder, number: int) -> Job:
    """The job in the folder of a round; a key set for its fields in FiftyOne gets the round's number."""
    key = job.pipeline.review.key
    if key is None:
        return replace(job, run=run)
    review = job.pipeline.review.model_copy(update={"key": f"{key}_round{number}"})
    return replace(job, run=run, pipeline=job.pipeline.model_copy(update={"review": review}))


def _hash_of(path: Path) -> str | None:
    return sha256_of(path) if path.exists() else None


@dataclass(frozen=True)
class RoundChange:
    """Counts over the images that both rounds predicted, judged by the present labels."""

    images: int
    right_before: int
    right_now: int
    mended: int
    """Wrong before, right now."""
    broken: int
    """Right before, wrong now."""
    iou_before: float | None
    """Mean IoU in [0, 1] of the rectangles with the dataset's boxes (see `rectangle_ious`), over images with a box and
    a rectangle of both rounds; None if there are none."""
    iou_now: float | None

    @property
    def p(self) -> float:
        """Two-sided p-value of McNemar's exact test, see `mcnemar`."""
        from rsam_app.evaluation.metrics.paired import mcnemar

        return mcnemar(self.mended, self.broken)

    def summary(self, split: str, before: str) -> str:
        """One line of text; `before` names the round before."""
        now, then = (100 * count / self.images for count in (self.right_now, self.right_before))
        details = f"{self.mended} fixed, {self.broken} broken, p = {self.p:.2g} by McNemar's test"
        if self.iou_before is not None:
            details += f"; IoU {self.iou_now:.3f}, before {self.iou_before:.3f}"
        return (
            f"compared with {before} on the same {self.images:,} {split} images:"
            f" {now:.1f} % right, before {then:.1f} % ({details})"
        )


def compare_predictions(before: pa.Table, now: pa.Table, records: Sequence[Record]) -> RoundChange | None:
    """The change between two predictions tables of `records`; None if no labelled image is in both.

    Raises `UserError` if a mask cannot be read.
    """
    now = now.filter(pc.is_valid(now["label"]))
    row_of = {id: row for row, id in enumerate(before["id"].to_pylist())}
    known = by_id(records)
    rows = [(row_of[id], row) for row, id in enumerate(now["id"].to_pylist()) if id in row_of and id in known]
    if not rows:
        return None
    old, new = before.take([first for first, _ in rows]), now.take([second for _, second in rows])
    labels = np.array(new["label"].to_pylist(), dtype=object)
    was, is_ = (np.array(table["predicted"].to_pylist(), dtype=object) == labels for table in (old, new))
    counts = (int(x.sum()) for x in (was, is_, is_ & ~was, was & ~is_))
    return RoundChange(len(rows), *counts, *_mean_ious(old, new, [known[id] for id in new["id"].to_pylist()]))


def report_change(job: Job, before: RunFolder) -> None:
    """Report the change since the round `before` on the evaluated split, and record it in `run.json`."""
    split = job.evaluated_split
    try:
        old, new = (read_predictions(run.predictions, [split]) for run in (before, job.run))
        change = compare_predictions(old, new, job.measured.dataset.split(split))
    except UserError as error:  # the round itself is complete
        job.reporter.say(f"no comparison with {before.path}: {error}")
        return
    if change is None:
        job.reporter.say(f"no comparison with {before.path}: the two rounds have no labelled {split} image in common")
        return
    job.reporter.say(change.summary(split, str(before.path)))
    entry = job.run.read_json()["round"]
    job.run.update_json(round=entry | {"change": {"split": split, **asdict(change), "p": change.p}})


def _mean_ious(old: pa.Table, new: pa.Table, records: Sequence[Record]) -> list[float | None]:
    """Both rounds' IoU with the present truth: the column `off_object` of an older version may be of another kind."""
    from rsam_app.evaluation.metrics.rectangles import rectangle_ious

    rectangles = [np.stack([t[name].to_numpy().astype(np.float64) for name in RECTANGLE_FIELDS], 1) for t in (old, new)]
    ious = [rectangle_ious(places, records) for places in rectangles]
    both = np.isfinite(ious).all(axis=0)
    return [float(values[both].mean()) if both.any() else None for values in ious]
