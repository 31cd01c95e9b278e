"""`rsam run --round`: the next run of a pipeline, trained from what a person decided since the last one."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rsam_app.run.corrections import corrections_path, read_corrections
from rsam_app.run.folder import RunFolder
from rsam_app.run.job import Job
from rsam_app.run.predictions import read_predictions
from rsam_app.system.errors import UserError
from rsam_app.system.progress import is_main_process


@dataclass(frozen=True)
class RoundChange:
    """Counts over the images that both rounds predicted, judged by the labels that hold now."""

    images: int
    right_before: int
    right_now: int
    mended: int
    """Wrong before, right now."""
    broken: int
    """Right before, wrong now."""
    iou_before: float | None
    """Mean IoU in [0, 1] of the rectangles with the truth, where both rounds have it; as `mean_iou` of an evaluation,
    each by the truth when it was predicted. None without."""
    iou_now: float | None

    @property
    def p(self) -> float:
        """Two-sided p that as many images are mended as broken: the exact test of McNemar (1947)."""
        from scipy.stats import binomtest

        changed = self.mended + self.broken
        return float(binomtest(self.mended, changed).pvalue) if changed else 1.0

    def in_words(self, split: str, before: str) -> str:
        """One line for a person; `before` names the round before."""
        shares = (100 * count / self.images for count in (self.right_now, self.right_before))
        right = "{:.1f} % right, {:.1f} before".format(*shares)
        moved = f"{self.mended} mended, {self.broken} broken, p = {self.p:.2g} by McNemar's test"
        if self.iou_before is not None:
            moved += f"; IoU {self.iou_now:.3f}, {self.iou_before:.3f} before"
        return f"beside {before}, on the same {self.images:,} {split} images: {right} ({moved})"


def change_between(before: pa.Table, now: pa.Table) -> RoundChange | None:
    """What changed between two predictions tables of one dataset; None where no labelled image is in both."""
    now = now.filter(pc.is_valid(now["label"]))
    place = {id: row for row, id in enumerate(before["id"].to_pylist())}
    rows = [(place[id], row) for row, id in enumerate(now["id"].to_pylist()) if id in place]
    if not rows:
        return None
    old, new = before.take([first for first, _ in rows]), now.take([second for _, second in rows])
    labels = np.array(new["label"].to_pylist(), dtype=object)
    was, is_ = (np.array(table["predicted"].to_pylist(), dtype=object) == labels for table in (old, new))
    ious = [_ious(table) for table in (old, new)]
    both = np.isfinite(ious).all(axis=0)
    means = [float(values[both].mean()) if both.any() else None for values in ious]
    counts = (int(x.sum()) for x in (was, is_, is_ & ~was, was & ~is_))
    return RoundChange(len(rows), *counts, *means)


def tell_change(job: Job, before: RunFolder) -> None:
    """Say what the round in `job`'s run changed on the split it is evaluated on, and keep it in its `run.json`."""
    split = job.pipeline.evaluate.split
    try:
        change = change_between(*(read_predictions(run.predictions, [split]) for run in (before, job.run)))
    except UserError as error:  # the round itself is done
        job.reporter.say(f"no comparison with {before.path}: {error}")
        return
    if change is None:
        job.reporter.say(f"no comparison with {before.path}: none of its {split} images is among those of this round")
        return
    job.reporter.say(change.in_words(split, str(before.path)))
    kept: dict[str, Any] = job.run.read_json()["round"]
    job.run.update_json(round=kept | {"change": {"split": split, **asdict(change), "p": change.p}})


def _ious(table: pa.Table) -> np.ndarray:
    if "off_object" not in table.column_names:
        return np.full(len(table), np.nan)
    return 1 - table["off_object"].to_numpy(zero_copy_only=False).astype(np.float64)


STAGES = ("train", "evaluate", "review", "select")
"""What a round has done when it is finished."""


def round_of(path: Path) -> tuple[Path, int]:
    """The folder of the first round and the number of the round that a run folder's name says: `birds-round3` is the
    third of `birds`, a name without a number the first."""
    found = re.fullmatch(r"(.+)-round([2-9]|[1-9]\d+)", path.resolve().name)
    return (path.with_name(found[1]), int(found[2])) if found else (path, 1)


def round_folder(first: Path, number: int) -> RunFolder:
    """The run folder of a round."""
    return RunFolder(first if number == 1 else first.with_name(f"{first.name}-round{number}"))


def next_round(job: Job) -> Job:
    """The job of the round to do now, in a run folder of its own beside that of `job`'s run: the last one, where it
    stopped before its end, else the one after it.

    Nothing is written. Raises `UserError` where no round was trained yet, or where there is nothing to learn that the
    last one did not learn from.
    """
    first, _ = round_of(job.run.path)
    number = _last_round(first)
    last = round_folder(first, number)
    stages = last.read_json().get("stages", {})
    if number > 1 and not all(name in stages for name in STAGES):
        return _in_folder(job, last, number)
    if "train" not in stages:
        raise UserError(
            f"{last.path}: the first round is not trained to its end, so there is nothing to decide about.\n"
            f"Run `rsam run {job.pipeline.name}`, decide in the App, `rsam apply {last.path}`; then the next round."
        )
    following = _in_folder(job, round_folder(first, number + 1), number + 1)
    if following.learns_from == learned_from(Job(last.load_pipeline(), last, job.reporter)):
        raise UserError(
            f"{last.path}: nothing was decided since round {number} that the next could learn from.\n"
            f"Decide in the App (`rsam review {last.path}`), then `rsam apply {last.path}`."
        )
    return following


def begin_round(job: Job) -> None:
    """Write into the run of a round, held for writing, from which round and which corrections it comes; once."""
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
            "from_model_sha256": _sha256(before.model / "model.safetensors"),
            "corrections": {"file": f"corrections/{path.name}", "rows": rows, "sha256": _sha256(path)},
        }
    )
    job.reporter.say(f"round {number}, after {before.path}, learns from {rows} corrections")
    old = before.load_pipeline()
    other = [
        name for name in ("dataset", "seed", "model", "train") if getattr(old, name) != getattr(job.pipeline, name)
    ]
    if other:
        job.reporter.say(f"settings differ from those of {before.path} in: {', '.join(other)}; compare with care")


def end_round(job: Job) -> None:
    """Say, and keep in the run of a round that is done, what it changed beside the round before."""
    if is_main_process():
        first, number = round_of(job.run.path)
        tell_change(job, round_folder(first, number - 1))


def learned_from(job: Job) -> str:
    """What a trained run learned from, as `Job.learns_from`; runs made before it was kept had the dataset as it is."""
    kept: Any = job.run.read_json().get("data", {}).get("learns_from")
    return kept or replace(job, corrections=0).learns_from


def _last_round(first: Path) -> int:
    """The largest number of a round that has begun; 1 where there is only the first, or none."""
    begun = [round_of(path)[1] for path in first.parent.glob(f"{first.name}-round*") if (path / "run.json").exists()]
    return max([1, *begun])


def _in_folder(job: Job, run: RunFolder, number: int) -> Job:
    """The pipeline at work in the folder of a round; its fields in FiftyOne get a key of their own."""
    key = job.pipeline.review.key
    if key is None:
        return replace(job, run=run)
    review = job.pipeline.review.model_copy(update={"key": f"{key}_round{number}"})
    return replace(job, run=run, pipeline=job.pipeline.model_copy(update={"review": review}))


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
