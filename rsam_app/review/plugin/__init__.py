"""The FiftyOne plugin `@rsam/review`, which `rsam review` links into FiftyOne's plugins folder."""

from __future__ import annotations

from typing import Any


def register(plugin: Any) -> None:
    """Register the operators and the panel; FiftyOne calls this when it loads the plugin."""
    from rsam_app.review.plugin import apply, compare, export, keys, label, mark, panel, score, select, train

    for operator in (
        mark.Mark,
        mark.MarkRight,
        mark.MarkWrongPlace,
        mark.MarkWrongLabel,
        mark.MarkUnsure,
        mark.AcceptRectangle,
        label.TakeSuggestion,
        label.GiveLabel,
        label.RenameClass,
        mark.Undo,
        mark.NextImage,
        keys.Key,
        select.SelectForRelabeling,
        compare.CompareRuns,
        score.Score,
        export.Export,
        apply.Apply,
        train.TrainOnView,
        panel.ReviewPanel,
    ):
        plugin.register(operator)
