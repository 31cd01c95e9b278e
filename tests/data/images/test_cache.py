"""Cached images: the same pixels as without a cache, whichever process wrote them, and within the limit."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.connection import Connection

import numpy as np
import pytest
import torch
from PIL import Image

from rsam_app.config import AugmentConfig
from rsam_app.data.augmentation.random_view import TrainAugment
from rsam_app.data.images.cache import CachedImageReader, caching_images, reader_for
from rsam_app.data.loader import Views, make_loader
from rsam_app.data.records import Record
from rsam_app.data.sampling import EpochBatches
from rsam_app.system.cache.rows import cache_home

SIDE = 32


@pytest.fixture
def records(tmp_path) -> list[Record]:
    """Large and small, upright and lying, JPEG and PNG."""
    draws, found = np.random.default_rng(0), []
    for i, (width, height) in enumerate([(300, 200), (60, 70), (90, 81), (40, 30), (501, 333), (200, 200)]):
        path = tmp_path / f"ï {i}.{'png' if i % 3 == 2 else 'jpg'}"
        pixels = draws.integers(0, 255, (height // 10 + 1, width // 10 + 1, 3)).astype(np.uint8)
        image = Image.fromarray(pixels).resize((width, height))
        exif = image.getexif()
        exif[0x0112] = 6 if i == 4 else 1
        image.save(path, exif=exif)
        shown = (height, width) if i == 4 else (width, height)
        found.append(Record(path.name, path, "ab"[i % 2], "train", *shown))
    return found


def epochs(records, workers: int = 0, side: int = SIDE) -> list[np.ndarray]:
    """Two epochs of augmented batches."""
    views = Views(records, {"a": 0, "b": 1}, side, TrainAugment(AugmentConfig(rotate=5), side), seed=1)
    batches = EpochBatches(len(records), 4, seed=1)
    loader = make_loader(views, batches, workers, pin_memory=False)
    seen = []
    for epoch in (0, 1):
        batches.set_position(epoch)
        seen += [array.numpy() for batch in loader for array in (batch["image"], batch["to_image"])]
    return seen


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cold_a_warm_a_damaged_and_no_cache_give_the_same_batches(records, workers):
    without = epochs(records)
    messages: list[str] = []
    with caching_images(records, SIDE, messages.append):
        assert same(epochs(records, workers), without)
        assert reader_for(SIDE).rows.missing() == []  # type: ignore[attr-defined]
    for path in (r.path for r in records):
        path.rename(path.with_suffix(".away"))  # so that nothing can be decoded again
        path.symlink_to(path.with_suffix(".away"))
    [rows] = cache_home().glob("images-*/rows")
    with caching_images(records, SIDE, messages.append):
        assert same(epochs(records, workers), without)
    assert all("decoded images are cached: 6 (" in text for text in messages) and len(messages) == 2
    with rows.open("r+b") as stream:
        stream.seek(100)
        stream.write(b"damage")
    with caching_images(records, SIDE, messages.append):
        assert same(epochs(records, workers), without)


def test_a_warm_cache_reads_no_file(records):
    with caching_images(records, SIDE, lambda text: None):
        first = epochs(records)
        for record in records:
            record.path.unlink()
        assert same(epochs(records), first)


def test_other_sides_and_other_records_are_not_cached(records, tmp_path):
    with caching_images(records[:3], SIDE, lambda text: None):
        assert type(reader_for(2 * SIDE)) is not CachedImageReader
        inside = epochs(records)
    assert type(reader_for(SIDE)) is not CachedImageReader
    assert same(epochs(records), inside)


def test_the_first_images_are_cached_if_not_all_fit(records, monkeypatch):
    without = epochs(records)
    monkeypatch.setenv("RSAM_CACHE_GIB", str(2 * 32_000 / 2**30))  # decoded images may take half of it
    messages: list[str] = []
    with caching_images(records, SIDE, messages.append):
        assert same(epochs(records), without)
    assert messages[0].startswith("decoded images are cached: 2 of 6;")
    for limit, why in (("0", "no room"), ("much", "not a number")):
        monkeypatch.setenv("RSAM_CACHE_GIB", limit)
        with caching_images(records, SIDE, messages.append):
            assert same(epochs(records), without)
        assert "not cached" in messages[-1] and why in messages[-1]


def test_a_changed_file_is_decoded_again(records):
    with caching_images(records, SIDE, lambda text: None):
        before = epochs(records)
    Image.new("RGB", (60, 70), "red").save(records[1].path)
    os.utime(records[1].path, (1, 1))
    with caching_images(records, SIDE, lambda text: None):
        after = epochs(records)
    assert not same(before, after) and same(after, epochs(records))


def test_a_file_of_another_size_than_when_it_was_scanned_is_not_cached(records):
    with caching_images(records, SIDE, lambda text: None):
        Image.new("RGB", (50, 20), "red").save(records[1].path)
        for _ in range(2):
            pixels, displayed = reader_for(SIDE)(records[1])
            assert displayed == (50, 20) and pixels.shape == (20, 50, 3)


def rewrite_forever(records: list[Record], ready: Connection) -> None:
    torch.set_num_threads(1)
    ready.send(True)
    while True:
        with caching_images(records, SIDE, lambda text: None):
            reader = reader_for(SIDE)
            reader.rows._checksums[:] = 0  # type: ignore[attr-defined]
            for record in records:
                reader(record)


def test_concurrent_and_killed_writers_do_no_harm(records):
    without = epochs(records)
    context = multiprocessing.get_context("fork")  # as loading processes are
    pipe, end = context.Pipe(duplex=False)
    writers = [context.Process(target=rewrite_forever, args=(records, end)) for _ in range(2)]
    for writer in writers:
        writer.start()
    assert all(pipe.recv() for _ in writers)
    try:
        for _ in range(8):
            with caching_images(records, SIDE, lambda text: None):
                assert same(epochs(records), without)
    finally:
        for writer in writers:
            writer.kill()
            writer.join()
    with caching_images(records, SIDE, lambda text: None):
        assert same(epochs(records), without)
