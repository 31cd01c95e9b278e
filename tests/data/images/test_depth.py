"""Images of more than eight bits are neither black nor guessed at; those of eight bits stay as they are."""

from __future__ import annotations

import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from rsam_app.data import load_dataset
from rsam_app.data.images.decoding import read_image
from rsam_app.data.images.depth import to_eight_bits
from rsam_app.data.images.scan import checked_size
from rsam_app.system.errors import UserError

RAMP = np.linspace(0, 1, 96 * 80).reshape(80, 96)
COLOURS = np.dstack([RAMP, RAMP / 2, RAMP[::-1]])
EXPECTED = (RAMP * 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("01.tif", RAMP.astype(np.float32)),
        ("signed.tif", (RAMP * 2000 - 1000).astype(np.float32)),
        ("small.tif", (RAMP * 2.5).astype(np.float32)),
        ("large.tif", (RAMP * 1e6).astype(np.float32)),
        ("counts.tif", (RAMP * 4095).round().astype(np.float32)),
        ("signed32.tif", (RAMP * 60000 - 30000).astype(np.int32)),
        *(
            (f"{bits}.{suffix}", (RAMP * (2**bits - 1)).round().astype(np.uint16))
            for bits in (8, 10, 12, 14, 16)
            for suffix in ("png", "tif")
        ),
    ],
)
def test_grey_values_of_any_range_become_0_to_255(tmp_path, name, values) -> None:
    Image.fromarray(values).save(tmp_path / name)
    pixels, size = read_image(tmp_path / name)
    assert checked_size(tmp_path / name) == size == (96, 80)
    assert (pixels[..., 0] == pixels[..., 2]).all()
    assert np.abs(pixels[..., 0].astype(int) - EXPECTED).max() <= 1


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_colours_of_any_depth_are_as_bright_as_those_of_eight_bits(tmp_path, bits, suffix, alpha) -> None:
    opaque = np.dstack([COLOURS, np.ones_like(RAMP)]) if alpha else COLOURS
    path = tmp_path / f"x.{suffix}"
    blue_first = (opaque * (2**bits - 1)).round().astype(np.uint16)[..., [2, 1, 0, 3][: 3 + alpha]]
    assert cv2.imwrite(str(path), blue_first)
    assert checked_size(path) == (96, 80)
    assert np.abs(read_image(path)[0] - (COLOURS * 255)).max() < 1.2


def test_deep_colours_are_displayed_upright(tmp_path) -> None:
    """Pillow cannot write them, so the orientation is added to a file that OpenCV wrote."""
    encoded = cv2.imencode(".png", (COLOURS * 4095).astype(np.uint16)[..., ::-1])[1].tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    (tmp_path / "x.png").write_bytes(encoded[:33] + chunk + encoded[33:])
    pixels, size = read_image(tmp_path / "x.png")
    assert size == (80, 96) == pixels.shape[1::-1]
    assert np.abs(pixels - np.rot90(COLOURS, -1) * 255).max() < 1.2


def test_a_declared_range_is_kept_by_every_image(tmp_path) -> None:
    for name, top in (("dark", 500), ("bright", 2000)):
        image = Image.fromarray((RAMP * top).astype(np.uint16))
        image.save(tmp_path / f"{name}.tif", tiffinfo={281: 2000})
    dark, bright = (int(read_image(tmp_path / f"{name}.tif")[0].max()) for name in ("dark", "bright"))
    assert (dark, bright) == (63, 255)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_is_refused_by_name(tmp_path, paint, card_for, value) -> None:
    for label in ("auk", "wren"):
        for n in range(3):
            paint(tmp_path / "d" / label / f"{n}.png")
    broken = RAMP.astype(np.float32)
    broken[3, 4] = value
    Image.fromarray(broken).save(tmp_path / "d" / "auk" / "nan.tif")
    with pytest.raises(UserError, match=r"nan\.tif: cannot be read .*NaN or infinite.*Replace or remove"):
        read_image(tmp_path / "d" / "auk" / "nan.tif")
    dataset = load_dataset(card_for("folder", tmp_path / "d", max_broken_share=0.5))
    reason = "damaged (has pixels that are NaN or infinite)"
    assert [(s.id, s.reason) for s in dataset.skipped] == [("auk/nan.tif", reason)]


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA", "LA", "CMYK"])
@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "gif", "webp", "jpg"])
def test_eight_bits_decode_as_by_pillow_alone(tmp_path, mode, suffix) -> None:
    image = Image.fromarray((COLOURS * 60).astype(np.uint8)).convert(mode)
    path = tmp_path / f"x.{suffix}"
    try:
        image.save(path)
    except (OSError, ValueError):
        pytest.skip("the format has no such mode")
    with Image.open(path) as opened:
        upright = ImageOps.exif_transpose(opened)
        if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
            layer = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        np.testing.assert_array_equal(read_image(path)[0], np.asarray(upright.convert("RGB")))


def test_sixteen_bits_are_scaled_as_ever() -> None:
    values = np.arange(65536)
    np.testing.assert_array_equal(to_eight_bits(values), (values * (255.0 / 65535.0)).astype(np.uint8))
    np.testing.assert_array_equal(to_eight_bits(values[:256].astype(np.uint16)), values[:256])
    assert to_eight_bits(np.full((2, 2), -7.5)).tolist() == [[0, 0], [0, 0]]
