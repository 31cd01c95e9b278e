"""The layout of Oxford Flowers-102 (Nilsback and Zisserman, ICVGIP 2008)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from rsam_app.config import Card
from rsam_app.data.images.decoding import DECODE_ERRORS, image_bytes
from rsam_app.data.images.scan import THREADS
from rsam_app.data.layouts.formats.matlab import read_variables, whole_numbers
from rsam_app.data.layouts.listing import Listing, require_file, require_folder
from rsam_app.data.records import Record
from rsam_app.system.cache.files import cached_file
from rsam_app.system.errors import UserError

LAYOUT = "oxford_flowers_102"
OPTIONS = {"masks": ("segmim",)}
SPLITS = {"train": "trnid", "val": "valid", "test": "tstid"}

BACKGROUND_BLUE = (0, 0, 254)
"""The colour of the background in the release's segmentations."""
BACKGROUND_DISTANCE = 96
"""Distance in RGB from which a pixel is not background; JPEG compression shifts the blue by some tens."""

_NAMES = """
pink primrose, hard-leaved pocket orchid, canterbury bells, sweet pea, english marigold, tiger lily, moon orchid,
bird of paradise, monkshood, globe thistle, snapdragon, colt's foot, king protea, spear thistle, yellow iris,
globe-flower, purple coneflower, peruvian lily, balloon flower, giant white arum lily, fire lily, pincushion flower,
fritillary, red ginger, grape hyacinth, corn poppy, prince of wales feathers, stemless gentian, artichoke,
sweet william, carnation, garden phlox, love in the mist, mexican aster, alpine sea holly, ruby-lipped cattleya,
cape flower, great masterwort, siam tulip, lenten rose, barbeton daisy, daffodil, sword lily, poinsettia,
bolero deep blue, wallflower, marigold, buttercup, oxeye daisy, common dandelion, petunia, wild pansy, primula,
sunflower, pelargonium, bishop of llandaff, gaura, geranium, orange dahlia, pink-yellow dahlia, cautleya spicata,
japanese anemone, black-eyed susan, silverbush, californian poppy, osteospermum, spring crocus, bearded iris,
windflower, tree poppy, gazania, azalea, water lily, rose, thorn apple, morning glory, passion flower, lotus,
toad lily, anthurium, frangipani, clematis, hibiscus, columbine, desert-rose, tree mallow, magnolia, cyclamen,
watercress, canna lily, hippeastrum, bee balm, ball moss, foxglove, bougainvillea, camellia, mallow,
mexican petunia, bromelia, blanket flower, trumpet creeper, blackberry lily
"""
FLOWERS = tuple(name.strip() for name in _NAMES.replace("\n", " ").split(","))
"""The 102 names; class 1 is the first."""


def read(card: Card) -> Listing:
    """List the images of `setid.mat`, with its three splits; classes by official number, named in English.

    With the option `masks: segmim`, masks are made once from the release's segmentations and cached. The authors'
    method computed those segmentations; they are not drawn, so they are useful but not ground truth. Raises `UserError`
    if a file is missing or damaged.
    """
    root = card.root_path
    labels_file, splits_file = (require_file(root / name, LAYOUT) for name in ("imagelabels.mat", "setid.mat"))
    labels = whole_numbers(read_variables(labels_file, "labels")[0], labels_file, "labels")
    variables = read_variables(splits_file, *SPLITS.values())
    records: list[Record] = []
    for (split, name), variable in zip(SPLITS.items(), variables, strict=True):
        for number in whole_numbers(variable, splits_file, name):
            records.append(_record(root, number, labels, split, splits_file))
    if card.options.get("masks"):
        records = flower_masks(root / "segmim", records)
    return Listing(tuple(records), FLOWERS)


def _record(root: Path, number: int, labels: list[int], split: str, splits_file: Path) -> Record:
    if not 1 <= number <= len(labels):
        raise UserError(f"{splits_file}: image {number} has no label in imagelabels.mat. Restore the files.")
    label = labels[number - 1]
    if not 1 <= label <= len(FLOWERS):
        raise UserError(
            f"{root / 'imagelabels.mat'}: class {label} is not one of the {len(FLOWERS)}. Restore the file."
        )
    relative = f"jpg/image_{number:05d}.jpg"
    return Record(id=relative, path=root / relative, label=FLOWERS[label - 1], split=split)


def flower_masks(folder: Path, records: Sequence[Record]) -> list[Record]:
    """Add masks to the records of `image_NNNNN.jpg` that have a segmentation `folder/segmim_NNNNN.jpg`.

    A segmentation that cannot be read becomes the mask itself, so that the scan reports it. Raises `UserError` if the
    folder is missing.
    """
    require_folder(folder, "the option masks: segmim", "Unpack 102segmentations.tgz there, or remove the option.")
    with ThreadPoolExecutor(THREADS) as executor:
        masks = executor.map(lambda r: _mask(folder / r.path.name.replace("image_", "segmim_")), records)
        return [replace(r, mask=mask, mask_values=(255,)) for r, mask in zip(records, masks, strict=True)]


def not_blue(image: Image.Image) -> np.ndarray:
    """Return a mask `(H, W)`: 0 for the blue background, 255 elsewhere."""
    distance = np.linalg.norm(np.asarray(image.convert("RGB"), dtype=np.float32) - BACKGROUND_BLUE, axis=2)
    return np.where(distance > BACKGROUND_DISTANCE, 255, 0).astype(np.uint8)


def _mask(path: Path) -> Path | None:
    if not path.exists():
        return None
    content = image_bytes(path)
    return cached_file(content, ".png", "masks", lambda: _as_png(content)) or path


def _as_png(content: bytes) -> bytes | None:
    try:
        with Image.open(io.BytesIO(content)) as image:
            mask = Image.fromarray(not_blue(image))
    except (*DECODE_ERRORS, Image.DecompressionBombError):
        return None
    stream = io.BytesIO()
    mask.save(stream, "PNG")
    return stream.getvalue()
