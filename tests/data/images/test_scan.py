from __future__ import annotations

import json
import multiprocessing
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rsam_app.data.images.decoding import read_image
from rsam_app.data.images.scan import ScanCache, cache_path, checked_size, scan
from rsam_app.data.records import Record
from rsam_app.system.versions import IMAGE_SCAN


def record(path: Path, **keys) -> Record:
    return Record(id=path.name, path=path, label="wren", split="train", **keys)


@pytest.fixture
def cache(tmp_path) -> ScanCache:
    return ScanCache(tmp_path / "scan.json")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_are_as_displayed(tmp_path, paint, cache, orientation) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = paint(tmp_path / "a.jpg", 300, 200, exif=exif)
    (found,) = scan([record(path)], cache).records
    expected = (300, 200) if orientation < 5 else (200, 300)
    assert (found.width, found.height) == expected
    assert read_image(path)[0].shape[:2] == (found.height, found.width)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_of_any_colour_and_tiny_sizes(tmp_path, paint, mode) -> None:
    assert checked_size(paint(tmp_path / "a.jpg", 3, 2, mode=mode)) == (3, 2)


@pytest.mark.parametrize("format", ["PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_other_formats_named_jpg(tmp_path, paint, cache, format) -> None:
    path = paint(tmp_path / "a.jpg", format=format)
    (found,) = scan([record(path)], cache).records
    assert (found.width, found.height) == (40, 30)


def break_file(kind: str, path: Path, paint) -> Path:
    if kind == "missing":
        return path
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("<html>404</html>")
    elif kind in ("bomb", "small bomb"):
        header = bytearray(paint(path, format="GIF").read_bytes())
        header[6:10] = struct.pack("<HH", *((60_000, 60_000) if kind == "bomb" else (10_000, 10_000)))
        path.write_bytes(header)
    elif kind == "gigabyte":
        paint(path, 300, 200)
        os.truncate(path, 2**30)  # takes no room
    else:
        whole = paint(path, 300, 200, **{"progressive": True} if kind == "progressive" else {}).read_bytes()
        path.write_bytes(whole[: len(whole) * (99 if kind == "almost whole" else 60) // 100])
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "missing"),
        ("folder", "not a file"),
        ("pipe", "not a file"),
        ("empty", "empty file"),
        ("text", "not an image"),
        ("truncated", "truncated"),
        ("almost whole", "truncated"),
        ("progressive", "truncated"),
        ("bomb", "too many pixels"),
        ("small bomb", "too many pixels"),
        ("gigabyte", "larger than 256 MiB"),
    ],
)
def test_a_broken_image_is_left_out_and_named_with_its_reason(tmp_path, paint, cache, kind, reason) -> None:
    good, bad = paint(tmp_path / "good.jpg"), break_file(kind, tmp_path / "bad.jpg", paint)
    found = scan([record(bad), record(good)], cache)
    assert [r.path for r in found.records] == [good]
    assert [s.path for s in found.skipped] == [bad]
    assert reason in found.skipped[0].reason


def test_names_no_file_can_have_are_broken_not_fatal(tmp_path, cache) -> None:
    found = scan([record(tmp_path / "a\0b.jpg"), record(tmp_path / ("x" * 400 + ".jpg"))], cache)
    assert len(found.skipped) == 2


@pytest.mark.parametrize("suffix", ["png", "gif", "webp", "bmp", "tif"])
def test_truncation_is_noticed_in_every_format(tmp_path, paint, cache, suffix) -> None:
    path = paint(tmp_path / f"a.{suffix}", 300, 200)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert len(scan([record(path)], cache).skipped) == 1


def test_masks_that_do_not_fit_are_left_out_while_their_images_stay(tmp_path, paint, cache) -> None:
    images = [paint(tmp_path / f"{n}.jpg") for n in range(5)]
    masks = [tmp_path / f"{n}.png" for n in range(5)]
    object_mask = np.full((30, 40), 2, np.uint8)
    Image.fromarray(object_mask).save(masks[0])  # no pixel of the object
    object_mask[3, 4] = 1
    Image.fromarray(object_mask).save(masks[1])
    Image.fromarray(object_mask[:20]).save(masks[2])
    masks[3].write_text("no mask")
    found = scan([record(i, mask=m) for i, m in zip(images, masks, strict=True)], cache)
    assert [r.mask for r in found.records] == [None, masks[1], None, None, None]
    reasons = {s.path: s.reason for s in found.skipped_masks}
    assert reasons == {
        masks[0]: "has no pixel of the object",
        masks[2]: "is 40 x 20 pixels, its image 40 x 30",
        masks[3]: "not an image",
        masks[4]: "missing",
    }


def test_an_unchanged_file_is_not_decoded_again_and_a_changed_one_is(tmp_path, paint) -> None:
    path, stored = paint(tmp_path / "a.jpg"), tmp_path / "scan.json"
    first = ScanCache(stored)
    scan([record(path)], first)
    assert first.save() is None
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(b"x" * path.stat().st_size)
    os.utime(path, ns=times)  # same size, same time: only a decode would notice
    assert scan([record(path)], ScanCache(stored)).records[0].width == 40
    paint(path, 50, 20)
    assert scan([record(path)], ScanCache(stored)).records[0].width == 50
    path.unlink()
    assert scan([record(path)], ScanCache(stored)).skipped[0].reason == "missing"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xff",
        b"[1]",
        b"null",
        b'{"version": 0, "entries": {}}',
        b'{"version": 1, "entries": [1]}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_cache_is_an_empty_one(tmp_path, paint, content) -> None:
    path, stored = paint(tmp_path / "a.jpg"), tmp_path / "scan.json"
    stored.write_bytes(content)
    cache = ScanCache(stored)
    assert scan([record(path)], cache).records[0].width == 40
    assert cache.save() is None
    assert len(json.loads(stored.read_text())["entries"]) == 1


@pytest.mark.parametrize("entry", [3, [1], [1, 2, 3], None, "x", ["size", "time", ["a"]], ["size", "time", [-1, True]]])
def test_a_damaged_entry_is_no_entry(tmp_path, paint, entry) -> None:
    path, stored = paint(tmp_path / "a.jpg"), tmp_path / "scan.json"
    status = path.stat()
    if isinstance(entry, list):
        entry = [
            {"size": status.st_size, "time": status.st_mtime_ns}.get(e, e) if isinstance(e, str) else e for e in entry
        ]
    stored.write_text(json.dumps({"version": 1, "entries": {f"image:{path}": entry}}))
    assert scan([record(path)], ScanCache(stored)).records[0].width == 40


def test_a_cache_that_cannot_be_written_is_noted_and_not_an_error(tmp_path, paint) -> None:
    (tmp_path / "file").touch()
    cache = ScanCache(tmp_path / "file" / "scan.json")
    assert len(scan([record(paint(tmp_path / "a.jpg"))], cache).records) == 1
    assert "could not be cached" in (cache.save() or "")


def save_many(path: Path, worker: int) -> None:
    for turn in range(50):
        cache = ScanCache(path)
        cache.put(f"image:{worker}-{turn}", path.parent.stat(), [turn])
        cache.save()


def test_concurrent_commands_never_leave_a_damaged_cache(tmp_path) -> None:
    stored = tmp_path / "scan.json"
    workers = [multiprocessing.get_context("fork").Process(target=save_many, args=(stored, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        if stored.exists():
            assert json.loads(stored.read_text())["version"] == IMAGE_SCAN
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert [p.name for p in tmp_path.iterdir()] == ["scan.json"]


def test_two_datasets_of_one_name_have_two_caches(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_path("birds", tmp_path / "a") != cache_path("birds", tmp_path / "b")
    assert cache_path("birds", tmp_path / "a").is_relative_to(tmp_path / "rsam" / "scans")


def test_progress_counts_every_image(tmp_path, paint, cache) -> None:
    seen: list[tuple[int, int]] = []
    scan([record(paint(tmp_path / f"{n}.jpg")) for n in range(3)], cache, lambda done, of: seen.append((done, of)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
