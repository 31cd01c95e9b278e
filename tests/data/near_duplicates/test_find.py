"""Near-duplicates among different photographs, from files as users have them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rsam_app.data.near_duplicates import thumbnails
from rsam_app.data.near_duplicates.find import Duplicates, find_duplicates
from rsam_app.data.records import Record

MakeCopies = Callable[[Sequence[Record]], list[Record]]


def pairs_of(records: list[Record], found: Duplicates) -> set[tuple[str, str]]:
    again = [(first, row) for row, first in enumerate(found.same) if first != row]
    return {(records[first].id, records[second].id) for first, second in [*found.pairs.tolist(), *again]}


def test_altered_copies_are_found_and_different_drawings_are_not(
    beetles: tuple[Record, ...], copies: MakeCopies
) -> None:
    made = copies(beetles[::3])
    assert len(made) == 11
    records = [*beetles, *made]
    found = find_duplicates(records)
    expected = {(record.id.split(" of ")[1], record.id) for record in made}
    assert pairs_of(records, found) == expected
    assert found.notes() == [] and (found.likeness >= 0.92).all() and (found.likeness <= 1).all()
    groups = found.groups()
    splits = np.array([record.split for record in records])
    for number, record in enumerate(made, start=len(beetles)):
        original = next(row for row, other in enumerate(beetles) if other.id == record.id.split(" of ")[1])
        assert groups[number] == groups[original] == original
        assert found.best()[number] == found.best(splits)[number] > 0.92
    assert (groups >= 0).sum() == 2 * len(made)
    assert np.isnan(found.best(np.zeros(len(records)))).all(), "none is within one split"


def test_photographs_by_a_fixed_camera_are_different(still_camera: tuple[Record, ...], copies: MakeCopies) -> None:
    (again,) = copies(still_camera[:1])
    records = [*still_camera, again]
    assert pairs_of(records, find_duplicates(records)) == {(still_camera[0].id, again.id)}


def test_copies_of_copies_are_one_group(beetles: tuple[Record, ...], copies: MakeCopies) -> None:
    made = copies(beetles[:1] * 9)
    records = [*made, *beetles[1:]]
    groups = find_duplicates(records).groups()
    assert (groups[: len(made)] == 0).all() and (groups[len(made) :] == -1).all()


def test_images_that_cannot_be_compared_are_reported(beetles: tuple[Record, ...], tmp_path: Path) -> None:
    broken, gone = tmp_path / "broken.jpg", tmp_path / "gone.jpg"
    broken.write_bytes(b"no image at all")
    records = [Record("broken", broken, "", "train"), beetles[0], Record("gone", gone, "", "train")]
    for number in range(2):
        path = tmp_path / f"black {number}.png"
        Image.new("RGB", (90, 70)).save(path)
        records.append(Record(path.name, path, "", "train"))
    found = find_duplicates([*records, beetles[0]])
    assert found.pairs.tolist() == [] and found.same.tolist() == [0, 1, 2, 3, 4, 1]
    unread, flat = found.notes()
    assert unread.startswith("2 of 6 images") and str(broken) in unread and str(gone) in unread
    assert flat.startswith("2 of 6") and "one grey" in flat


@pytest.mark.parametrize("count", [0, 1])
def test_no_or_one_image_has_no_pairs(beetles: tuple[Record, ...], count: int) -> None:
    found = find_duplicates(beetles[:count])
    assert found.pairs.shape == (0, 2) and found.groups().tolist() == [-1] * count


def test_thumbnails_are_cached_with_those_of_the_whole_dataset(
    beetles: tuple[Record, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "MIN_CACHED", 10)
    own = []
    for record in beetles[:12]:
        path = tmp_path / record.id
        path.write_bytes(record.path.read_bytes())
        own.append(Record(record.id, path, "", "train"))
    first = thumbnails.make_thumbnails(own).take(np.arange(12))
    told: list[tuple[int, int]] = []
    some = thumbnails.make_thumbnails(own[3:5], own, lambda done, total: told.append((done, total)))
    np.testing.assert_array_equal(some.take(np.arange(2)), first[3:5])
    assert told == [], "nothing had to be read"
    os.replace(own[7].path, own[3].path)
    anew = thumbnails.make_thumbnails([own[3]], own)
    np.testing.assert_array_equal(anew.take(np.arange(1))[0], first[7])
    monkeypatch.setenv("RSAM_CACHE_GIB", "0")
    without = thumbnails.make_thumbnails(own[4:6], own[:11])
    np.testing.assert_array_equal(without.take(np.arange(2)), first[4:6])
    assert "not cached" in without.note


def test_a_rotated_image_is_compared_as_displayed(beetles: tuple[Record, ...], tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    with Image.open(beetles[0].path) as image:
        exif = Image.Exif()
        exif[0x0112] = 6
        image.rotate(90, expand=True).save(path, exif=exif)
    turned = Record("turned", path, "", "train")
    assert find_duplicates([*beetles[:4], turned]).pairs.tolist() == [[0, 4]]


def test_a_file_that_occurs_very_often_is_compared_once(beetles: tuple[Record, ...], copies: MakeCopies) -> None:
    (smaller,) = copies(beetles[:1] * 3)[2:]
    often = [replace(beetles[0], id=f"{number}", split=("train", "val")[number % 2]) for number in range(3000)]
    records = [smaller, *often, beetles[1]]
    found = find_duplicates(records)
    assert found.pairs.tolist() == [[0, 1]] and found.same.tolist() == [0] + [1] * 3000 + [3001]
    assert found.groups().tolist() == [0] * 3001 + [-1]
    best, elsewhere = found.best(), found.best(np.array([record.split for record in records]))
    assert best[0] == found.likeness[0] and (best[1:3001] == 1).all() and np.isnan(best[3001])
    assert elsewhere[0] == found.likeness[0] and (elsewhere[1:3001] == 1).all()
    one_split = found.best(np.array(["test"] + ["train"] * 3001))
    assert (one_split[:3001] == found.likeness[0]).all(), "only the smaller one is in another split"
