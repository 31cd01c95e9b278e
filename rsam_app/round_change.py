"""What a round changed: its predictions beside those of the round before, image by image."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rsam_app.errors import UserError
from rsam_app.job import Job
from rsam_app.predictions import read_predictions
from rsam_app.run_folder import RunFolder


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
    """What changed between two predictions tables of one data set; None where no labelled image is in both."""
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
