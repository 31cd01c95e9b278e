"""Left-out files in one line each for images and masks, and in full for `run.json`."""

from __future__ import annotations

from rsam_app.data import load_dataset
from rsam_app.data.left_out import left_out_lines, listed
from rsam_app.data.records import Dataset, Skipped


def test_nothing_left_out_is_no_line(tmp_path) -> None:
    assert left_out_lines(Dataset("tiny", (), (), "ours"), tmp_path) == []


def test_a_line_counts_all_and_names_the_first(tmp_path) -> None:
    skipped = tuple(Skipped(tmp_path / "wren" / f"{n}.jpg", "empty file") for n in range(1200))
    lines = left_out_lines(Dataset("tiny", (), (), "ours", skipped), tmp_path)
    assert lines == [
        "1,200 images are left out: wren/0.jpg (empty file), wren/1.jpg (empty file), wren/2.jpg (empty file)"
        " and 1,197 more"
    ]


def test_images_and_masks_of_a_manifest_are_named_relative_to_its_folder(tmp_path, paint, card_for) -> None:
    rows = ["path,label,split,mask"]
    for n in range(6):
        paint(tmp_path / "data" / f"{n}.jpg")
        paint(tmp_path / "data" / "masks" / f"{n}.png", mode="L")
        rows.append(f"{n}.jpg,{('auk', 'wren')[n % 2]},train,masks/{n}.png")
    (tmp_path / "data" / "manifest.csv").write_text("\n".join(rows))
    (tmp_path / "data" / "4.jpg").write_text("no image")
    paint(tmp_path / "data" / "masks" / "1.png", width=10)
    card = card_for("manifest", tmp_path / "data" / "manifest.csv", max_broken_share=0.5)
    dataset = load_dataset(card)
    assert listed(dataset.skipped, card.root_path) == [("4.jpg", "not an image")]
    images, masks, *notes = left_out_lines(dataset, card.root_path)
    assert images == "1 image is left out: 4.jpg (not an image)"
    assert masks.startswith("1 mask is left out (its image stays): masks/1.png (is 10 x 30 pixels")
    assert notes == list(dataset.notes)


def test_a_file_outside_of_the_root_is_named_in_full(tmp_path) -> None:
    (tmp_path / "root").mkdir()
    outside = tmp_path / "elsewhere.jpg"
    assert listed([Skipped(outside, "missing")], tmp_path / "root") == [(outside.as_posix(), "missing")]
    assert listed([Skipped(outside, "missing", "train/0000001.png")], tmp_path / "root")[0][0] == "train/0000001.png"
