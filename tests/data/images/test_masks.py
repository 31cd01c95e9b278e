from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rsam_app.data.images.masks import read_mask
from rsam_app.data.records import Record

SHAPE = np.array([[0, 1, 0], [1, 1, 0]], np.uint8)


def masked(path, values=(1,)) -> Record:
    return Record("a", path, "wren", "train", mask=path, mask_values=values)


@pytest.mark.parametrize(
    ("image", "values"),
    [
        (Image.fromarray(SHAPE), (1,)),
        (Image.fromarray(SHAPE * 255), tuple(range(1, 256))),
        (Image.fromarray(SHAPE * 255).convert("1"), (1,)),
        (Image.fromarray(SHAPE * 255).convert("RGB"), tuple(range(1, 256))),
        (Image.fromarray(SHAPE.astype(np.uint16) * 65535), tuple(range(1, 256))),
    ],
    ids=["values", "grey", "bits", "colour", "16 bit"],
)
def test_the_object_is_where_the_values_are(tmp_path, image, values) -> None:
    image.save(tmp_path / "m.png")
    assert (read_mask(masked(tmp_path / "m.png", values)) == SHAPE.astype(bool)).all()


def test_a_palette_mask_means_its_indices_not_its_colours(tmp_path) -> None:
    image = Image.fromarray(SHAPE + 1)
    image.putpalette([0, 0, 0, 250, 250, 250, 0, 0, 0])  # index 2 is as black as index 0
    image.save(tmp_path / "m.png")
    assert Image.open(tmp_path / "m.png").mode == "P"
    assert (read_mask(masked(tmp_path / "m.png", (2,))) == SHAPE.astype(bool)).all()


def test_a_record_without_mask() -> None:
    with pytest.raises(ValueError, match="has no mask"):
        read_mask(Record("a", None, "wren", "train"))  # type: ignore[arg-type]
