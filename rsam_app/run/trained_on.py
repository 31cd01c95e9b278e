"""The images that a run was trained on: kept out of every split that the run is measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rsam_app.config.taxonomy import Taxonomy
from rsam_app.data.left_out import first_names
from rsam_app.data.records import UNLABELLED, Dataset, Record
from rsam_app.system.errors import UserError
from rsam_app.system.json_files import read_json

HELD_OUT = ("val", "test")


@dataclass(frozen=True)
class MeasuredDataset:
    """A dataset as a run may be measured on it.

    The images that the run was trained on are in `train`, even if they are in another split of the data by now;
    `moved` has their ids by that other split.
    """

    dataset: Dataset
    moved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return a line for each split that images are left out of, with their number and first names."""
        return [
            f"{split}: {len(ids):,} {'image is' if len(ids) == 1 else 'images are'} left out,"
            f" as this run was trained on them: {first_names(ids)}"
            for split, ids in self.moved.items()
        ]


def training_ids(path: Path) -> frozenset[str]:
    """Return the ids in a run's `training_records.json`; none if it is not trained yet.

    Raises `UserError` if the file is damaged.
    """
    return frozenset(training_order(path)) if path.exists() else frozenset()


def training_order(path: Path) -> list[str]:
    """Return the ids in a run's `training_records.json`, in their order. Raises `UserError` if the file is damaged."""
    try:
        ids = read_json(path)
        if not isinstance(ids, list) or not all(isinstance(record_id, str) for record_id in ids):
            raise TypeError("not a list of ids")
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{path}: is damaged ({error}), so it is unknown which images the run was trained on.\n"
            "Restore the file, or train again with --restart."
        ) from error
    return ids


def as_model_knows(
    dataset: Dataset,
    classes: Sequence[str],
    taxonomy: Taxonomy | None = None,
    earlier_labels: Mapping[str, str] | None = None,
) -> tuple[Dataset, str]:
    """Return the dataset with the `classes` of a run's model, placed in `taxonomy`, and a line about images whose label
    is none of them.

    An image whose class was renamed or merged gets the earlier name, which `earlier_labels` has by record id, if the
    model knows that class. Other images have no label for this model: the next training learns their class. Without
    `classes` (no model yet), or if the model knows none of the dataset's, the dataset stays as it is.
    """
    if not classes:
        return dataset, ""
    earlier = {i: label for i, label in (earlier_labels or {}).items() if label in classes}
    dataset = replace(dataset, records=tuple(_labelled(r, earlier.get(r.id, r.label)) for r in dataset.records))
    if tuple(classes) == dataset.classes or not {r.label for r in dataset.records} & set(classes):
        return dataset, ""
    foreign = [r for r in dataset.records if r.label and r.label not in classes]
    unknown = {r.id for r in foreign}
    records = tuple(replace(r, label="", split=UNLABELLED) if r.id in unknown else r for r in dataset.records)
    placed = taxonomy.of_classes(classes) if taxonomy else None
    known = replace(dataset, records=records, classes=tuple(classes), taxonomy=placed)
    names = first_names(list(dict.fromkeys(r.label for r in foreign)))
    line = f"{len(foreign):,} images of classes that this run's model does not know are not measured: {names}"
    return known, line if foreign else ""


def _labelled(record: Record, label: str) -> Record:
    return record if record.label == label else replace(record, label=label)


def keep_in_train(dataset: Dataset, trained: frozenset[str]) -> MeasuredDataset:
    """Return the dataset with the images that a run was `trained` on in `train` instead of `val` or `test`."""
    moved: dict[str, Sequence[str]] = {
        split: [r.id for r in dataset.split(split) if r.id in trained] for split in HELD_OUT
    }
    leaking = {split: tuple(ids) for split, ids in moved.items() if ids}
    if not leaking:
        return MeasuredDataset(dataset)
    records = tuple(
        replace(r, split="train") if r.split in HELD_OUT and r.id in trained else r for r in dataset.records
    )
    return MeasuredDataset(replace(dataset, records=records), leaking)
