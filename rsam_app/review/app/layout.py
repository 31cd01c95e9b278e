"""How the App shows the review dataset when it opens: sidebar, colours, what is switched on, what can be edited."""

from __future__ import annotations

from typing import Any

from rsam_app.review.analysis.derived_fields import map_name
from rsam_app.review.app.colors import arrange_colors
from rsam_app.review.dataset.schema import DECISIONS, memory, remember, run_keys

REVIEW_PANEL = "rsam_review"
"""The plugin's panel with the queue, as FiftyOne knows it."""
FIRST_FIELDS = (
    "prediction",
    "rectangle",
    "attention",
    "triage",
    "misattention_calibrated",
    "misattention",
    "label_quality",
    "suggested",
    "suggested_probability",
)
"""Of a run, at the top of its group in the sidebar."""


def arrange(review_set: Any, key: str) -> None:
    """Add the run `key` to the App's sidebar, colours and annotation, and show it when the App opens.

    Only what is missing is added, and what is still as an earlier version left it brought up to date; what a person
    arranged herself stays. The run is switched on unless she saved another selection of fields as the dataset's
    default.
    """
    _sidebar(review_set, key)
    made = {
        **arrange_colors(review_set, key),
        **_active(review_set, key),
        **_workspace(review_set, key),
        **_annotation(review_set, key),
    }
    review_set.save()
    if made:
        remember(review_set, **made)


def _sidebar(review_set: Any, key: str) -> None:
    import fiftyone as fo

    groups = list(review_set.app_config.sidebar_groups or [])
    everything = [p for group in fo.DatasetAppConfig.default_sidebar_groups(review_set) for p in group.paths]
    placed = {p for group in groups for p in group.paths}
    first = ["review", "ground_truth", "attention_target", "ground_truth_boxes", "split"]
    run = [f"{key}_{name}" for name in FIRST_FIELDS]
    run += [
        p
        for p in everything
        if p.startswith(f"{key}_") and p not in run and not _belongs_to_longer_key(review_set, p, key)
    ]
    mine = [
        "tags",
        "_label_tags",
        *first,
        *(p for k in run_keys(review_set) for p in everything if p.startswith(f"{k}_")),
    ]
    wanted = {
        "tags": (["tags", "_label_tags"], True),
        "decisions": (first, True),
        key: (run, True),
        "metadata": ([p for p in everything if p not in mine and p not in run], False),
    }
    place = 0
    for name, (paths, expanded) in wanted.items():
        missing = [p for p in paths if p not in placed and (p in everything or p == "_label_tags")]
        placed.update(missing)
        held = next((group for group in groups if group.name == name), None)
        if held:
            held.paths = [*held.paths, *missing]
            place = groups.index(held) + 1
        elif missing:
            groups.insert(place, fo.SidebarGroupDocument(name=name, paths=missing, expanded=expanded))
            place += 1
    review_set.app_config.sidebar_groups = groups


def _belongs_to_longer_key(review_set: Any, path: str, key: str) -> bool:
    """Whether the field is another run's whose key starts with this one: `birds` and `birds_large`."""
    return any(len(k) > len(key) and path.startswith(f"{k}_") for k in run_keys(review_set))


def _active(review_set: Any, key: str) -> dict[str, Any]:
    import fiftyone as fo

    names = (
        "ground_truth",
        f"{key}_prediction",
        f"{key}_rectangle",
        f"{key}_triage",
        "attention_target",
        "review",
    )
    paths = [name for name in names if review_set.has_sample_field(name)]
    held, ours = review_set.app_config.active_fields, memory(review_set).get("active")
    if held is not None and list(held.paths) != ours:
        return {}
    review_set.app_config.active_fields = fo.ActiveFields(paths=paths)
    return {"active": paths} if paths != ours else {}


def workspace_name(key: str) -> str:
    """Name of the workspace in which a run is reviewed: its images beside the queue and their misattention."""
    return f"{key} review"


def _workspace(review_set: Any, key: str) -> dict[str, Any]:
    import fiftyone as fo

    name, made = workspace_name(key), memory(review_set).get("workspaces", [])
    if name in made:
        return {}
    score = "misattention" if review_set.has_sample_field(f"{key}_misattention") else "confidence"
    images, queue = fo.Panel(type="Samples", pinned=True), fo.Panel(type=REVIEW_PANEL)
    charts = [fo.Panel(type="Histograms", state={"path": f"{key}_{score}"})]
    about = f"the images beside the queue and the histogram of their {score}"
    if review_set.has_brain_run(map_name(key)):
        state = {"brainResult": map_name(key), "colorByField": f"{key}_triage"}
        charts.append(fo.Panel(type="Embeddings", state=state))
        about += ", the map of their embeddings behind it"
    # Without its active child a space opens as an empty pane.
    panes = [fo.Space(children=tabs, active_child=tabs[0].component_id) for tabs in ([images], [queue], charts)]
    right = fo.Space(children=panes[1:], orientation="vertical", sizes=[0.5, 0.5])
    space = fo.Space(children=[panes[0], right], orientation="horizontal", sizes=[0.68, 0.32])
    if not review_set.has_workspace(name):
        review_set.save_workspace(name, space, description=about)
    return {"workspaces": [*made, name]}


def _annotation(review_set: Any, key: str) -> dict[str, Any]:
    """Which fields the App's Annotate tab edits, with the values it offers; it shows no others. So the rectangle is
    among them, to be looked at alone, while the box around it can be dragged. FiftyOne before 1.13 has no such tab."""
    if not hasattr(review_set, "update_label_schema"):
        return {}
    classes = {"component": "dropdown", "classes": memory(review_set)["classes"]}
    schemas: dict[str, dict[str, Any]] = {
        "review": {"type": "str", "component": "radio", "values": list(DECISIONS)},
        "ground_truth": {"type": "classification", **classes},
        "attention_target": {"type": "detections", "component": "dropdown", "classes": ["target"], "default": "target"},
        f"{key}_attention": {"type": "detections", **classes},
        f"{key}_rectangle": {"type": "polylines", **classes, "read_only": True},
    }
    held, ours = review_set.label_schemas, memory(review_set).get("annotation", {})
    new = {f: s for f, s in schemas.items() if ours.get(f) != s and (f not in held or _same(held[f], ours.get(f)))}
    for field, schema in new.items():
        review_set.update_label_schema(field, schema)
    if first := [field for field in new if field not in ours]:
        review_set.activate_label_schemas(first)
    return {"annotation": {**ours, **new}} if new else {}


def _same(held: dict[str, Any], ours: dict[str, Any] | None) -> bool:
    return ours is not None and all(held.get(k) == v for k, v in ours.items())
