"""Entering a FiftyOne dataset of the user's, which RSAM did not create and leaves again as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rsam_app.review.dataset.decision_tags import DECISION_TAGS, spellings
from rsam_app.review.dataset.fields import workspace_name
from rsam_app.review.dataset.guest import DECISIONS_GROUP, MEMORY, OTHER_GROUP, guest_name, is_guest
from rsam_app.review.dataset.memory import GuestMemory
from rsam_app.review.dataset.schema import FIELDS, JUDGED_PLACE, memory, remember
from rsam_app.system.errors import UserError, suggest
from rsam_app.system.mongodb.connection import import_fiftyone
from rsam_app.system.versions import REVIEW_DATASET

SHARED_NAMES = tuple(map(guest_name, (*FIELDS, JUDGED_PLACE, "metadata")))
"""RSAM's fields in a dataset of the user's that do not depend on a run."""
KINDS = {
    "image": "images",
    "group": "groups",
    "video": "videos",
    "3d": "3-D scenes",
    "point-cloud": "point clouds",
}
"""FiftyOne's media types in words."""


def enter(name: str, card: str, key: str) -> Any:
    """Return the user's FiftyOne dataset `name` with RSAM's entry for the run `key` of this card in its `info`.

    Nothing else is written. Raises `UserError` as `entered_by` does.
    """
    dataset = entered_by(name, card, key)
    guest = memory(dataset).guest
    if guest is None:
        config = dataset.app_config
        scheme = config.color_scheme
        colors = "none" if scheme is None else "fields" if scheme.fields else "no fields"
        guest = GuestMemory(card=card, default_sidebar=not config.sidebar_groups, colors=colors)
    if key not in guest.keys:
        dataset.info.setdefault(MEMORY, {"format": REVIEW_DATASET})
        dataset.save()
        remember(dataset, guest=guest.model_copy(update={"keys": [*guest.keys, key]}).model_dump())
    return dataset


def entered_by(name: str, card: str, key: str) -> Any:
    """Return the user's FiftyOne dataset `name`, unchanged, if the run `key` of this card could be written into it.

    Raises `UserError`, in one line, if there is none, if its samples are not images, if RSAM created it or is in it
    with another card, or if something of the user's has the name of something that would be added.
    """
    dataset = load_images(name)
    if not is_guest(dataset) and MEMORY in dataset.info:
        raise UserError(f"FiftyOne dataset {name!r}: RSAM created it. Leave --into (review.into) out, or name another.")
    guest = memory(dataset).guest
    if guest and guest.card != card:
        raise UserError(
            f"FiftyOne dataset {name!r}: has runs of the card {guest.card!r}, not {card!r}."
            " `rsam review RUN --into NAME --remove` with one of them takes them out."
        )
    is_in = guest is not None and key in guest.keys
    if not is_in and (taken := next(_taken(dataset, key, first=guest is None), None)):
        raise UserError(
            f"FiftyOne dataset {name!r}: has {taken} of yours, a name that RSAM needs; nothing was changed."
            " Rename it; another prefix than that of the run is set by --set review.key=NAME."
        )
    return dataset


def load_images(name: str) -> Any:
    """Return the FiftyOne dataset `name` as the database has it. Raises `UserError`, in one line, if there is none or
    its samples are not images."""
    fo = import_fiftyone()
    known = fo.list_datasets()
    if name not in known:
        raise UserError(f"FiftyOne has no dataset {name!r}.{suggest(name, known) or ' It has none.'}")
    dataset = fo.load_dataset(name)
    dataset.reload()
    refuse_other_kinds(dataset, f"FiftyOne dataset {name!r}")
    return dataset


def refuse_other_kinds(samples: Any, what: str) -> None:
    """Raise `UserError` unless the samples of a dataset or view are images: not groups, videos, 3-D scenes, patches."""
    import fiftyone as fo

    if not len(samples):
        raise UserError(f"{what}: is empty; samples with one image each are needed.")
    of = samples.get_field_schema().get("sample_id")
    kind = "patches" if isinstance(of, fo.ObjectIdField) else KINDS.get(samples.media_type, "other media")
    if kind != KINDS["image"]:
        raise UserError(f"{what}: contains {kind}; samples with one image each are needed.")


def is_ours(dataset: Any, path: str) -> bool:
    """Whether a field of the user's dataset, or a part of one, is RSAM's; also the name of a FiftyOne run."""
    guest, name = memory(dataset).guest, path.split(".")[0]
    if guest is None:
        return False
    return name in SHARED_NAMES or any(_of_run(name, key) for key in guest.keys)


def own_tag(dataset: Any, tag: str) -> None:
    """Remember a tag that RSAM is going to give, unless it created the dataset. Raises `UserError` if it is one of the
    user's."""
    guest = memory(dataset).guest
    if guest is None or tag in guest.tags:
        return
    if tag in dataset.distinct("tags"):
        raise UserError(f"FiftyOne dataset {dataset.name!r}: the tag {tag!r} is yours. Choose another with --tag.")
    remember(dataset, guest=guest.model_copy(update={"tags": [*guest.tags, tag]}).model_dump())


def _of_run(name: str, key: str) -> bool:
    return name == key or name.startswith(f"{key}_")


def _taken(dataset: Any, key: str, first: bool) -> Iterator[str]:
    """Yield what the user has that has one of RSAM's names; shared ones only if RSAM is not yet in the dataset."""
    for name in dataset.get_field_schema():
        if (first and name in SHARED_NAMES) or _of_run(name, key):
            yield f"a field {name!r}"
    for kind, runs in (("an evaluation", dataset.list_evaluations()), ("a brain run", dataset.list_brain_runs())):
        yield from (f"{kind} {name!r}" for name in runs if _of_run(name, key))
    if dataset.has_workspace(workspace_name(key)):
        yield f"a workspace {workspace_name(key)!r}"
    groups = {group.name for group in dataset.app_config.sidebar_groups or []}
    yield from (
        f"a sidebar group {name!r}" for name in groups & {key, *((DECISIONS_GROUP, OTHER_GROUP) if first else ())}
    )
    if first:
        yield from (f"the tag {tag!r}" for tag in spellings(dataset, DECISION_TAGS))
