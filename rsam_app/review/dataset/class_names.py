"""Present names of the classes: reviewers rename and merge them in the App, and the corrections table keeps that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rsam_app.data.records import Dataset, renamed_classes
from rsam_app.review.dataset.annotation_schemas import offer_all_labels
from rsam_app.review.dataset.class_list import class_alike, clean_name
from rsam_app.review.dataset.compare_and_set import now
from rsam_app.review.dataset.fiftyone_internals import sample_collection
from rsam_app.review.dataset.guest import MEMORY, label_path
from rsam_app.review.dataset.schema import create_or_open, memory, remember, run_keys, set_classes
from rsam_app.run.corrections import (
    Correction,
    class_names_in_force,
    in_force,
    new_classes,
    read_corrections,
    under_present_names,
)
from rsam_app.system.errors import UserError
from rsam_app.system.mongodb.connection import import_fiftyone


class Opened(NamedTuple):
    """A review dataset, the card's dataset with the present names of the classes, and the corrections in force."""

    review_set: Any
    dataset: Dataset
    corrections: dict[tuple[str, str], Correction]


def open_with_corrections(dataset: Dataset, table: Path, host: Any = None) -> Opened:
    """Open or create the review dataset of `dataset`, as it is in its files, with the classes and their names by the
    corrections table; `host` is the user's dataset that was entered instead, if any. Raises `UserError` as
    `create_or_open` and `read_corrections` do."""
    rows = read_corrections(table)
    names = _names_in_review(dataset.name if host is None else host.name, rows)
    dataset, rows = under_present_names(dataset, rows, changed_names(names))
    corrections = in_force(rows)
    given = {c.after for c in corrections.values() if c.kind == "label"}
    review_set = create_or_open(dataset, new_classes(dataset.classes, rows, given), host)
    _follow_names(review_set, names)
    return Opened(review_set, dataset, corrections)


def _names_in_review(dataset_name: str, corrections: Iterable[Correction]) -> dict[str, str]:
    """The present names of classes by their names in the files: those of the corrections, unless a reviewer has renamed
    the class in the review dataset since."""
    fo = import_fiftyone()
    decided: Mapping[str, str] = {}
    if fo.dataset_exists(dataset_name) and MEMORY in (review_set := fo.load_dataset(dataset_name)).info:
        review_set.reload()
        decided = memory(review_set).class_names
    return {**class_names_in_force(corrections), **decided}


def changed_names(names: Mapping[str, str]) -> dict[str, str]:
    """The names without those of classes that keep theirs."""
    return {old: new for old, new in names.items() if old != new}


def _follow_names(review_set: Any, names: Mapping[str, str]) -> None:
    """Give the dataset's samples the present names where it does not have them yet."""
    changed = changed_names(names)
    if changed == changed_names(memory(review_set).class_names):
        return
    remember(review_set, class_names=dict(names))
    _rename_labels(review_set, changed)
    offer_all_labels(review_set)


def earlier_name(names: Mapping[str, str], label: str) -> str:
    """The name in the files of the class that is called `label`; of a merged one, its own if it was kept, else the
    first."""
    merged = [old for old, new in names.items() if new == label]
    return merged[0] if merged and label not in merged else label


def rename_class(review_set: Any, name: str, typed: str, merge: bool = False) -> tuple[str, int]:
    """Rename the class `name` to what was `typed`, in all splits; if that is another class's name and `merge`, the two
    are one class then. Returns the name, and the number of images that got it.

    Raises `UserError` for a class that does not exist, for no name, for another class's name unless `merge`, and for
    the earlier name of another class.
    """
    review_set.reload()  # another reviewer may have renamed classes
    known = memory(review_set)
    if name not in known.classes:
        raise UserError(f"class {name!r} is not a class of this dataset. Choose one of the list.")
    new = class_alike(typed, [other for other in known.classes if other != name]) or clean_name(typed)
    earlier = [old for old, present in known.class_names.items() if present == name] or [name]
    _check_new_name(review_set, name, new, earlier, merge)
    names = {**known.class_names, **dict.fromkeys(earlier, new)}
    if new in known.classes and new not in known.class_names.values():
        names[new] = new  # it keeps the name that it has in the files
    _set_names(review_set, names, {name: new})
    return new, _rename_labels(review_set, {name: new})


def take_names_back(review_set: Any, names: Mapping[str, str]) -> bool:
    """Give classes, by their names in the files, other present names; return whether all samples follow at once.

    Images of merged classes can only be told apart by the dataset's files: they follow with the next `rsam review`.
    """
    known = memory(review_set)
    before = {old: known.class_names.get(old, old) for old in names}
    others = {present for old, present in known.class_names.items() if old not in names}
    changed = {present: names[old] for old, present in before.items() if present not in others}
    whole = all(changed.get(present) == names[old] for old, present in before.items())
    _set_names(
        review_set, {**known.class_names, **names}, changed, [n for n in names.values() if n not in known.classes]
    )
    _rename_labels(review_set, changed)
    if not whole:
        remember(review_set, records=None)
    return whole


def _check_new_name(review_set: Any, name: str, new: str, earlier: list[str], merge: bool) -> None:
    known = memory(review_set)
    if new == name:
        raise UserError(f"class {name!r} has that name already.")
    if new in known.classes:
        if not merge:
            images = review_set.match({label_path(review_set): new}).count()
            raise UserError(
                f"{new!r} is another class, of {images:,} images. Tick 'Merge' to make it one with {name!r}."
            )
        if len(known.classes) < 3:
            raise UserError(f"{name!r} and {new!r} are the only classes; a model needs two.")
    elif new in known.class_names and new not in earlier:
        raise UserError(f"{new!r} is the earlier name of {known.class_names[new]!r}. Choose another name.")


def _set_names(review_set: Any, names: dict[str, str], changed: Mapping[str, str], again: Iterable[str] = ()) -> None:
    """Store the names, and the list of classes with `changed` names and those that are there `again`."""
    known = memory(review_set)
    remember(review_set, class_names=names)
    of_card = [name for name in known.classes if name not in known.new_classes]
    new = renamed_classes(known.new_classes, {k: v for k, v in changed.items() if k in known.new_classes})
    set_classes(review_set, list(dict.fromkeys([*renamed_classes(of_card, changed), *again])), new)
    offer_all_labels(review_set)


def _rename_labels(review_set: Any, changed: Mapping[str, str]) -> int:
    """Change labels of images, of predictions and of suggestions; return how many images changed."""
    collection, images = sample_collection(review_set), 0
    predicted = (f for key in run_keys(review_set) for f in (f"{key}_prediction.label", f"{key}_suggested"))
    fields = ["original_label", *(f for f in predicted if review_set.has_sample_field(f.split(".")[0]))]
    label = label_path(review_set)
    for old, new in changed.items():
        for field in fields:
            collection.update_many({field: old}, {"$set": {field: new}})
        stamped = {label: new, "last_modified_at": now()}
        images += collection.update_many({label: old}, {"$set": stamped}).modified_count
    review_set.reload()
    return images
