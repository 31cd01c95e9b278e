"""One decode rule: every file becomes upright 8-bit RGB with its true size, or a named error."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from rsam_app.data.augmentation.random_view import whole_image
from rsam_app.data.images.decoding import read_image
from rsam_app.system.errors import UserError


def test_exif_orientation_is_applied_in_pixels_and_size(tmp_path, ramp):
    image = Image.fromarray(ramp(80, 40))
    exif = image.getexif()
    exif[0x0112] = 6  # turned a quarter clockwise to be displayed
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    pixels, size = read_image(tmp_path / "turned.jpg")
    assert size == (40, 80) and pixels.shape == (80, 40, 3)
    assert pixels[5, 20, 0] < pixels[75, 20, 0]  # what grew to the right now grows downwards
    assert pixels[40, 35, 1] < pixels[40, 5, 1]


def test_shrinking_while_decoding_keeps_the_picture_and_its_true_size(tmp_path, ramp):
    Image.fromarray(ramp(1600, 1200)).save(tmp_path / "big.jpg", quality=95)
    small, size = read_image(tmp_path / "big.jpg", side=100)
    whole, _ = read_image(tmp_path / "big.jpg")
    assert size == (1600, 1200) and 200 <= min(small.shape[:2]) < 1200
    view, _ = whole_image(small, 64, size)
    reference, _ = whole_image(whole, 64, size)
    assert np.abs(view.astype(int) - reference).mean() < 2


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16"])
def test_every_mode_becomes_three_channels(tmp_path, mode, ramp):
    source = Image.fromarray(ramp(32, 24))
    if mode == "I;16":
        source = Image.fromarray(np.linspace(0, 65535, 24 * 32).reshape(24, 32).astype(np.uint16))
    else:
        source = source.convert(mode)
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    source.save(path)
    pixels, size = read_image(path)
    assert pixels.shape == (24, 32, 3) and pixels.dtype == np.uint8 and size == (32, 24)
    assert pixels.std() > 10


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff\xe0 broken"])
def test_an_unreadable_file_is_named(tmp_path, content):
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.jpg.*Replace or remove"):
        read_image(path)
    with pytest.raises(UserError, match=r"gone\.jpg"):
        read_image(tmp_path / "gone.jpg")


MEMORY = """
import resource, sys
from pathlib import Path
from rsam_app.data.images.decoding import read_image
from rsam_app.system.errors import UserError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_image(Path(sys.argv[1]))
except UserError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(("name", "most"), [("padded.jpg", 64), ("/dev/zero", 512)])
def test_a_file_too_large_for_an_image_is_not_read_whole(tmp_path, ramp, name, most):
    path = tmp_path / name
    if path.parent == tmp_path:
        Image.fromarray(ramp(80, 40)).save(path)
        os.truncate(path, 2**30)
        with path.open("r+b") as stream:
            stream.seek(-2, 2)
            stream.write(b"\xff\xd9")
    done = subprocess.run([sys.executable, "-c", MEMORY, path], capture_output=True, text=True, check=True)
    said, mebibytes = done.stdout.splitlines()
    assert said == f"{path}: cannot be read as an image (larger than 256 MiB). Replace or remove the file."
    assert int(mebibytes) < most


def test_the_stored_pixels_are_as_good_as_the_whole_image(tmp_path):
    """Half-size decoding and shrinking first, against one antialiased shrinking by Pillow: a few levels."""
    draws = np.random.default_rng(0)
    pixels = np.array(Image.fromarray(draws.integers(0, 255, (90, 131, 3), dtype=np.uint8)).resize((1703, 1301)))
    path = tmp_path / "big.jpg"
    Image.fromarray(pixels).save(path, quality=95)
    for side in (64, 100, 200):
        stored, displayed = read_image(path, side)
        assert displayed == (1703, 1301) and min(stored.shape[:2]) == 2 * side
        size = (stored.shape[1], stored.shape[0])
        whole = Image.open(path)
        reference = np.asarray(whole.resize(size, Image.Resampling.BICUBIC), dtype=int)
        assert np.abs(stored - reference).mean() < 4
