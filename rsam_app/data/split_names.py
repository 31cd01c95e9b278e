"""Names of splits: the common forms of train, val and test, in any case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from rsam_app.system.errors import UserError

Split = Literal["train", "val", "test"]

FORMS: Mapping[Split, tuple[str, ...]] = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "tst", "holdout"),
}
"""Names that releases give to each split; in any case."""

_SPLIT_OF: Mapping[str, Split] = {form: split for split, forms in FORMS.items() for form in forms}


def common_split(name: str) -> Split | None:
    """Return the split that a name commonly means, such as `val` for `Validation`; None if none."""
    return _SPLIT_OF.get(name.strip().lower())


def recognise_splits(
    card: str, names: Mapping[Split, str], present: Iterable[str]
) -> tuple[dict[Split, str], list[str]]:
    """Return `names` with the names that the release uses, and a note for each that differs from the card's.

    `names` maps RSAM's splits to the release's, as the card named `card` says; `present` are the release's. A name that
    is present is kept. For one that is absent, another common form of it is used, such as `Train` for `train`. Names
    that have no common form are never replaced. Raises `UserError` if two forms of an absent name are present.
    """
    present = set(present)
    free = sorted(present - set(names.values()))
    recognised, notes = dict(names), []
    for split, name in names.items():
        if name in present or common_split(name) != split:
            continue
        similar = [other for other in free if common_split(other) == split]
        if len(similar) > 1:
            raise UserError(
                f"card {card}: splits: {name!r} ({split}) is not in the data, which has {' and '.join(similar)}.\n"
                f"Name one of them in the card, e.g. `{split}: {similar[0]}`."
            )
        if similar:
            recognised[split] = similar[0]
            notes.append(f"the split {similar[0]!r} of the release is used as {split}")
    return recognised, notes
