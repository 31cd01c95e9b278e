"""Tags on records, many at once: how a selection reaches the App, and how a person's tags come back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rsam_app.config import SelectConfig
from rsam_app.review.dataset.schema import open_review
from rsam_app.run.corrections import corrections_path, read_corrections
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError


def tag_records(dataset_name: str, ids: Iterable[str], tag: str) -> int:
    """Tag the records of these ids; returns how many did not carry the tag before.

    Raises `UserError`, and tags nothing, where a record has no sample in the FiftyOne dataset or the tag is blank.
    """
    if not tag.strip():
        raise UserError(f"tag {tag!r}: give a word, e.g. --tag relabel")
    review_set = open_review(dataset_name)
    wanted = list(dict.fromkeys(ids))
    chosen = review_set.select_by("record_id", wanted)
    missing = sorted(set(wanted) - set(chosen.values("record_id")))
    if missing:
        raise UserError(
            f"FiftyOne dataset {dataset_name!r} lacks {len(missing)} of {len(wanted)} records, e.g. {missing[0]!r}.\n"
            "Predict their split with `rsam predict RUN --split all`, then run `rsam review RUN`."
        )
    new = len(chosen.match_tags(tag, bool=False))
    if new:
        chosen.tag_samples(tag)
    return new


def tagged_ids(dataset_name: str, tag: str) -> list[str]:
    """Ids of the records that carry `tag`, in the dataset's order. Images a person added herself have no record."""
    review_set = open_review(dataset_name)
    return [i for i in review_set.match_tags(tag).values("record_id") if i is not None]


if TYPE_CHECKING:
    from rsam_app.selection import Selection


def choose(
    run: RunFolder, dataset_name: str, settings: SelectConfig, seed: int, tag: bool = True
) -> tuple[Selection, int]:
    """The selection, written into the run, and how many of its images were newly tagged.

    Images that a person decided about are left out. Raises `UserError`.
    """
    from rsam_app.selection import Limits, select

    decided = {c.id for c in read_corrections(corrections_path(run.path, dataset_name))}
    limits = Limits(settings.per_class, settings.near_duplicates)
    strategy, budget, split = settings.strategy, settings.budget, settings.split
    chosen = select(run, strategy, budget, split, seed, exclude=decided, limits=limits)
    return chosen, _tag(dataset_name, chosen, settings.tag if tag else None)


def choose_again(run: RunFolder, dataset_name: str, manifest: Path, tag: str | None) -> tuple[Selection, int]:
    """The selection of a manifest once more, whatever was decided since, and how many of its images were newly tagged.

    Raises `UserError` where the run's predictions are no longer those it was made from.
    """
    from rsam_app.selection import replay

    chosen = replay(run, manifest)
    return chosen, _tag(dataset_name, chosen, tag)


def _tag(dataset_name: str, chosen: Selection, tag: str | None) -> int:
    if tag is None:
        return 0
    from rsam_app.review.tagging import tag_records

    return tag_records(dataset_name, chosen.ids, tag)
