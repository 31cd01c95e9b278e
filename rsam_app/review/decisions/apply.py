"""`rsam apply`: the reviewer's decisions in FiftyOne become corrections, and are undone on request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rsam_app.review.decisions.reviewer import reviewer_name
from rsam_app.run.corrections import (
    Correction,
    add_corrections,
    corrections_path,
    in_force,
    last_addition,
    now,
    read_corrections,
    reversals,
)
from rsam_app.run.folder import RunFolder
from rsam_app.run.job import Job
from rsam_app.system.errors import UserError


@dataclass(frozen=True)
class ApplyReport:
    """Corrections that `apply_decisions` added, and decisions that it could not read."""

    path: Path
    added: list[Correction]
    already_recorded: int
    problems: list[str] = field(default_factory=list)
    calibration: str = ""
    adopted: bool = False
    """Whether the run is a classifier trained elsewhere, which has no pipeline to start a round of."""

    def as_dict(self) -> dict[str, Any]:
        """Return the report for `--json`."""
        return {
            "path": str(self.path),
            "added": [vars(c) for c in self.added],
            "already_held": self.already_recorded,
            "problems": self.problems,
            "calibration": self.calibration,
        }

    def text(self) -> str:
        """Return the report as text."""
        lines = [f"{self.path}: {_count_kinds(self.added) or 'nothing new'} ({self.already_recorded} already recorded)"]
        if self.added and self.adopted:
            lines.append("`rsam run PIPELINE`, of any pipeline with this card, trains with them.")
        elif self.added:
            lines.append("`rsam run PIPELINE --round` trains the next run with them, beside this one.")
        lines += [self.calibration] if self.calibration else []
        return "\n".join([*lines, *(f"not read: {problem}" for problem in self.problems)])


@dataclass(frozen=True)
class UndoReport:
    """Corrections that `undo_decisions` undid."""

    path: Path
    undone: list[Correction]
    """The rows as they were added."""
    left: list[str]
    """Ids of records with a newer decision in FiftyOne; it stays there, and the next `rsam apply` reads it."""

    def as_dict(self) -> dict[str, Any]:
        """Return the report for `--json`."""
        return {"path": str(self.path), "undone": [vars(c) for c in self.undone], "left": self.left}

    def text(self) -> str:
        """Return the report as text."""
        first = self.undone[0]
        lines = [f"{self.path}: took back {_count_kinds(self.undone)}, added by {first.who} on {first.when}"]
        if self.left:
            names = ", ".join(self.left[:3]) + (" …" if len(self.left) > 3 else "")
            lines.append(f"{len(self.left)} were changed again since; FiftyOne keeps the newer decision: {names}")
        return "\n".join([*lines, "FiftyOne shows the earlier state; `rsam apply` will not add them again."])


def apply_decisions(job: Job, who: str | None) -> ApplyReport:
    """Add every new decision to the corrections table, in the name of `who`."""
    return apply_to(job.run, job.review_dataset, job.review_key, who)


def undo_decisions(job: Job, who: str | None) -> UndoReport:
    """Undo what the last `rsam apply` added, in the name of `who`."""
    return undo_last(job.run, job.review_dataset, job.review_key, who)


def apply_to(run: RunFolder, dataset_name: str, key: str, who: str | None) -> ApplyReport:
    """`apply_decisions` for a run folder, the dataset's name and the key of the run's fields."""
    from rsam_app.review.analysis.calibrated_misattention import write_calibrated
    from rsam_app.review.dataset.schema import card_of, open_review
    from rsam_app.review.decisions.read import read_decisions

    adopted = "adopted" in run.read_json()
    decisions = read_decisions(dataset_name, key, reviewer_name(who))
    review_set = open_review(dataset_name)
    path = corrections_path(run.path, card_of(review_set))
    added = add_corrections(path, decisions.corrections)
    calibration = write_calibrated(review_set, run, key)
    already_recorded = len(decisions.corrections) - len(added)
    text = calibration.text() if calibration.verdicts else ""
    return ApplyReport(path, added, already_recorded, decisions.problems, text, adopted)


def undo_last(run: RunFolder, dataset_name: str, key: str, who: str | None) -> UndoReport:
    """Undo the last `rsam apply` to this dataset, from whichever run; called again, the one before.

    FiftyOne's fields are restored first, then rows that undo the corrections are appended to the table. After an
    interruption in between, the next `rsam apply` completes it. Raises `UserError` if nothing is left to undo.
    """
    from rsam_app.review.dataset.schema import card_of, open_review
    from rsam_app.review.decisions.restore import take_back

    path = corrections_path(run.path, card_of(open_review(dataset_name)))
    table = read_corrections(path)
    added = last_addition(table)
    if not added:
        raise UserError(f"{path}: there is nothing to undo: no addition was made, or all were undone.")
    earlier = in_force(table[: table.index(added[0])])
    rows = reversals(added, earlier)
    left = take_back(dataset_name, key, rows)
    who, when = reviewer_name(who), now()  # the same time for all rows marks them as one addition
    add_corrections(path, [replace(c, who=who, when=when, run=key) for c in rows])
    return UndoReport(path, added, left)


def _count_kinds(corrections: Iterable[Correction]) -> str:
    kinds = Counter(c.kind for c in corrections)
    return ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
