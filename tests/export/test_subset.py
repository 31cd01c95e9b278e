"""Exports end to end: loaded again, checked by other readers, rejected, interrupted."""

from __future__ import annotations

import csv
import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from rsam_app.config import Card
from rsam_app.data import SPLITS, load_dataset, read_mask
from rsam_app.export.subset import export
from rsam_app.system.errors import UserError

PLAIN = ["folder", "manifest", "coco", "yolo-obb", "imagefolder"]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kept(aviary: Any) -> list[Any]:
    return [i for i in aviary.items if not i.excluded]


def card_of(out: Path) -> dict[str, Any]:
    """The card printed in the data card."""
    text = (out / "DATA_CARD.md").read_text(encoding="utf-8")
    return yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])


def test_a_manifest_loads_as_the_same_records(aviary: Any, load: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = export(aviary.items, "manifest", out, source=aviary.source)
    again = load("manifest", out / "manifest.csv")
    expected = kept(aviary)
    assert report.images == len(again.records) == len(expected) == 59
    assert not again.skipped and not again.skipped_masks
    for item, record in zip(expected, again.records, strict=True):
        old = item.record
        assert (record.label, record.split, record.boxes) == (item.label, old.split, old.boxes)
        assert (record.width, record.height) == (old.width, old.height)
        assert digest(record.path) == digest(old.path)
        assert (record.mask is None) == (old.mask is None)
        if old.mask:
            np.testing.assert_array_equal(read_mask(record), read_mask(old))
    assert sum(len(r.boxes) == 2 for r in again.records) > 5
    assert again.classes == aviary.dataset.classes


def test_a_manifest_keeps_groups(aviary: Any, load: Any, tmp_path: Path) -> None:
    item = replace(aviary.items[0], record=replace(aviary.items[0].record, group="on water"))
    export([item, *aviary.items[1:]], "manifest", tmp_path / "out", source=aviary.source)
    groups = [r.group for r in load("manifest", tmp_path / "out" / "manifest.csv").records]
    assert groups.count("on water") == 1
    assert set(groups) == {"on water", ""}


def test_class_folders_load_as_the_same_records(aviary: Any, load: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = export(aviary.items, "folder", out, source=aviary.source)
    again = load("folder", out)
    name_of = {"a/b: c?": "a_b_ c_", "..": "_", "con": "_con", "Wren": "Wren", "wren": "wren-2", "Grünfink": "Grünfink"}
    expected = Counter((name_of[i.label], i.record.split, digest(i.record.path)) for i in kept(aviary))
    assert Counter((r.label, r.split, digest(r.path)) for r in again.records) == expected
    assert any("'wren' is in the folder 'wren-2'" in note for note in report.notes)
    assert any("have no boxes or masks" in note for note in report.notes)
    assert any(
        "1 images with the tag 'good' are left out because they were excluded in the review" in n for n in report.notes
    )


@pytest.mark.parametrize("layout", ["folder", "manifest"])
@pytest.mark.parametrize("splits", [{"test"}, {"val", "test"}, {"train", "val"}])
def test_the_card_in_the_data_card_loads(
    aviary: Any, layout: str, splits: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [i for i in kept(aviary) if i.record.split in splits]
    export(items, layout, tmp_path / "it's out", source=replace(aviary.source, licence="CC: 'BY' # 4"))
    monkeypatch.setenv("RSAM_DATA", str(tmp_path))
    again = load_dataset(Card.model_validate(card_of(tmp_path / "it's out")))
    assert len(again.records) == len(items)
    assert again.licence == "CC: 'BY' # 4"


@pytest.mark.parametrize("format", PLAIN)
def test_data_card_records_and_checksums(aviary: Any, format: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(aviary.items, format, out, source=aviary.source)
    card = (out / "DATA_CARD.md").read_text(encoding="utf-8")
    for said in (
        "aviary",
        "CC0",
        "| run | first |",
        "| tag | good |",
        "59 of 6 classes",
        "1 by reviewers",
        "| **all** |",
    ):
        assert said in card
    finches = [str(sum(i.label == "Grünfink" and i.record.split == s for i in kept(aviary))) for s in SPLITS]
    assert f"| Grünfink | {' | '.join(finches)} |" in card
    with (out / "records.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [r["id"] for r in rows] == [i.record.id for i in kept(aviary)]
    assert [digest(out / r["file"]) for r in rows] == [digest(i.record.path) for i in kept(aviary)]
    changed = [r for r in rows if r["label"] != r["label_in_data_set"]]
    assert [(r["label_in_data_set"], r["label"], r["tags"]) for r in changed] == [("wren", "Grünfink", "relabel;good")]
    assert [r["rectangle_by"] for r in rows].count("person") == 1
    listed = dict(reversed(line.split("  ", 1)) for line in (out / "checksums.sha256").read_text().splitlines())
    on_disk = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()} - {"checksums.sha256"}
    assert set(listed) == on_disk
    assert all(digest(out / name) == value for name, value in listed.items())
    if shutil.which("sha256sum"):
        assert subprocess.run(["sha256sum", "--quiet", "-c", "checksums.sha256"], cwd=out, check=False).returncode == 0


@pytest.mark.parametrize("format", PLAIN)
def test_links(aviary: Any, format: str, tmp_path: Path) -> None:
    for mode in ("hardlink", "symlink"):
        out = tmp_path / mode
        export(aviary.items, format, out, mode, source=aviary.source)
        with (out / "records.csv").open(newline="", encoding="utf-8") as stream:
            files = [out / row["file"] for row in csv.DictReader(stream)]
        for item, file in zip(kept(aviary), files, strict=True):
            assert file.is_symlink() == (mode == "symlink")
            assert file.samefile(item.record.path)


def test_the_folder_has_ordinary_permissions(aviary: Any, tmp_path: Path) -> None:
    (tmp_path / "ordinary").mkdir()
    export(aviary.items, "folder", tmp_path / "out", source=aviary.source)
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


class TestRefusal:
    def test_never_overwrites(self, aviary: Any, tmp_path: Path) -> None:
        out = tmp_path / "out"
        out.mkdir()
        (out / "precious.txt").write_text("yours")
        with pytest.raises(UserError, match="exists and is not empty"):
            export(aviary.items, "folder", out, source=aviary.source)
        assert [p.name for p in out.iterdir()] == ["precious.txt"]
        with pytest.raises(UserError, match="is not a folder"):
            export(aviary.items, "folder", out / "precious.txt", source=aviary.source)
        assert (out / "precious.txt").read_text() == "yours"
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        with pytest.raises(UserError, match="is a broken link"):
            export(aviary.items, "folder", tmp_path / "loop", source=aviary.source)
        with pytest.raises(UserError, match="nothing left behind"):
            export(aviary.items, "folder", out / "precious.txt" / "below", source=aviary.source)
        with pytest.raises(UserError, match="name too long"):
            export(aviary.items, "folder", tmp_path / ("o" * 250), source=aviary.source)

    def test_an_empty_folder_and_a_link_to_one_are_fine(self, aviary: Any, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "out")
        export(aviary.items, "folder", tmp_path / "link", source=aviary.source)
        assert (tmp_path / "out" / "DATA_CARD.md").exists()

    def test_nothing_to_export_says_how_to_tag(self, aviary: Any, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no image of 'aviary' has the tag 'good'") as refused:
            export([], "folder", tmp_path / "out", source=aviary.source)
        assert "rsam select first --tag good" in str(refused.value)
        with pytest.raises(UserError, match="all 1 images with the tag 'good' were excluded"):
            export([i for i in aviary.items if i.excluded], "folder", tmp_path / "out", source=aviary.source)
        assert not (tmp_path / "out").exists()

    def test_unknown_formats_and_modes_name_the_nearest(self, aviary: Any, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="Did you mean 'coco'"):
            export(aviary.items, "coc", tmp_path / "out", source=aviary.source)
        with pytest.raises(UserError, match="Did you mean 'symlink'"):
            export(aviary.items, "folder", tmp_path / "out", "simlink", source=aviary.source)  # type: ignore[arg-type]


class TestInterruption:
    def left_behind(self, tmp_path: Path) -> list[str]:
        return sorted(p.name for p in tmp_path.iterdir() if "out" in p.name)

    @pytest.mark.parametrize("format", PLAIN)
    def test_a_missing_image_leaves_nothing(self, aviary: Any, format: str, tmp_path: Path) -> None:
        aviary.items[-1].record.path.unlink()
        for mode in ("copy", "hardlink", "symlink"):
            with pytest.raises(UserError, match="nothing left behind: No such file") as refused:
                export(aviary.items, format, tmp_path / "out", mode, source=aviary.source)
            assert aviary.items[-1].record.path.name in str(refused.value)
            assert self.left_behind(tmp_path) == []

    @pytest.mark.parametrize("raised", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
    def test_ctrl_c_and_a_full_disk_leave_nothing(
        self, aviary: Any, raised: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        copy, copied = shutil.copyfile, []

        def fail_late(source: Path, target: Path) -> object:
            copied.append(target)
            if len(copied) == 30:
                raise raised
            return copy(source, target)

        monkeypatch.setattr(shutil, "copyfile", fail_late)
        with pytest.raises((KeyboardInterrupt, UserError)) as stopped:
            export(aviary.items, "manifest", tmp_path / "new" / "out", source=aviary.source)
        assert len(copied) == 30
        assert not any((tmp_path / "new").iterdir())
        if isinstance(raised, OSError):
            assert "disk is full" in str(stopped.value) and "--mode hardlink" in str(stopped.value)

    def test_a_killed_export_leaves_no_out_and_the_next_cleans_up(self, aviary: Any, tmp_path: Path) -> None:
        script = (
            "import sys, time; from pathlib import Path; from rsam_app.export.staging import staged\n"
            "with staged(Path(sys.argv[1])) as partial:\n"
            "    (partial / 'half').write_text('x'); print('ready', flush=True); time.sleep(60)\n"
        )
        out = tmp_path / "out[1]"
        with subprocess.Popen([sys.executable, "-c", script, str(out)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout and process.stdout.readline() == "ready\n"
            running = self.left_behind(tmp_path)
            export(aviary.items, "folder", tmp_path / "out", source=aviary.source)
            assert set(running) < set(self.left_behind(tmp_path)), (
                "the partial folder of a running export is left alone"
            )
            process.send_signal(signal.SIGKILL)
        assert not out.exists() and len(running) == 1
        export(aviary.items, "folder", out, source=aviary.source)
        assert self.left_behind(tmp_path) == ["out", "out[1]"]

    def test_a_folder_without_permission_is_reported(self, aviary: Any, tmp_path: Path) -> None:
        if os.geteuid() == 0:
            parent = Path("/proc")  # even root cannot create a folder there
        else:
            parent = tmp_path / "locked"
            parent.mkdir(mode=0o500)
        with pytest.raises(UserError, match="nothing left behind"):
            export(aviary.items, "folder", parent / "out", source=aviary.source)

    def test_a_disk_without_room_is_named_before_anything_is_written(self, aviary: Any, tmp_path: Path) -> None:
        usage = shutil.disk_usage(tmp_path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
            with pytest.raises(UserError, match=r"MiB are free there\.\n.*--mode hardlink"):
                export(aviary.items, "folder", tmp_path / "out", source=aviary.source)
            export(aviary.items, "folder", tmp_path / "linked", "hardlink", source=aviary.source)
        assert (tmp_path / "linked" / "DATA_CARD.md").exists() and not self.left_behind(tmp_path)

    def test_two_at_once_one_wins(self, aviary: Any, tmp_path: Path) -> None:
        from rsam_app.export.staging import staged

        out = tmp_path / "out"
        with pytest.raises(UserError, match="Something else was written there"), staged(out) as slow:
            (slow / "mine").write_text("slow")
            export(aviary.items, "folder", out, source=aviary.source)
        assert (out / "DATA_CARD.md").exists() and not (out / "mine").exists()
        assert self.left_behind(tmp_path) == ["out"]


def test_real_photographs_round_trip(photographs: Path, tmp_path: Path, load: Any) -> None:
    """Breeds with trimaps and head boxes, including a PNG named .jpg."""
    from rsam_app.export import ExportItem, Source

    dataset = load("oxford_iiit_pet", photographs / "oxford-iiit-pet", train="trainval", test="test")
    odd = [r for r in dataset.records if r.path.read_bytes()[:2] != b"\xff\xd8"]
    trained = {r.label for r in dataset.split("train")[::5]}
    some = [*dataset.split("train")[::5], *dataset.split("val")[::3], *dataset.split("test")[::9]]
    chosen = list(dict.fromkeys(r for r in [*some, *odd] if r.label in trained))
    source = Source("pets", dataset.licence, dataset.classes, "run", "good")
    export([ExportItem(r, r.label) for r in chosen], "manifest", tmp_path / "out", source=source)
    again = load("manifest", tmp_path / "out" / "manifest.csv")
    assert odd and set(odd) <= set(chosen) and not again.skipped and not again.skipped_masks
    for old, new in zip(chosen, again.records, strict=True):
        assert (new.label, new.split, new.boxes, new.width) == (old.label, old.split, old.boxes, old.width)
        if old.mask:
            np.testing.assert_array_equal(read_mask(new), read_mask(old))


def test_the_data_card_names_every_file_that_the_dataset_left_out(aviary: Any, tmp_path: Path) -> None:
    left_out = tuple(f"image part 0/{n}.jpg: not an image" for n in range(20))
    export(aviary.items, "manifest", tmp_path / "out", source=replace(aviary.source, left_out=left_out))
    text = (tmp_path / "out" / "DATA_CARD.md").read_text(encoding="utf-8")
    section = text.partition("## Left out of the dataset\n\n")[2]
    assert section.splitlines() == [f"- {line}" for line in left_out]
    export(aviary.items, "manifest", tmp_path / "whole", source=aviary.source)
    assert "Left out" not in (tmp_path / "whole" / "DATA_CARD.md").read_text(encoding="utf-8")


def test_names_are_neither_html_nor_formulas(aviary: Any, tmp_path: Path) -> None:
    hostile = '=HYPERLINK("http://evil.example")'
    items = [replace(kept(aviary)[0], label=hostile, tags=("<b>&", "-1+1"), rectangle=(1.0, 2.0, 3.0, 4.0, -0.5))]
    source = replace(
        aviary.source,
        tag="<script>alert(1)</script>",
        classes=(hostile, "<img src=x>"),
        left_out=("image <img src=x onerror=alert(1)>.jpg: broken",),
    )
    export(items, "manifest", tmp_path / "out", source=source)
    text = (tmp_path / "out" / "DATA_CARD.md").read_text(encoding="utf-8")
    assert "<script" not in text and "<img" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    with (tmp_path / "out" / "records.csv").open(newline="", encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert row["label"] == f"'{hostile}" and row["tags"] == "<b>&;-1+1"
    assert f"'{hostile}" in (tmp_path / "out" / "manifest.csv").read_text(encoding="utf-8").replace('""', '"')
    assert row["angle"] == "-0.5", "a number is no formula"


def test_any_name_is_the_same_after_export_and_import(aviary: Any, load: Any, tmp_path: Path) -> None:
    names = ("=1+1", "+a", "-b", "@c", "'=d", "''-e", "'f", "g=h")
    first = kept(aviary)[0]
    record = replace(first.record, boxes=(), mask=None, split="train")
    items = [replace(first, label=n, record=replace(record, id=n, label=n, group=n), rectangle=None) for n in names]
    export(items, "manifest", tmp_path / "out", source=replace(aviary.source, classes=names))
    again = load("manifest", tmp_path / "out" / "manifest.csv").records
    assert [(record.label, record.group) for record in again] == [(name, name) for name in names]
