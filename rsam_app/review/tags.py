"""Tags on records, many at once: how a selection reaches the App, and how a person's tags come back."""

from __future__ import annotations

from collections.abc import Iterable

from rsam_app.errors import UserError
from rsam_app.review.dataset import open_review


def tag_records(dataset_name: str, ids: Iterable[str], tag: str) -> int:
    """Tag the records of these ids; returns how many did not carry the tag before.

    Raises `UserError`, and tags nothing, where a record has no sample in the FiftyOne data set or the tag is blank.
    """
    if not tag.strip():
        raise UserError(f"tag {tag!r}: give a word, e.g. --tag relabel")
    review_set = open_review(dataset_name)
    wanted = list(dict.fromkeys(ids))
    chosen = review_set.select_by("record_id", wanted)
    missing = sorted(set(wanted) - set(chosen.values("record_id")))
    if missing:
        raise UserError(
            f"FiftyOne data set {dataset_name!r} lacks {len(missing)} of {len(wanted)} records, e.g. {missing[0]!r}.\n"
            "Predict their split with `rsam predict RUN --split all`, then run `rsam review RUN`."
        )
    new = len(chosen.match_tags(tag, bool=False))
    if new:
        chosen.tag_samples(tag)
    return new


def tagged_ids(dataset_name: str, tag: str) -> list[str]:
    """Ids of the records that carry `tag`, in the data set's order. Images a person added herself have no record."""
    review_set = open_review(dataset_name)
    return [i for i in review_set.match_tags(tag).values("record_id") if i is not None]
