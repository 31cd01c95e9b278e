"""The layout of NABirds (Van Horn et al., CVPR 2015)."""

from __future__ import annotations

from dataclasses import replace

from rsam_app.config import Card
from rsam_app.data.layouts.formats.bird_lists import read_bird_lists
from rsam_app.data.layouts.formats.text_table import keyed, read_rows
from rsam_app.data.layouts.listing import Listing, require_file, unique_names

LAYOUT = "nabirds"
OPTIONS = {"level": ("category", "species")}


def read(card: Card) -> Listing:
    """List the images of `images.txt`, in its order; splits `train` and `test`; classes like `Mallard (Breeding male)`.

    `classes.txt` also names the inner nodes of `hierarchy.txt`; without an image they are not classes. The option
    `level: species` merges plumages: a category `NAME (…)` becomes its parent in the hierarchy if that is called
    `NAME`. Boxes are in continuous pixels. Raises `UserError` if a file is missing or the files disagree.
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
    titles = unique_names({key: name for key, name in names.items() if key in used})
    return Listing(tuple(replace(r, label=titles[r.label]) for r in records), tuple(titles.values()))
