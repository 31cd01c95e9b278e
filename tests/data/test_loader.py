"""Batches of views: independent of the workers, targets that follow the view, and processes that exit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rsam_app.config import AugmentConfig
from rsam_app.data.augmentation.random_view import TrainAugment
from rsam_app.data.loader import Views, make_loader
from rsam_app.data.records import Record
from rsam_app.data.sampling import EpochBatches
from rsam_app.geometry import rectangles as geometry

AUGMENT = AugmentConfig(min_scale=0.3, rotate=25, color=0.3)

DEAF = """
import sys, time
from pathlib import Path
from rsam_app.data.loader import make_loader

class Deaf:
    def __getitems__(self, draws):
        Path(sys.argv[1]).touch()
        time.sleep(600)

loader = make_loader(Deaf(), [[0]], 1, False)
batches = iter(loader)
while not Path(sys.argv[1]).exists():
    time.sleep(0.05)
print("loading")
"""

OTHER = """
import multiprocessing, os, signal, time
import rsam_app.data.loader

def end_in_order(*_):
    print("ended in order", flush=True)
    os._exit(0)

def work(started):
    signal.signal(signal.SIGTERM, end_in_order)
    started.set()
    time.sleep(600)

context = multiprocessing.get_context("fork")
started = context.Event()
context.Process(target=work, args=(started,), daemon=True).start()
started.wait()
"""


@pytest.fixture
def tiny_records(tmp_path, ramp):
    records = []
    for i in range(23):
        path = tmp_path / f"ünï {i}.png"
        Image.fromarray(np.roll(ramp(60, 40), i, axis=1)).save(path)
        records.append(Record(path.name, path, "ab"[i % 2], "train", 60, 40))
    return records


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_views_whatever_the_number_of_workers(tiny_records, workers):
    views = Views(tiny_records, {"a": 0, "b": 1}, 32, TrainAugment(AUGMENT, 32), seed=5)
    batches = EpochBatches(23, 8, seed=5)
    loader = make_loader(views, batches, workers, pin_memory=False)
    sums = []
    for epoch in (0, 1):
        batches.set_position(epoch)
        sums.append({int(i): int(x.long().sum()) for b in loader for i, x in zip(b["index"], b["image"], strict=True)})
    reference = {i: int(views[(0, i)]["image"].long().sum()) for i in range(23)}
    assert sums[0] == reference
    assert sums[1] != sums[0] and sorted(sums[1]) == list(range(23))


def test_targets_follow_the_view(tiny_records):
    """A target around a coloured block still surrounds it in every view."""
    path = tiny_records[0].path
    image = np.zeros((100, 140, 3), np.uint8)
    image[30:60, 50:100] = (0, 0, 255)
    Image.fromarray(image).save(path)
    record = Record(path.name, path, "a", "train", 140, 100)
    targets = {record.id: ((75.0, 45.0, 50.0, 30.0, 0.0), 2.0)}
    config = AugmentConfig(min_scale=0.5, rotate=20, color=0)
    views = Views([record], {"a": 0}, 64, TrainAugment(config, 64), targets)
    seen = 0
    for epoch in range(20):
        item = views[(epoch, 0)]
        blue = (item["image"][2] > 128).numpy()
        mask = geometry.soft_mask(item["target"][None], 64, 64, softness=0.05)[0].numpy() > 0.5
        assert 0 < item["target_weight"] <= 2
        if item["target_weight"] > 1.9:
            seen += 1
            assert (mask & blue).sum() / (mask | blue).sum() > 0.9
    assert seen > 5


def test_a_banner_never_reaches_the_network(tmp_path):
    pixels = np.zeros((480, 640, 3), np.uint8)
    pixels[460:] = (255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    record = Record("a", tmp_path / "a.png", "x", "train", 640, 480, banner=20)
    for augment in (None, TrainAugment(AUGMENT, 96)):
        for draw in range(8):
            view = Views([record], {"x": 0}, 96, augment)[(draw, 0)]["image"].int()
            assert (view[0] - view[1]).abs().max() < 40  # grey, not red
    seen = Views([Record("a", tmp_path / "a.png", "x", "train", 640, 480)], {"x": 0}, 96)[(0, 0)]["image"]
    assert seen[0, -1].min() > 200 and seen[1, -1].max() < 50


@pytest.mark.parametrize(("name", "size"), [("a.png", (640, 480)), ("a.jpg", (1200, 800)), ("b.jpg", (250, 200))])
def test_what_stands_in_a_banner_changes_no_pixel(tmp_path, name, size):
    seen = []
    for grey in (0, 255):
        pixels = np.full((size[1], size[0], 3), 90, np.uint8)
        pixels[-24:] = grey  # whole blocks of a JPEG, which mixes the rows of each
        Image.fromarray(pixels).save(tmp_path / name)
        record = Record("a", tmp_path / name, "x", "train", *size, banner=24)
        seen.append(Views([record], {"x": 0}, 96)[(0, 0)]["image"])
    assert torch.equal(seen[0], seen[1])


def test_a_loading_process_that_hears_nothing_does_not_keep_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DEAF, str(tmp_path / "begun")]
    assert subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout == "loading\n"


def test_children_of_the_calling_program_are_not_killed() -> None:
    ended = subprocess.run([sys.executable, "-c", OTHER], capture_output=True, text=True, timeout=120, check=True)
    assert ended.stdout == "ended in order\n"
