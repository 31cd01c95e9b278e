"""Layouts: how a release lists its images. One module per layout, each with `read(card) -> Listing`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from rsam_app.config import Card
from rsam_app.data.layouts import folder, huggingface, manifest, photographs
from rsam_app.data.layouts.ignored import Ignored
from rsam_app.data.layouts.listing import Listing
from rsam_app.data.layouts.releases import (
    cub_200_2011,
    fgvc_aircraft,
    food_101,
    inaturalist,
    nabirds,
    oxford_flowers_102,
    oxford_iiit_pet,
    stanford_cars,
    stanford_dogs,
)
from rsam_app.system.errors import UserError, reason_of, suggest
from rsam_app.system.paths import misread

READERS: dict[str, Callable[[Card], Listing]] = {
    "cub_200_2011": cub_200_2011.read,
    "fgvc_aircraft": fgvc_aircraft.read,
    "folder": folder.read,
    "food_101": food_101.read,
    "huggingface": huggingface.read,
    "inaturalist": inaturalist.read,
    "manifest": manifest.read,
    "nabirds": nabirds.read,
    "oxford_flowers_102": oxford_flowers_102.read,
    "oxford_iiit_pet": oxford_iiit_pet.read,
    "photographs": photographs.read,
    "stanford_cars": stanford_cars.read,
    "stanford_dogs": stanford_dogs.read,
}

OPTIONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "fgvc_aircraft": fgvc_aircraft.OPTIONS,
    "huggingface": huggingface.OPTIONS,
    "inaturalist": inaturalist.OPTIONS,
    "nabirds": nabirds.OPTIONS,
    "oxford_flowers_102": oxford_flowers_102.OPTIONS,
}
"""The keys of a card's `options` by layout, each with its allowed values; none means any value."""


def read_listing(card: Card) -> Listing:
    """Read what the card's release lists, without opening an image.

    Raises `UserError` if the root is missing or not readable, for an unknown option, and if the release lists an image
    twice.
    """
    _check_options(card)
    try:
        if not card.root_path.exists():
            raise UserError(_missing_root(card))
        listing = READERS[card.layout](card)
    except PermissionError as error:
        raise UserError(f"card {card.name}: {error.filename} cannot be read. Correct its permissions.") from error
    except OSError as error:  # e.g. a name in a damaged list that is longer than file names can be
        raise UserError(f"card {card.name}: {reason_of(error)}. Restore the release, or correct the card.") from error
    listing = _without_ignored(listing, card)
    repeated = [name for name, count in Counter(record.id for record in listing.records).items() if count > 1]
    if repeated:
        raise UserError(f"card {card.name}: the release lists {repeated[0]} twice. Restore its lists.")
    return listing


def _without_ignored(listing: Listing, card: Card) -> Listing:
    """Leave out the records whose id, or a folder in it, matches the card's `ignore`."""
    if not card.ignore:
        return listing
    ignored = Ignored(card.root_path, card.ignore)
    records = tuple(record for record in listing.records if not ignored.lists(record.id))
    return replace(listing, records=records, notes=(*listing.notes, *ignored.notes()))


def _check_options(card: Card) -> None:
    known = OPTIONS.get(card.layout, {})
    for key, value in card.options.items():
        if key not in known:
            remedy = suggest(key, list(known)) or f" The layout {card.layout} has none."
            raise UserError(f"card {card.name}: options: {key}: unknown option.{remedy}")
        if known[key] and value not in known[key]:
            raise UserError(
                f"card {card.name}: options: {key}: {value!r} is not one of {', '.join(known[key])}."
                f"{suggest(value, list(known[key]))}"
            )


def _missing_root(card: Card) -> str:
    wrong = misread(card.root) or misread(os.environ.get("RSAM_DATA", ""))
    problem = f"card {card.name}: root {card.root_path} does not exist.{wrong}\n"
    if misread(card.root) or os.path.isabs(os.path.expanduser(card.root)):
        remedy = "Correct `root` in the card."
    else:
        remedy = (
            f"It is relative to RSAM_DATA (now {os.environ.get('RSAM_DATA') or 'unset: data/'}):"
            " export RSAM_DATA=FOLDER (the card's header names the source of the data), or correct `root` in the card."
        )
    return problem + (f"`rsam download {card.name}` downloads it. " if card.download else "") + remedy


__all__ = ["Listing", "read_listing"]
