"""Layout of the App: sidebar, workspace and shown fields."""

from __future__ import annotations

from typing import Any

from rsam_app.review.analysis.derived_fields import map_name
from rsam_app.review.app.colors import arrange_colors
from rsam_app.review.app.review_queue import run_of_field
from rsam_app.review.dataset.annotation_schemas import offer_labels
from rsam_app.review.dataset.enter import is_ours
from rsam_app.review.dataset.fields import LOCATED, workspace_name
from rsam_app.review.dataset.guest import DECISIONS_GROUP, OTHER_GROUP, field_of, is_guest
from rsam_app.review.dataset.schema import memory, remember, run_keys
from rsam_app.run.folder import LABELLING

REVIEW_PANEL = "rsam_review"
"""FiftyOne's name of the plugin's panel."""
FIRST_FIELDS = (
    "prediction",
    "sure",
    "rectangle",
    LOCATED,
    "attention",
    "triage",
    "misattention_calibrated",
    "misattention",
    "label_quality",
    "suggested",
    "suggested_probability",
)
"""A run's fields at the top of its sidebar group."""


def arrange(review_set: Any, key: str) -> None:
    """Add the run `key` to the App's sidebar, colours and annotation, and show it when the App opens.

    Only what is missing is added; what the reviewer arranged stays. The run's fields are switched on unless the
    reviewer saved another selection of fields as the dataset's default.
    """
    _arrange_sidebar(review_set, key)
    arrange_colors(review_set, key)
    stored = {**_show_fields(review_set, key), **_save_workspace(review_set, key), **offer_labels(review_set, key)}
    review_set.save()
    if stored:
        remember(review_set, **stored)


def arrange_labels(review_set: Any) -> None:
    """As `arrange`, for `rsam label`, which shows images and suggestions without a run."""
    _arrange_sidebar(review_set, LABELLING)
    stored = {**_show_fields(review_set, LABELLING), **_save_workspace(review_set, LABELLING)}
    review_set.save()
    if stored:
        remember(review_set, **stored)


def _arrange_sidebar(review_set: Any, key: str) -> None:
    import fiftyone as fo

    default = fo.DatasetAppConfig.default_sidebar_groups(review_set)
    fields = [path for group in default for path in group.paths]
    groups = list(review_set.app_config.sidebar_groups or [])
    if not groups and is_guest(review_set):
        for group in default:
            group.paths = [path for path in group.paths if not is_ours(review_set, path)]
        groups = [group for group in default if group.paths]
    placed = {path for group in groups for path in group.paths}
    position = 0
    for name, (paths, expanded) in _sidebar_groups(review_set, key, fields).items():
        missing = [path for path in paths if path not in placed and (path in fields or path == "_label_tags")]
        placed.update(missing)
        group = next((group for group in groups if group.name == name), None)
        if group:
            group.paths = [*group.paths, *missing]
            position = groups.index(group) + 1
        elif missing:
            groups.insert(position, fo.SidebarGroupDocument(name=name, paths=missing, expanded=expanded))
            position += 1
    review_set.app_config.sidebar_groups = groups


def _sidebar_groups(review_set: Any, key: str, fields: list[str]) -> dict[str, tuple[list[str], bool]]:
    """By name the fields of each group, and whether it is expanded."""
    keys, tags = [key, *run_keys(review_set)], ["tags", "_label_tags"]
    run = [f"{key}_{name}" for name in FIRST_FIELDS]
    run += [path for path in fields if run_of_field(path, keys) == key and path not in (*run, *keys)]
    run += [key]  # right or wrong, by FiftyOne's evaluation
    label, split = (field_of(review_set, name) for name in ("ground_truth", "split"))
    decisions = ["review", label, "attention_target", "ground_truth_boxes", split]
    placed = (*tags, *decisions, *keys)
    other = [path for path in fields if path not in placed and run_of_field(path, keys) is None]
    if is_guest(review_set):
        ours = [path for path in other if is_ours(review_set, path)]
        return {DECISIONS_GROUP: (decisions, True), key: (run, True), OTHER_GROUP: (ours, False)}
    return {"tags": (tags, True), DECISIONS_GROUP: (decisions, True), key: (run, True), "metadata": (other, False)}


def _show_fields(review_set: Any, key: str) -> dict[str, Any]:
    import fiftyone as fo

    shown = (
        ("suggested", "suggested_probability") if key == LABELLING else ("prediction", "rectangle", LOCATED, "triage")
    )
    run = [f"{key}_{name}" for name in shown]
    names = [field_of(review_set, "ground_truth"), *run, "attention_target", "review"]
    paths = [name for name in names if review_set.has_sample_field(name)]
    current, stored = review_set.app_config.active_fields, memory(review_set).active
    if current is not None and list(current.paths) != stored:
        return {}
    review_set.app_config.active_fields = fo.ActiveFields(paths=paths)
    return {"active": paths} if paths != stored else {}


def _save_workspace(review_set: Any, key: str) -> dict[str, Any]:
    import fiftyone as fo

    name, stored = workspace_name(key), memory(review_set).workspaces
    if name in stored:
        return {}
    score = "misattention" if review_set.has_sample_field(f"{key}_misattention") else "confidence"
    path = "ground_truth.label" if key == LABELLING else f"{key}_{score}"
    images, queue = fo.Panel(type="Samples", pinned=True), fo.Panel(type=REVIEW_PANEL)
    charts = [fo.Panel(type="Histograms", state={"path": path})]
    about = f"images, review queue and histogram of {path.removeprefix(f'{key}_')}"
    if review_set.has_brain_run(map_name(key)):
        state = {"brainResult": map_name(key), "colorByField": f"{key}_triage"}
        charts.append(fo.Panel(type="Embeddings", state=state))
        about += ", with a map of the embeddings in a tab"
    # Without its active child a space opens as an empty pane.
    panes = [fo.Space(children=tabs, active_child=tabs[0].component_id) for tabs in ([images], [queue], charts)]
    right = fo.Space(children=panes[1:], orientation="vertical", sizes=[0.5, 0.5])
    space = fo.Space(children=[panes[0], right], orientation="horizontal", sizes=[0.68, 0.32])
    if not review_set.has_workspace(name):
        review_set.save_workspace(name, space, description=about)
    return {"workspaces": [*stored, name]}
