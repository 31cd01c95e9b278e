"""Layouts: how a release lists its images. One file per layout, each with `read(card) -> Listing`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from rsam_app.config import Card
from rsam_app.config.validation import suggest
from rsam_app.data.layouts import folder, huggingface, manifest
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
from rsam_app.system.errors import UserError

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
"""What a card's `options` may say, by layout: the values of each, or none where any will do."""


def read_listing(card: Card) -> Listing:
    """What the card's release lists, no image of it opened yet.

    Raises `UserError` where the root is missing or barred, for an option that the layout does not know, and where the
    release lists an image twice.
    """
    _check_options(card)
    if not card.root_path.exists():
        raise UserError(_missing_root(card))
    try:
        listing = READERS[card.layout](card)
    except PermissionError as error:
        raise UserError(f"card {card.name}: {error.filename} cannot be read. Mend its permissions.") from error
    seen: set[str] = set()
    for record in listing.records:
        if record.id in seen:
            raise UserError(f"card {card.name}: the release lists {record.id} twice. Restore its lists.")
        seen.add(record.id)
    return listing


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
    problem = f"card {card.name}: root {card.root_path} does not exist.\n"
    if os.path.isabs(os.path.expanduser(card.root)):
        remedy = "Correct `root` in the card."
    else:
        remedy = (
            f"It starts from RSAM_DATA (now {os.environ.get('RSAM_DATA') or 'unset: data/'}): export RSAM_DATA=FOLDER"
            " (the card's header says where to get the data), or correct `root` in the card."
        )
    return problem + (f"`rsam download {card.name}` fetches it. " if card.download else "") + remedy


__all__ = ["Listing", "read_listing"]
