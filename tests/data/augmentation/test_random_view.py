"""From files to network inputs: one decode rule, independent draws, and an affine map that is true to the pixel."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from rsam_app.config import AugmentConfig
from rsam_app.data.augmentation.random_view import TrainAugment, whole_image
from rsam_app.data.images.decoding import read_image
from rsam_app.data.loader import Views, make_loader
from rsam_app.data.records import Record
from rsam_app.data.sampling import EpochBatches, ShardedBatches
from rsam_app.geometry import rectangles as geometry
from rsam_app.geometry.clipping import visible_part
from rsam_app.system.errors import UserError

AUGMENT = AugmentConfig(min_scale=0.3, rotate=25, color=0.3)


def ramp(width: int, height: int) -> np.ndarray:
    """Red grows with x, green with y: the pixels say where they came from."""
    x, y = (np.arange(n) + 0.5 for n in (width, height))
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.round(x * 250 / width)
    image[..., 1] = np.round(y * 250 / height)[:, None]
    return image


@pytest.mark.parametrize("seed", range(12))
def test_the_map_of_a_view_is_what_happened_to_its_pixels(seed):
    width, height, size = 320, 240, 96
    config = AugmentConfig(min_scale=0.3, rotate=25, color=0.0)
    view, to_image = TrainAugment(config, size)(ramp(width, height), (width, height), (seed,))
    inside = (view[..., 2] == 0) & (view[..., :2].min(axis=2) > 3)  # not the fill colour beyond the edges
    inside = cv2.erode(inside.astype(np.uint8), np.ones((5, 5))).astype(bool)
    rows, columns = np.nonzero(inside)
    mapped = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], axis=1) @ to_image.T
    shown = view[rows, columns, :2] * (width / 250, height / 250)
    assert len(rows) > 500
    assert np.abs((mapped - shown).mean(axis=0)).max() < 0.4  # pixels of the image; an index slip would be 0.5 to 1
    assert np.abs(mapped - shown).mean() < 1.0


def test_the_map_reaches_the_displayed_image_when_the_decoder_shrank_it():
    shrunk, displayed = ramp(160, 120), (640, 480)
    _, to_image = whole_image(shrunk, 64, displayed)
    assert np.allclose(to_image @ [64, 64, 1], displayed)
    _, to_image = TrainAugment(AugmentConfig(min_scale=1.0, flip=False, color=0), 64)(shrunk, displayed, (0,))
    corner = to_image @ [0, 0, 1]
    assert (np.abs(corner) < 160).all()
    assert np.abs(to_image[:, :2]).max() > 4  # whole image or nearly: ten displayed pixels per input pixel


def test_draws_depend_on_seed_epoch_and_index_alone_and_are_independent():
    """Flips and crops of many samples: flip is not tied to the crop (one shared stream would tie them)."""
    augment = TrainAugment(AugmentConfig(color=0), 16)
    image = ramp(64, 64)
    seen = [augment(image, (64, 64), (0, 0, i))[1] for i in range(400)]
    again = [augment(image, (64, 64), (0, 0, i))[1] for i in (7, 3, 11)]
    assert all(np.array_equal(a, seen[i]) for a, i in zip(again, (7, 3, 11), strict=True))
    flipped = np.array([m[0, 0] < 0 for m in seen])
    area = np.array([abs(m[0, 0] * m[1, 1]) for m in seen])
    assert 0.4 < flipped.mean() < 0.6
    assert abs(np.corrcoef(flipped, area)[0, 1]) < 0.15
    other_epoch = augment(image, (64, 64), (0, 1, 7))[1]
    assert not np.array_equal(other_epoch, seen[7])


@pytest.fixture
def tiny_records(tmp_path):
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


def test_processes_share_each_batch_and_together_see_what_one_sees():
    for processes in (1, 2, 3):
        parts = [EpochBatches(23, 8, seed=1, rank=r, processes=processes) for r in range(processes)]
        joined = [list(itertools.chain(*step)) for step in zip(*parts, strict=True)]
        assert [[i for _, i in batch] for batch in joined] == [[i for _, i in b] for b in EpochBatches(23, 8, seed=1)]
    assert sorted(i for b in EpochBatches(23, 8, seed=1) for _, i in b) == list(range(23))


def test_a_resumed_epoch_continues_with_the_very_next_batch():
    whole = list(EpochBatches(23, 8, seed=1))
    resumed = EpochBatches(23, 8, seed=1)
    resumed.set_position(0, 2)
    assert list(resumed) == whole[2:] and len(resumed) == 1


def test_a_rest_smaller_than_the_processes_is_left_out_on_all_of_them():
    parts = [list(EpochBatches(9, 4, seed=0, rank=r, processes=2)) for r in range(2)]
    assert [len(p) for p in parts] == [2, 2]


@pytest.mark.parametrize("samples", [1, 4, 5, 12, 13])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_evaluation_sees_every_sample_once_in_the_same_batches(samples, processes):
    single = list(ShardedBatches(samples, 4))
    shards = [list(ShardedBatches(samples, 4, r, processes)) for r in range(processes)]
    assert sorted(b for s in shards for b in s) == single
    assert [len(ShardedBatches(samples, 4, r, processes)) for r in range(processes)] == [len(s) for s in shards]


def test_targets_follow_the_view(tiny_records):
    """A target around a coloured block: in every view it still surrounds the block."""
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


def test_visible_part_of_a_rectangle():
    rectangle = torch.tensor([0.0, 50, 40, 20, 0])
    visible, share = visible_part(rectangle, 100, 100)
    assert visible.tolist() == pytest.approx([10, 50, 20, 20, 0]) and share == pytest.approx(0.5)
    assert visible_part(torch.tensor([50.0, 50, 20, 10, 0.5]), 100, 100)[1] == 1.0
    assert visible_part(torch.tensor([-90.0, 50, 20, 10, 0.5]), 100, 100)[1] == 0.0


def test_exif_orientation_is_applied_in_pixels_and_size(tmp_path):
    image = Image.fromarray(ramp(80, 40))
    exif = image.getexif()
    exif[0x0112] = 6  # turned a quarter clockwise to be displayed
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    pixels, size = read_image(tmp_path / "turned.jpg")
    assert size == (40, 80) and pixels.shape == (80, 40, 3)
    assert pixels[5, 20, 0] < pixels[75, 20, 0]  # what grew to the right now grows downwards
    assert pixels[40, 35, 1] < pixels[40, 5, 1]


def test_shrinking_while_decoding_keeps_the_picture_and_its_true_size(tmp_path):
    Image.fromarray(ramp(1600, 1200)).save(tmp_path / "big.jpg", quality=95)
    small, size = read_image(tmp_path / "big.jpg", side=100)
    whole, _ = read_image(tmp_path / "big.jpg")
    assert size == (1600, 1200) and 200 <= min(small.shape[:2]) < 1200
    view, _ = whole_image(small, 64, size)
    reference, _ = whole_image(whole, 64, size)
    assert np.abs(view.astype(int) - reference).mean() < 2


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16"])
def test_every_mode_becomes_three_channels(tmp_path, mode):
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


def test_an_unknown_augmentation_is_named():
    with pytest.raises(UserError, match="GausianBlur"):
        TrainAugment(AugmentConfig(extra=[{"GausianBlur": {}}]), 32)


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
