"""The classes that an image may be given: the card's, then those that reviewers added."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from rsam_app.review.dataset.annotation_schemas import offer_all_labels
from rsam_app.review.dataset.fiftyone_internals import add_to_lists
from rsam_app.review.dataset.guest import MEMORY, field_of, label_path
from rsam_app.review.dataset.schema import memory, set_classes
from rsam_app.system.errors import UserError, suggest


def class_to_give(typed: str, classes: Sequence[str], new: bool) -> str:
    """Return the class that `typed` names, regardless of case and blanks; if none and `new`, a name for a new class.

    Raises `UserError` for no name, a name that several classes have, and one that no class has unless `new`.
    """
    name = clean_name(typed)
    alike = class_alike(typed, classes)
    if not alike and not new:
        raise UserError(
            f"label {name!r} is not a class of this dataset.{suggest(name, classes)}\nTick 'New class' to add it."
        )
    return alike or name


def clean_name(typed: str) -> str:
    """Return what was typed with single blanks between its words. Raises `UserError` if it is no name."""
    name = " ".join(typed.split())
    if not name or not name.isprintable():
        raise UserError(f"label {typed!r} is not a name. Type a class, or choose one.")
    return name


def class_alike(typed: str, classes: Sequence[str]) -> str | None:
    """Return the class that `typed` names, regardless of case and blanks; None if none. Raises `UserError` if several
    classes have that name."""
    if typed in classes:
        return typed
    alike = [known for known in classes if _folded(known) == _folded(typed)]
    if len(alike) > 1:
        raise UserError(f"label {typed!r} names {len(alike)} classes: {', '.join(alike)}. Type one of them exactly.")
    return alike[0] if alike else None


def add_classes(review_set: Any, names: Iterable[str]) -> None:
    """Add classes that the dataset lacks, behind the others; they stay when the card's files or its runs are read."""
    names = list(dict.fromkeys(names))
    if set(names) <= set(memory(review_set).classes):
        return
    review_set.reload()
    new = [name for name in names if name not in memory(review_set).classes]
    # In one step: of two reviewers who add a class at the same time, neither loses it.
    places = (f"classes.{field_of(review_set, 'ground_truth')}", f"info.{MEMORY}.classes", f"info.{MEMORY}.new_classes")
    add_to_lists(review_set, dict.fromkeys(places, new))
    offer_all_labels(review_set)


def forget_unused_classes(review_set: Any) -> None:
    """Remove added classes that no image has, e.g. after an undo, except those of `rsam label --classes`."""
    from fiftyone import ViewField as F

    if added := memory(review_set).new_classes:
        path = label_path(review_set)
        used = review_set.match(F(path).is_in(added)).distinct(path)
        labelling = memory(review_set).labelling
        kept = {*used, *(labelling.offered if labelling else ())}
        left = [name for name in added if name in kept]
        if left != added:
            _set(review_set, left)


def _set(review_set: Any, added: Sequence[str]) -> None:
    known = memory(review_set)
    set_classes(review_set, [name for name in known.classes if name not in known.new_classes], added)
    offer_all_labels(review_set)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", " ".join(name.split())).casefold()
