"""Tags on many records at once, and selections that reach the App as tags."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rsam_app.config import SelectConfig
from rsam_app.data.records import UNLABELLED
from rsam_app.review.dataset.enter import own_tag
from rsam_app.review.dataset.samples import Samples
from rsam_app.review.dataset.schema import open_review
from rsam_app.run.corrections import corrections_path, read_corrections
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import read_columns
from rsam_app.system.errors import UserError

if TYPE_CHECKING:
    from rsam_app.selection import Selection


def tag_records(dataset_name: str, ids: Iterable[str], tag: str) -> int:
    """Tag the records with these ids; return the number that did not have the tag before.

    Raises `UserError`, and tags nothing, if a record has no sample in the FiftyOne dataset or the tag is blank.
    """
    if not tag.strip():
        raise UserError(f"tag {tag!r}: give a word, e.g. --tag relabel")
    wanted = list(dict.fromkeys(ids))
    missing = without_sample(dataset_name, wanted)
    if missing:
        raise UserError(
            f"FiftyOne dataset {dataset_name!r} lacks {len(missing)} of {len(wanted)} records, e.g. {missing[0]!r}.\n"
            "Predict their split with `rsam predict RUN --split all`, then run `rsam review RUN`."
        )
    review_set = open_review(dataset_name)
    own_tag(review_set, tag)
    samples = review_set.select_by("record_id", wanted)
    new = len(samples.match_tags(tag, bool=False))
    if new:
        samples.tag_samples(tag)
    return new


def without_sample(dataset_name: str, ids: Iterable[str]) -> list[str]:
    """Return the ids of the records without a sample in the FiftyOne dataset, sorted."""
    return sorted(set(ids) - Samples(open_review(dataset_name)).record_ids())


def tagged_ids(dataset_name: str, tag: str) -> list[str]:
    """Ids of the records with the tag, in the dataset's order; images that the reviewer added have no record."""
    samples = open_review(dataset_name).match_tags(tag)
    return [record_id for record_id in samples.values("record_id") if record_id is not None]


def select_and_tag(
    run: RunFolder, dataset_name: str, settings: SelectConfig, seed: int, tag: bool = True, card: str | None = None
) -> tuple[Selection, int]:
    """Select images, write the selection into the run, and tag it; return it and the number of newly tagged images.
    `card` is the name of the run's card, if the dataset has another.

    Images with a decision are left out, but not for their first label once the model was trained with it. With `tag`,
    images without a sample are left out, too, which a note of the selection names. Raises `UserError`, also if no image
    has a sample.
    """
    from rsam_app.selection import Limits, select

    missing = _without_sample(run, dataset_name, settings.split) if tag else []
    decided = _decided(run, card or dataset_name)
    limits = Limits(settings.per_class, settings.near_duplicates)
    strategy, budget, split = settings.strategy, settings.budget, settings.split
    selection = select(run, strategy, budget, split, seed, exclude=decided, absent=missing, limits=limits)
    if missing:
        note = (
            f"{len(missing):,} images have no sample in FiftyOne and are left out, e.g. {missing[0]}."
            f" `rsam review {run.path}` writes the samples again if the files exist."
        )
        selection = replace(selection, notes=(note, *selection.notes))
    return selection, tag_records(dataset_name, selection.ids, settings.tag) if tag else 0


def _decided(run: RunFolder, card: str) -> set[str]:
    """The records with a decision. A first label is one only for images that the run has as unlabelled: it was given
    without a model, so a run that learned from it may question it."""
    rows = read_corrections(corrections_path(run.path, card))
    first = {c.id for c in rows if c.kind == "label" and not c.before}
    other = {c.id for c in rows if c.kind != "label" or c.before}
    if not first - other:
        return other
    table = read_columns(run.predictions, ["id", "split"])
    pairs = zip(table.column("id").to_pylist(), table.column("split").to_pylist(), strict=True)
    return other | (first & {record_id for record_id, split in pairs if split == UNLABELLED})


def _without_sample(run: RunFolder, dataset_name: str, split: str) -> list[str]:
    """The run's records of a split without a sample; none if all are, as then tagging says what to do."""
    table = read_columns(run.predictions, ["id", "split"])
    pairs = zip(table.column("id").to_pylist(), table.column("split").to_pylist(), strict=True)
    ids = {record_id for record_id, of in pairs if split in ("all", of)}
    missing = without_sample(dataset_name, ids)
    return missing if len(missing) < len(ids) else []


def replay_and_tag(run: RunFolder, dataset_name: str, manifest: Path, tag: str | None) -> tuple[Selection, int]:
    """Repeat the selection of a manifest, whatever was decided since; return as `select_and_tag` does.

    Raises `UserError` if the run's predictions have changed since.
    """
    from rsam_app.selection import replay

    selection = replay(run, manifest)
    return selection, 0 if tag is None else tag_records(dataset_name, selection.ids, tag)
