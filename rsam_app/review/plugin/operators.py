"""Operators and the panel of the FiftyOne plugin `@rsam/review`: forms and messages; the work is in the modules around.

Imported by FiftyOne itself, through the thin package in `rsam_app/review/plugin`.
"""

from rsam_app.review.plugin.apply import Apply
from rsam_app.review.plugin.compare import CompareRuns
from rsam_app.review.plugin.export import Export
from rsam_app.review.plugin.keys import Key
from rsam_app.review.plugin.label import GiveLabel, TakeSuggestion
from rsam_app.review.plugin.mark import (
    AcceptRectangle,
    Mark,
    MarkRight,
    MarkUnsure,
    MarkWrongLabel,
    MarkWrongPlace,
    NextImage,
    Undo,
)
from rsam_app.review.plugin.panel import ReviewPanel
from rsam_app.review.plugin.score import Score
from rsam_app.review.plugin.select import SelectForRelabeling

OPERATORS = (
    Mark,
    MarkRight,
    MarkWrongPlace,
    MarkWrongLabel,
    MarkUnsure,
    AcceptRectangle,
    TakeSuggestion,
    GiveLabel,
    Undo,
    NextImage,
    Key,
    SelectForRelabeling,
    CompareRuns,
    Score,
    Export,
    Apply,
    ReviewPanel,
)

__all__ = ["OPERATORS", *(operator.__name__ for operator in OPERATORS)]
