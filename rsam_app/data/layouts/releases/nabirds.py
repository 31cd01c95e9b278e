"""The layout of NABirds (Van Horn et al., CVPR 2015)."""

from __future__ import annotations

from dataclasses import replace

from rsam_app.config import Card
from rsam_app.data.layouts.formats.bird_lists import read_bird_lists
from rsam_app.data.layouts.formats.text_table import keyed, read_rows
from rsam_app.data.layouts.listing import Listing, distinct, require_file

LAYOUT = "nabirds"
OPTIONS = {"level": ("category", "species")}


def read(card: Card) -> Listing:
    """What `images.txt` lists, in its order; splits `train` and `test`; classes such as `Mallard (Breeding male)`.

    `classes.txt` names the inner nodes of `hierarchy.txt` too; those without an image are no classes. With the option
    `level: species`, plumages are merged: a category `NAME (…)` becomes its parent in the hierarchy where that is
    called `NAME`. Boxes `x y width height` are taken as continuous pixel edges. Raises `UserError`.
    """
    root = card.root_path
    records, names = read_bird_lists(root, LAYOUT)
    if card.options.get("level") == "species":
        parents = keyed(read_rows(require_file(root / "hierarchy.txt", LAYOUT), columns=2))
        merged = {}
        for key, name in names.items():
            parent = parents[key].cells[1] if key in parents else ""
            plumage_of = name.partition(" (")[0] if name.endswith(")") else ""
            merged[key] = parent if plumage_of and names.get(parent) == plumage_of else key
        records = [replace(r, label=merged[r.label]) for r in records]
    used = {r.label for r in records}
    titles = distinct({key: name for key, name in names.items() if key in used})
    return Listing(tuple(replace(r, label=titles[r.label]) for r in records), tuple(titles.values()))
