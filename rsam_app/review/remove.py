"""`rsam review RUN --into NAME --remove`: leaves a FiftyOne dataset of the user's as it was before RSAM entered it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rsam_app.review.app.colors import OPACITY
from rsam_app.review.app.scheduled_operators import forget_operations
from rsam_app.review.dataset.decision_tags import DECISION_TAGS, spellings
from rsam_app.review.dataset.enter import is_ours, load_images
from rsam_app.review.dataset.fiftyone_internals import serialized_stages
from rsam_app.review.dataset.guest import DECISIONS_GROUP, MEMORY, OTHER_GROUP, field_of, is_guest
from rsam_app.review.dataset.memory import GuestMemory
from rsam_app.review.dataset.schema import memory
from rsam_app.review.decisions.marks import forget_history
from rsam_app.system.cache.files import lock_file
from rsam_app.system.errors import UserError
from rsam_app.system.files import locked
from rsam_app.system.mongodb.connection import import_fiftyone


@dataclass(frozen=True)
class Removed:
    """What was removed from a dataset."""

    dataset: str
    fields: int
    views: int
    runs: tuple[str, ...]
    """Folders of the runs that were in it."""
    broken_views: tuple[str, ...]
    """Saved views of the user's that use fields that are gone; they stay."""

    def as_dict(self) -> dict[str, Any]:
        """Return the values for `--json`."""
        return asdict(self)

    def text(self) -> str:
        """Return the lines for the user."""
        if not self.fields:
            return f"FiftyOne has no dataset {self.dataset!r} any more; there is nothing to remove"
        lines = [f"FiftyOne dataset {self.dataset!r}: {self.fields} fields and {self.views} saved views removed"]
        if self.broken_views:
            lines.append(f"views of yours that use them, and stay: {', '.join(self.broken_views)}")
        return "\n".join(lines)


def remove(name: str) -> Removed:
    """Remove all of RSAM's from the user's dataset, if it still exists: fields, tags, views, workspaces, FiftyOne's
    runs, label schemas, colours, sidebar groups, history. The user's own changes since stay.

    The entry in `info` goes last: after an interruption the next call completes it. Decisions that `rsam apply` did not
    read are lost. Raises `UserError` if RSAM is not a guest in it.
    """
    if not import_fiftyone().dataset_exists(name):
        return Removed(name, 0, 0, (), ())
    with locked(lock_file("review", name)):
        dataset = load_images(name)
        guest = memory(dataset).guest
        if not is_guest(dataset) or guest is None:
            problem = "RSAM created it; delete it in FiftyOne" if MEMORY in dataset.info else "nothing in it is RSAM's"
            raise UserError(f"FiftyOne dataset {name!r}: {problem}. Nothing was removed.")
        fields = [field for field in dataset.get_field_schema() if is_ours(dataset, field)]
        runs = tuple(run.path for run in memory(dataset).runs.values())
        _restore_app(dataset, guest)
        views = _remove_views(dataset)
        _remove_runs(dataset)
        _untag(dataset, guest.tags)
        dataset.classes = {k: v for k, v in dataset.classes.items() if k != field_of(dataset, "ground_truth")}
        dataset.save()
        dataset.delete_sample_fields([field for field in fields if dataset.has_sample_field(field)])
        _restore_sidebar(dataset, guest)
        forget_history(dataset)
        forget_operations(name)
        broken = tuple(view for view in dataset.list_saved_views() if _uses(dataset, view, fields))
        del dataset.info[MEMORY]
        dataset.save()
    return Removed(name, len(fields), views, runs, broken)


def _restore_app(dataset: Any, guest: GuestMemory) -> None:
    """Restore colours and shown fields, before FiftyOne takes deleted fields out of them."""
    import fiftyone as fo

    config, active = dataset.app_config, memory(dataset).active
    if active is not None and config.active_fields is not None and list(config.active_fields.paths) == active:
        config.active_fields = None
    if scheme := config.color_scheme:
        scheme.fields = [entry for entry in scheme.fields or [] if not is_ours(dataset, entry["path"])]
        if not scheme.fields and guest.colors != "fields":
            scheme.fields = fo.ColorScheme().fields
            changed = scheme.color_by != "value" or scheme.opacity != OPACITY
            config.color_scheme = scheme if changed or guest.colors == "no fields" else None
    dataset.save()


def _restore_sidebar(dataset: Any, guest: GuestMemory) -> None:
    """Remove the empty groups, and the whole arrangement if it is FiftyOne's own and there was none."""
    import fiftyone as fo

    ours = {DECISIONS_GROUP, OTHER_GROUP, *guest.keys}
    groups = [group for group in dataset.app_config.sidebar_groups or [] if group.paths or group.name not in ours]
    default = fo.DatasetAppConfig.default_sidebar_groups(dataset)
    shown, usual = ([(g.name, list(g.paths)) for g in some if g.paths] for some in (groups, default))
    dataset.app_config.sidebar_groups = None if guest.default_sidebar and shown in (usual, []) else groups
    dataset.save()


def _remove_views(dataset: Any) -> int:
    known = memory(dataset)
    views = [view for view in known.views if dataset.has_saved_view(view)]
    for view in views:
        dataset.delete_saved_view(view)
    for workspace in known.workspaces:
        if dataset.has_workspace(workspace):
            dataset.delete_workspace(workspace)
    return len(views)


def _remove_runs(dataset: Any) -> None:
    """Remove FiftyOne's evaluations and brain runs, with their fields."""
    for key in [name for name in dataset.list_evaluations() if is_ours(dataset, name)]:
        dataset.delete_evaluation(key)
    for key in [name for name in dataset.list_brain_runs() if is_ours(dataset, name)]:
        dataset.delete_brain_run(key)


def _untag(dataset: Any, tags: Sequence[str]) -> None:
    """Remove tags that no sample had before: those of selections, and the reviewer's decisions."""
    if given := [*tags, *spellings(dataset, DECISION_TAGS)]:
        dataset.match_tags(given).untag_samples(given)


def _uses(dataset: Any, view: str, fields: Sequence[str]) -> bool:
    """Whether a saved view names one of these fields."""
    stages = json.dumps(serialized_stages(dataset.load_saved_view(view)), default=str)
    return any(re.search(rf'["$]{re.escape(field)}["\.]', stages) for field in fields)
