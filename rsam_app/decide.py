"""`rsam apply`: what a person decided in FiftyOne becomes corrections."""

from __future__ import annotations

import getpass
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rsam_app.corrections import Correction, add_corrections, corrections_path
from rsam_app.job import Job


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
            lines.append("The next `rsam train` or `rsam run` in this folder of runs learns from them.")
        lines += [self.calibration] if self.calibration else []
        return "\n".join([*lines, *(f"not read: {p}" for p in self.problems)])


def apply_decisions(job: Job, who: str | None) -> ApplyReport:
    """Add every decision that is not already in the corrections table, in the name of `who`."""
    from rsam_app.review import open_review, read_decisions
    from rsam_app.review.calibrated import write_calibrated

    key = job.pipeline.review.key or job.run.key
    decisions = read_decisions(job.card.name, key, who or getpass.getuser())
    path = corrections_path(job.run.path, job.card.name)
    added = add_corrections(path, decisions.corrections)
    held = len(decisions.corrections) - len(added)
    learned = write_calibrated(open_review(job.card.name), job.run, key)
    return ApplyReport(path, added, held, decisions.problems, learned.text() if learned.verdicts else "")
