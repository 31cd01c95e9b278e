"""Colours in the App: what is found and what is decided about it look alike; each run's rectangles have their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from rsam_app.review.analysis.triage import TRIAGE_COLORS
from rsam_app.review.dataset.schema import memory

OPACITY = 0.45
"""Of what FiftyOne fills: enough to see a rectangle on a cluttered photograph, not enough to hide what is in it."""
RUN_COLORS = ("#FF6D04", "#00B8D4", "#AA00FF", "#FFD600", "#F50057")
"""Colours of a run's rectangle and prediction: each run has the first that no other one has."""
FIXED_COLORS = {"ground_truth": "#43A047", "ground_truth_boxes": "#43A047", "attention_target": "#2979FF"}
MARK_COLORS = {
    "right": "#43A047",
    "accept": "#00897B",
    "wrong place": TRIAGE_COLORS["re-attend"],
    "wrong label": TRIAGE_COLORS["relabel"],
    "unsure": "#FBC02D",
    "exclude": "#757575",
    "labelled": "#5E35B1",
}
EARLIER_TRIAGE_COLORS = {"trust": "#43A047", "relabel": "#8E24AA", "re-attend": "#FF6D04", "hard": "#D32F2F"}
RUN_FIELDS = ("prediction", "rectangle", "attention", "misattention")

Entry = dict[str, Any]


def arrange_colors(review_set: Any, key: str) -> dict[str, Any]:
    """Give the run `key` its colours, and bring up to date what is as an RSAM left it; returns what is to be
    remembered of that.

    Triage and marks are coloured by their word, all else by its field: the App colours everything by the one or the
    other. A colour, the opacity or the way of colouring that a person chose stays.
    """
    import fiftyone as fo

    left = memory(review_set).get("colors", {})
    scheme = review_set.app_config.color_scheme
    if scheme is None:
        scheme = fo.ColorScheme(fields=[])
        left = {**left, "color_by": scheme.color_by, "opacity": scheme.opacity}
    elif not left:
        left = _left_by_an_earlier_version(scheme)
    entries = {entry["path"]: entry for entry in scheme.fields or []}
    wanted = {entry["path"]: entry for entry in _wanted(key, _color_of(key, entries, left.get("fields", {})))}
    for path, entry in wanted.items():
        if entries.get(path) in (None, left.get("fields", {}).get(path), *_earlier(entry)):
            entries[path] = entry
    scheme.fields = list(entries.values())
    now = {"color_by": "value", "opacity": OPACITY}
    for name, value in now.items():
        if getattr(scheme, name) == left.get(name):
            setattr(scheme, name, value)
    review_set.app_config.color_scheme = scheme
    made = {**now, "fields": {**left.get("fields", {}), **wanted}}
    return {"colors": made} if made != memory(review_set).get("colors") else {}


def _left_by_an_earlier_version(scheme: Any) -> dict[str, Any]:
    """What a version that did not remember it had set: it coloured by field, and no entry by an attribute."""
    older = not any(entry.get("colorByAttribute") for entry in scheme.fields or [])
    return {"color_by": "field" if older else "value", "opacity": OPACITY}


def _color_of(key: str, entries: dict[str, Entry], left: dict[str, Entry]) -> str:
    """The run's colour as it was given before, that most of its fields have; else the first that no field has."""
    paths = [f"{key}_{name}" for name in RUN_FIELDS]
    given = Counter(held["fieldColor"] for held in (left.get(path) or entries.get(path) for path in paths) if held)
    if given:
        return str(given.most_common(1)[0][0])
    taken = {entry.get("fieldColor") for entry in entries.values()}
    return next((color for color in RUN_COLORS if color not in taken), RUN_COLORS[0])


def _wanted(key: str, color: str) -> Iterator[Entry]:
    colors = {**FIXED_COLORS, **{f"{key}_{name}": color for name in RUN_FIELDS}}
    yield from (_one_color(path, value) for path, value in colors.items())
    yield _color_a_word("review", MARK_COLORS)
    yield _color_a_word(f"{key}_triage", TRIAGE_COLORS)


def _one_color(path: str, color: str) -> Entry:
    """One colour for a label field, also where the App colours by value: by an attribute that no label has, for which
    `none` names the colour."""
    without = [{"value": "none", "color": color}]
    return {"path": path, "fieldColor": color, "colorByAttribute": "none", "valueColors": without}


def _color_a_word(path: str, colors: dict[str, str]) -> Entry:
    words = [{"value": word, "color": color} for word, color in colors.items()]
    return {"path": path, "fieldColor": next(iter(colors.values())), "valueColors": words}


def _earlier(entry: Entry) -> list[Entry]:
    """What versions before the first that remembers it have set in this entry's place."""
    if entry["path"].endswith("_triage"):
        return [_color_a_word(entry["path"], EARLIER_TRIAGE_COLORS)]
    return [{"path": entry["path"], "fieldColor": entry["fieldColor"]}]
