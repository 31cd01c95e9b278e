"""Follows the labels given in the App: suggestions and corrections are brought up to date with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rsam_app.review.dataset.fiftyone_internals import sample_collection
from rsam_app.review.decisions.read import read_decisions
from rsam_app.review.decisions.reviewer import reviewer_name
from rsam_app.review.labelling.suggest import labelling_run, update_suggestions
from rsam_app.run.corrections import add_corrections, corrections_path
from rsam_app.run.folder import LABELLING

DECIDED = {"$or": [{"ground_truth.label": {"$type": "string"}}, {"review": {"$type": "string"}}]}


@dataclass
class LabelFollower:
    """Compares the labels and marks in the database with those seen before. `report` receives what cannot be read."""

    review_set: Any
    report: Callable[[str], None]
    _seen: Any = field(default=None, init=False)
    _problems: set[str] = field(default_factory=set, init=False)

    def step(self) -> bool:
        """If labels, marks or features changed since the last call, update all suggestions and record the decisions as
        `rsam apply` does; return whether they did."""
        run = labelling_run(self.review_set)
        features = run.label_features.stat().st_mtime_ns if run.label_features.exists() else None
        state = (
            features,
            list(sample_collection(self.review_set).find(DECIDED, {"ground_truth.label": 1, "review": 1})),
        )
        if state == self._seen:
            return False
        update_suggestions(self.review_set)
        decisions = read_decisions(self.review_set.name, LABELLING, reviewer_name(None))
        add_corrections(corrections_path(run.path, self.review_set.name), decisions.corrections)
        for problem in decisions.problems:
            if problem not in self._problems:
                self._problems.add(problem)
                self.report(f"not read: {problem}")
        self._seen = state
        return True
