from __future__ import annotations

from pathlib import Path

import pytest

from rsam_app.data.layouts import read_listing
from rsam_app.data.layouts.manifest import has_manifest_header
from rsam_app.system.errors import UserError


@pytest.fixture
def read(tmp_path: Path, card_for):
    def write_and_read(text: str | bytes):
        path = tmp_path / "birds" / "manifest.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_listing(card_for("manifest", path))

    return write_and_read


def test_paths_and_labels_are_enough(read, tmp_path) -> None:
    listing = read("path,label\nb.jpg,wren\na.jpg,auk\n")
    assert [(r.id, r.label, r.split) for r in listing.records] == [("b.jpg", "wren", ""), ("a.jpg", "auk", "")]
    assert listing.records[0].path == tmp_path / "birds" / "b.jpg"
    assert listing.classes == ("auk", "wren")


def test_every_column_in_any_order_with_marks_quotes_and_windows_line_ends(read, tmp_path) -> None:
    text = (
        "\ufeffLabel, path ,split,x,y,width,height,mask\r\n"
        '"Grünfink, jung","Bilder 1/a ""b"", c.jpg",train,1,2.5,3e1,4,m/a.png\r\n'
        "\r\n"
        "auk,b.jpg,test,,,,,\r\n"
    )
    first, second = read(text).records
    assert (first.id, first.label, first.split) == ('Bilder 1/a "b", c.jpg', "Grünfink, jung", "train")
    assert first.boxes == ((1.0, 2.5, 30.0, 4.0),)
    assert first.mask == tmp_path / "birds" / "m" / "a.png"
    assert (second.boxes, second.mask) == ((), None)


def test_several_rows_of_one_path_are_several_boxes(read) -> None:
    listing = read("path,label,x,y,width,height\na.jpg,auk,1,2,3,4\nb.jpg,wren,,,,\n./a.jpg,auk,5,6,7,8\n")
    assert [r.boxes for r in listing.records] == [((1, 2, 3, 4), (5, 6, 7, 8)), ()]


def test_ids_do_not_depend_on_how_a_path_is_written_or_where_the_folder_lies(read, tmp_path) -> None:
    inside = tmp_path / "birds" / "c.jpg"
    ids = [
        r.id for r in read(f"path,label\nx/../a.jpg,auk\n../other/b.jpg,auk\n{inside},auk\n/far/d.jpg,auk\n").records
    ]
    assert ids == ["a.jpg", "../other/b.jpg", "c.jpg", "/far/d.jpg"]


def test_a_group_is_kept_and_may_be_blank(read) -> None:
    first, second = read("path,label,group\na.jpg,auk,on water\nb.jpg,auk,\n").records
    assert (first.group, second.group) == ("on water", "")
    with pytest.raises(UserError, match=r"lines 2 and 3.*group 'sea' and 'land'"):
        read("path,label,x,y,width,height,group\na.jpg,auk,1,2,3,4,sea\na.jpg,auk,5,6,7,8,land\n")


def test_further_columns_are_ignored_and_named(read) -> None:
    assert "photographer" in read("path,label,photographer\na.jpg,auk,Ann\n").notes[0]
    wide = ",".join(f"f{i}" for i in range(9_000))
    assert read(f"path,label,{wide}\na.jpg,auk{',' * 9_000}\n").notes == (
        "manifest.csv: 9,000 columns are ignored: f0, f1, f2 and 8,997 more",
    )


def test_text_that_an_export_kept_from_being_a_formula_is_read_as_it_was(read) -> None:
    rows = ["a.jpg,'=1+1", "b.jpg,'tis", "c.jpg,''-1", "d.jpg,-1"]
    assert [r.label for r in read("\n".join(["path,label", *rows])).records] == ["=1+1", "'tis", "'-1", "-1"]


def test_files_that_are_no_tables_are_not_read_whole(tmp_path) -> None:
    file = tmp_path / "big.csv"
    for content in (b"x" * 200_000, b"\0" * 2**20, b"path,label," * 2**21):
        file.write_bytes(content)
        assert not has_manifest_header(file)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path,label\na.jpg,auk\nb.jpg,auk\na.jpg,wren\n", ["lines 2 and 4", "'a.jpg'", "'auk'", "'wren'"]),
        ("path,label\na.jpg,auk\n./a.jpg,auk\n", ["lines 2 and 3", "'a.jpg'", "twice"]),
        ("path,label,x,y,width,height\na.jpg,auk,1,2,3,4\na.jpg,auk,1,2,3,4\n", ["lines 2 and 3", "twice"]),
        ("path,label,x,y,width,height\na.jpg,auk,1,2,3,4\na.jpg,auk,,,,\n", ["lines 2 and 3", "twice"]),
        ("path,label,split\na.jpg,auk,train\na.jpg,auk,test\n", ["lines 2 and 3", "split 'train' and 'test'"]),
        ("path,label,x,y,width,height\na.jpg,auk,1,2,3,\n", ["line 2", "1,2,3,"]),
        ("path,label,x,y,width,height\na.jpg,auk,1,2,-3,4\n", ["line 2", "no area"]),
        ("path,label,x,y,width,height\na.jpg,auk,1,2,nan,4\n", ["line 2", "no area"]),
        ("path,label,x,y,width,height\na.jpg,auk,0.1,0.2,0.5,0.5\n", ["between 0 and 1", "pixels"]),
        ("path,label\n ,auk\n", ["line 2", "path is blank"]),
        ("path,label\na.jpg,\na.jpg,auk\n", ["lines 2 and 3", "'a.jpg'", "'auk'"]),
        ("path,label,split\na.jpg,auk,\n", ["line 2", "split is blank"]),
        ("path,label\na.jpg,auk,train\n", ["line 2", "3 cells"]),
        ("path,label\na, b.jpg,auk\n", ["line 2", "quotes"]),
        ('path,label\n"a.jpg,auk\nb.jpg,auk\n', ["unclosed quote"]),
        (",".join(f"f{i}" for i in range(300_000)) + "\n", ["300,000 columns", "Delete"]),
        ("path,label\n" + "a" * (2**24 + 1), ["more than 16,777,216 characters"]),
        ("path;label\na.jpg;auk\n", ["lacks path, label", "commas"]),
        ("path\na.jpg\n", ["lacks label"]),
        ("path,label,x,y\na.jpg,auk,1,2\n", ["lacks width, height"]),
        ("path,label,label\na.jpg,auk,b\n", ["repeats label"]),
        ("path,label,spilt\na.jpg,auk,train\n", ["'spilt'", "'split'"]),
        ("", ["lacks path, label"]),
        ("path,label\n", ["no rows"]),
        ("path,label\nü.jpg,auk\n".encode("latin-1"), ["not UTF-8"]),
    ],
)
def test_a_bad_row_is_named(read, text, expected) -> None:
    with pytest.raises(UserError) as caught:
        read(text)
    message = str(caught.value)
    assert "manifest.csv" in message
    assert all(part in message for part in expected)
    assert message.count("\n") <= 1


def test_a_root_that_is_a_folder(tmp_path, card_for) -> None:
    with pytest.raises(UserError, match="missing; the layout manifest needs it"):
        read_listing(card_for("manifest", tmp_path))


def test_rows_that_link_to_one_file_count_once_and_with_two_labels_not_at_all(tmp_path, paint, card_for) -> None:
    for number in range(3):
        paint(tmp_path / "store" / f"{number}.jpg")
        for link in ("a", "b"):
            (tmp_path / f"{link}{number}.jpg").symlink_to(tmp_path / "store" / f"{number}.jpg")
    rows = ["a0.jpg,auk", "a1.jpg,auk", "b1.jpg,auk", "a2.jpg,auk", "b2.jpg,wren", "b0.jpg,"]
    (tmp_path / "m.csv").write_text("\n".join(["path,label", *rows]))
    listing = read_listing(card_for("manifest", tmp_path / "m.csv"))
    assert [r.id for r in listing.records] == ["a0.jpg", "a1.jpg"]
    assert listing.notes == (
        "2 links to images that are listed already are left out: b0.jpg (is a0.jpg), b1.jpg (is a1.jpg)",
        "2 links to one file from several classes are left out:"
        f" a2.jpg (is {tmp_path / 'store' / '2.jpg'}), b2.jpg (is {tmp_path / 'store' / '2.jpg'})",
    )
