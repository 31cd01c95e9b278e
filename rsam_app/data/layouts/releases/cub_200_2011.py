"""The layout of Caltech-UCSD Birds-200-2011 (Wah et al., CNS-TR-2011-001), for the release or a part of it."""

from __future__ import annotations

from dataclasses import replace

from rsam_app.config import Card
from rsam_app.data.layouts.formats.bird_lists import read_bird_lists
from rsam_app.data.layouts.listing import Listing, unique_names

LAYOUT = "cub_200_2011"


def read(card: Card) -> Listing:
    """List the images of `images.txt`, in its order; splits `train`, `test`; classes like `001.Black_footed_Albatross`.

    Boxes are in continuous pixels and not clipped: x starts at 0 in the release, and 14 boxes of its first 50 classes
    reach past the edge. `bounding_boxes.txt` may be absent or lack some images. Classes without an image are noted and
    dropped, so that a part of the release is a dataset too. Raises `UserError` if the files disagree.
    """
    listed, keys = read_bird_lists(card.root_path, LAYOUT)
    names = unique_names(keys)
    records = tuple(replace(r, label=names[r.label]) for r in listed)
    used = {r.label for r in records}
    absent = [name for name in names.values() if name not in used]
    notes = (
        (f"{len(absent)} classes of classes.txt have no image and are left out, e.g. {absent[0]}",) if absent else ()
    )
    return Listing(records, tuple(name for name in names.values() if name in used), notes)
