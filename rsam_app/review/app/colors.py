"""Colours in the App: triage and marks are coloured by word; each run's rectangles have their own colour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from rsam_app.review.analysis.triage import TRIAGE_COLORS
from rsam_app.review.dataset.guest import field_of

OPACITY = 0.45
"""Opacity of filled shapes: a rectangle stays visible on a cluttered photograph and does not hide the object."""
RUN_COLORS = ("#FF6D04", "#00B8D4", "#AA00FF", "#FFD600", "#F50057")
"""Colours of a run's rectangle and prediction; a new run gets the first unused one."""
LABEL_COLOR = "#43A047"
FIXED_COLORS = {"ground_truth_boxes": LABEL_COLOR, "attention_target": "#2979FF"}
MARK_COLORS = {
    "right": "#43A047",
    "accept": "#00897B",
    "wrong place": TRIAGE_COLORS["re-attend"],
    "wrong label": TRIAGE_COLORS["relabel"],
    "unsure": "#FBC02D",
    "exclude": "#757575",
    "labelled": "#5E35B1",
}
RUN_FIELDS = ("prediction", "rectangle", "attention", "misattention")

Entry = dict[str, Any]
"""A field's entry in FiftyOne's colour scheme."""


def arrange_colors(review_set: Any, key: str) -> None:
    """Add the colours of the run `key` to the dataset's colour scheme; existing colours and settings stay.

    The App colours all fields either by field or by value. Value is needed for triage and marks.
    """
    import fiftyone as fo

    scheme = review_set.app_config.color_scheme
    if scheme is None:
        scheme = fo.ColorScheme(fields=[], color_by="value", opacity=OPACITY)
    entries = {entry["path"]: entry for entry in scheme.fields or []}
    for entry in _entries(review_set, key, _run_color(key, entries)):
        entries.setdefault(entry["path"], entry)
    scheme.fields = list(entries.values())
    review_set.app_config.color_scheme = scheme


def _run_color(key: str, entries: dict[str, Entry]) -> str:
    """The colour of most of the run's fields, else the first that no field has."""
    current = Counter(entries[path]["fieldColor"] for name in RUN_FIELDS if (path := f"{key}_{name}") in entries)
    if current:
        return str(current.most_common(1)[0][0])
    taken = {entry.get("fieldColor") for entry in entries.values()}
    return next((color for color in RUN_COLORS if color not in taken), RUN_COLORS[0])


def _entries(review_set: Any, key: str, color: str) -> Iterator[Entry]:
    label = {field_of(review_set, "ground_truth"): LABEL_COLOR}
    colors = {**label, **FIXED_COLORS, **{f"{key}_{name}": color for name in RUN_FIELDS}}
    yield from (_color_field(path, value) for path, value in colors.items())
    yield _color_words("review", MARK_COLORS)
    yield _color_words(f"{key}_triage", TRIAGE_COLORS)


def _color_field(path: str, color: str) -> Entry:
    """One colour for a label field although the App colours by value: by an attribute that no label has, whose missing
    value is `none`."""
    without = [{"value": "none", "color": color}]
    return {"path": path, "fieldColor": color, "colorByAttribute": "none", "valueColors": without}


def _color_words(path: str, colors: dict[str, str]) -> Entry:
    words = [{"value": word, "color": color} for word, color in colors.items()]
    return {"path": path, "fieldColor": next(iter(colors.values())), "valueColors": words}
