from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from rsam_app.data import load_dataset
from rsam_app.data.layouts import read_listing
from rsam_app.system.errors import UserError

SPLITS = {"train": "train", "val": "validation"}
FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": ["wren", "auk"], "_type": "ClassLabel"},
}


def picture(seed: int, form: str = "JPEG") -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, form)
    return stream.getvalue()


def table(
    labels: list[Any], start: int = 0, features: dict[str, Any] | None = FEATURES, form: str = "JPEG", **columns: Any
) -> pa.Table:
    """Rows as `datasets` stores them: images as bytes and path, class names in the schema's metadata."""
    images = [{"bytes": picture(start + i, form), "path": f"{start + i}.jpg"} for i in range(len(labels))]
    made = pa.table({"image": images, "label": labels, **columns})
    return (
        made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        if features
        else made
    )


def write(path: Path, rows: pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(rows, path)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as stream:
            stream.write_table(rows)
    return path


@pytest.fixture
def release(tmp_path: Path) -> Path:
    root = tmp_path / "birds"
    write(root / "data" / "train-00000-of-00002.parquet", table([0, 1, 1], 0))
    write(root / "data" / "train-00001-of-00002.parquet", table([0, 0], 10, form="PNG"))
    write(root / "data" / "validation-00000-of-00001.parquet", table([1], 20))
    return root


def test_shards_become_a_dataset(release, card_for, tmp_path) -> None:
    dataset = load_dataset(card_for("huggingface", release, splits=SPLITS))
    assert dataset.classes == ("wren", "auk")  # the ClassLabel's order
    assert [(r.id, r.label, r.split) for r in dataset.records] == [
        ("train/0000000.jpg", "wren", "train"),
        ("train/0000001.jpg", "auk", "train"),
        ("train/0000002.jpg", "auk", "train"),
        ("train/0000003.png", "wren", "train"),
        ("train/0000004.png", "wren", "train"),
        ("validation/0000000.jpg", "auk", "val"),
    ]
    assert {(r.width, r.height) for r in dataset.records} == {(40, 30)}
    assert dataset.records[0].path.read_bytes() == picture(0)
    assert dataset.records[0].path.is_relative_to(tmp_path / "cache" / "rsam" / "images")


def test_a_second_load_is_the_same_and_makes_nothing_anew(release, card_for, tmp_path) -> None:
    card = card_for("huggingface", release, splits=SPLITS)
    first = load_dataset(card)
    stamps = {r.path: r.path.stat().st_mtime_ns for r in first.records}
    assert load_dataset(card) == first
    assert {r.path: r.path.stat().st_mtime_ns for r in first.records} == stamps
    first.records[1].path.unlink()  # as whoever tidies up a cache would
    assert load_dataset(card) == first
    assert not list((tmp_path / "cache" / "rsam").rglob(".new-*"))


def test_a_changed_shard_is_read_again(release, card_for) -> None:
    card = card_for("huggingface", release, splits=SPLITS)
    load_dataset(card)
    write(release / "data" / "validation-00000-of-00001.parquet", table([0, 1], 30))
    assert [r.label for r in load_dataset(card).split("val")] == ["wren", "auk"]


def test_what_save_to_disk_leaves(tmp_path, card_for) -> None:
    root = tmp_path / "saved"
    write(root / "train" / "data-00000-of-00001.arrow", table([0, 1]))
    write(root / "train" / "cache-0123456789abcdef.arrow", table([0]))
    write(root / "validation" / "data-00000-of-00001.arrow", table([1], 20))
    (root / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    dataset = load_dataset(card_for("huggingface", root, splits=SPLITS))
    assert {s: len(dataset.split(s)) for s in ("train", "val")} == {"train": 2, "val": 1}


def test_folders_named_after_splits_and_files_without(tmp_path, card_for) -> None:
    write(tmp_path / "a" / "train" / "0000.parquet", table([0, 1]))
    write(tmp_path / "a" / "test" / "0000.parquet", table([1]))
    assert [r.split for r in read_listing(card_for("huggingface", tmp_path / "a")).records] == [
        "test",
        "train",
        "train",
    ]
    single = write(tmp_path / "b" / "anything.parquet", table([0, 1]))
    assert [r.split for r in read_listing(card_for("huggingface", single)).records] == ["", ""]


def test_labels_as_text_and_images_as_paths(tmp_path, card_for, paint) -> None:
    for name in ("a", "b"):
        paint(tmp_path / "birds" / "pictures" / f"{name}.jpg")
    rows = pa.table({"photo": ["pictures/a.jpg", "pictures/b.jpg"], "species": ["wren", "auk"]})
    write(tmp_path / "birds" / "train.parquet", rows)
    card = card_for("huggingface", tmp_path / "birds", options={"image": "photo", "label": "species"})
    dataset = load_dataset(card)
    assert dataset.classes == ("auk", "wren")
    assert [r.path.name for r in dataset.records] == ["a.jpg", "b.jpg"]


def test_several_columns_have_to_be_chosen_from(tmp_path, card_for) -> None:
    features = {**FEATURES, "family": {"names": ["A", "B"], "_type": "ClassLabel"}}
    write(tmp_path / "birds" / "train.parquet", table([0, 1], family=[1, 0], features=features))
    with pytest.raises(UserError, match=r"2 columns that may be the label \(its columns: image, label, family\)"):
        read_listing(card_for("huggingface", tmp_path / "birds"))
    listing = read_listing(card_for("huggingface", tmp_path / "birds", options={"label": "family"}))
    assert [r.label for r in listing.records] == ["B", "A"]
    with pytest.raises(UserError, match="has no column 'order'"):
        read_listing(card_for("huggingface", tmp_path / "birds", options={"label": "order"}))


def test_files_that_datasets_did_not_write(tmp_path, card_for) -> None:
    write(tmp_path / "birds" / "train.parquet", table(["wren", "auk"], features=None))
    assert read_listing(card_for("huggingface", tmp_path / "birds")).classes == ("auk", "wren")


@pytest.mark.parametrize(
    ("label", "expected"),
    [(2, "row 1: label 2 is not one of 2 classes"), (-1, "-1 means unlabelled"), (None, "label None")],
)
def test_a_row_without_a_class_is_named(release, card_for, label, expected) -> None:
    write(release / "data" / "validation-00000-of-00001.parquet", table([1, label], 20))
    with pytest.raises(UserError, match=expected):
        read_listing(card_for("huggingface", release))


def test_damaged_and_missing_shards_are_named(release, card_for) -> None:
    card = card_for("huggingface", release)
    shard = release / "data" / "train-00001-of-00002.parquet"
    whole = shard.read_bytes()
    for content, expected in (
        (whole[:-30], r"train-00001-of-00002\.parquet: cannot be read"),
        (b"", "cannot be read"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    ):
        shard.write_bytes(content)
        with pytest.raises(UserError, match=expected):
            read_listing(card)
    shard.write_bytes(whole[:4] + b"\xff" * (len(whole) // 2) + whole[4 + len(whole) // 2 :])
    with pytest.raises(UserError, match=r"train-00001-of-00002\.parquet"):
        read_listing(card)
    shard.unlink()
    with pytest.raises(UserError, match=r"1 of 2 shards are missing, e\.g\. .*train-00001-of-00002\.parquet"):
        read_listing(card)


def test_a_folder_of_several_datasets_or_of_none(release, card_for, tmp_path) -> None:
    write(release / "other" / "train-00000-of-00001.parquet", table([0]))
    with pytest.raises(UserError, match="several datasets"):
        read_listing(card_for("huggingface", release))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no \.parquet"):
        read_listing(card_for("huggingface", tmp_path / "empty"))


def test_an_image_that_is_none_is_left_out_and_named(release, card_for) -> None:
    rows = table([0, 1], 40).set_column(0, "image", pa.array([{"bytes": b"no picture", "path": "x"}] * 2))
    write(release / "data" / "validation-00000-of-00001.parquet", rows)
    dataset = load_dataset(card_for("huggingface", release, splits=SPLITS, max_broken_share=0.5))
    assert {s.reason for s in dataset.skipped} == {"not an image"}


def test_damage_of_an_arrow_file_never_ends_in_another_error(tmp_path, card_for) -> None:
    """Reading alone checks neither lengths nor text: `SystemError: Negative size passed to PyBytes_…`."""
    images = [{"bytes": b"\xff\xd8\xff" + bytes([n]) * 50, "path": "a"} for n in range(20)]
    table = pa.table({"image": images, "label": ["auk", "wren"] * 10})
    path = tmp_path / "train.arrow"
    with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    whole, draws, refused = path.read_bytes(), random.Random(17), 0
    names = [place for place in range(len(whole)) if whole[place : place + 4] in (b"path", b"imag", b"byte")]
    for number in range(60):
        damaged = bytearray(whole)
        # the names first; then the offsets of the columns, four bytes for each row
        place = names[number] if number < len(names) else draws.randrange(len(whole) // 3, len(whole))
        damaged[place : place + 4] = b"\xff\xff\xff\xff"
        path.unlink()  # an Arrow file is mapped into memory: never change one that was read
        path.write_bytes(damaged)
        try:
            read_listing(card_for("huggingface", tmp_path))
        except UserError as error:
            refused += 1
            assert "train.arrow" in str(error) or str(tmp_path) in str(error)
    assert refused > len(names)
