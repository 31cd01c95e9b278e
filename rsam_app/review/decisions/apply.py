"""`rsam apply`: what a person decided in FiftyOne becomes corrections, and is taken back on request."""

from __future__ import annotations

import getpass
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rsam_app.run.corrections import (
    Correction,
    add_corrections,
    corrections_path,
    in_force,
    last_addition,
    now,
    read_corrections,
    undoing,
)
from rsam_app.run.folder import RunFolder
from rsam_app.run.job import Job
from rsam_app.system.errors import UserError


@dataclass(frozen=True)
class ApplyReport:
    """What `apply_decisions` added, and what it could not read."""

    path: Path
    added: list[Correction]
    held: int
    problems: list[str] = field(default_factory=list)
    calibration: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "path": str(self.path),
            "added": [vars(c) for c in self.added],
            "already_held": self.held,
            "problems": self.problems,
            "calibration": self.calibration,
        }

    def text(self) -> str:
        """For a person."""
        kinds = Counter(c.kind for c in self.added)
        new = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())) or "nothing new"
        lines = [f"{self.path}: {new} ({self.held} held already)"]
        if self.added:
            lines.append("`rsam run PIPELINE --round` trains the next run from them, beside this one.")
        lines += [self.calibration] if self.calibration else []
        return "\n".join([*lines, *(f"not read: {p}" for p in self.problems)])


@dataclass(frozen=True)
class UndoReport:
    """What `undo_last` took back."""

    path: Path
    undone: list[Correction]
    """The rows as they were added."""
    left: list[str]
    """Ids of records about which FiftyOne says something newer; that stays there and the next `rsam apply` reads it."""

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"path": str(self.path), "undone": [vars(c) for c in self.undone], "left": self.left}

    def text(self) -> str:
        """For a person."""
        kinds = Counter(c.kind for c in self.undone)
        what = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
        first = self.undone[0]
        lines = [f"{self.path}: took back {what}, added by {first.who} on {first.when}"]
        if self.left:
            names = ", ".join(self.left[:3]) + (" …" if len(self.left) > 3 else "")
            lines.append(f"{len(self.left)} were changed again since; FiftyOne keeps the newer decision: {names}")
        return "\n".join([*lines, "FiftyOne shows them as they were before; `rsam apply` will not add them again."])


def apply_decisions(job: Job, who: str | None) -> ApplyReport:
    """Add every decision that is not already in the corrections table, in the name of `who`."""
    return apply_to(job.run, job.card.name, job.pipeline.review.key or job.run.key, who)


def undo_decisions(job: Job, who: str | None) -> UndoReport:
    """Take back what the last `rsam apply` added, in the name of `who`."""
    return undo_last(job.run, job.card.name, job.pipeline.review.key or job.run.key, who)


def apply_to(run: RunFolder, dataset_name: str, key: str, who: str | None) -> ApplyReport:
    """The same for a run folder, the dataset's name and the key of the run's fields."""
    from rsam_app.review.analysis.calibrated_misattention import write_calibrated
    from rsam_app.review.dataset.schema import open_review
    from rsam_app.review.decisions.read import read_decisions

    decisions = read_decisions(dataset_name, key, who or getpass.getuser())
    path = corrections_path(run.path, dataset_name)
    added = add_corrections(path, decisions.corrections)
    held = len(decisions.corrections) - len(added)
    learned = write_calibrated(open_review(dataset_name), run, key)
    return ApplyReport(path, added, held, decisions.problems, learned.text() if learned.verdicts else "")


def undo_last(run: RunFolder, dataset_name: str, key: str, who: str | None) -> UndoReport:
    """Take back what the last `rsam apply` to this dataset added, whichever run it came from.

    First FiftyOne's fields go back to what was in force before, then rows that say so are appended to the table; an
    interruption in between leaves what the next `rsam apply` completes. Undone again, the addition before goes.
    Raises `UserError` where nothing is left to undo.
    """
    from rsam_app.review.decisions.restore import take_back

    path = corrections_path(run.path, dataset_name)
    table = read_corrections(path)
    added = last_addition(table)
    if not added:
        raise UserError(f"{path}: there is nothing to undo: every addition was taken back, or none was made.")
    earlier = in_force(table[: table.index(added[0])])
    rows = undoing(added, earlier)
    left = take_back(dataset_name, key, rows)
    who, when = who or getpass.getuser(), now()  # one time for all: it tells an addition from the next
    signed = [replace(c, who=who, when=when, run=key) for c in rows]
    add_corrections(path, signed)
    return UndoReport(path, added, left)
