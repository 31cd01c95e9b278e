"""Layouts: how a release lists its images. One file per layout, each with `read(card) -> Listing`."""

from __future__ import annotations

import os
from collections.abc import Callable

from rsam_app.config import Card
from rsam_app.data.layouts import cub_200_2011, folder, manifest, oxford_iiit_pet
from rsam_app.data.layouts.listing import Listing
from rsam_app.errors import UserError

READERS: dict[str, Callable[[Card], Listing]] = {
    "cub_200_2011": cub_200_2011.read,
    "oxford_iiit_pet": oxford_iiit_pet.read,
    "folder": folder.read,
    "manifest": manifest.read,
}


def read_listing(card: Card) -> Listing:
    """What the card's release lists, no image opened yet. Raises `UserError` where the root is missing or barred."""
    root = card.root_path
    if not root.exists():
        start = f"It starts from RSAM_DATA (now {os.environ.get('RSAM_DATA') or 'unset: data/'}): "
        remedy = (
            "export RSAM_DATA=FOLDER (the card's header says where to get the data)"
            if not os.path.isabs(os.path.expanduser(card.root))
            else ""
        )
        raise UserError(
            f"card {card.name}: root {root} does not exist.\n"
            + (f"{start}{remedy}, or correct `root` in the card." if remedy else "Correct `root` in the card.")
        )
    try:
        return READERS[card.layout](card)
    except PermissionError as error:
        raise UserError(f"card {card.name}: {error.filename} cannot be read. Mend its permissions.") from error


__all__ = ["Listing", "read_listing"]
