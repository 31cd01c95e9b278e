from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from data.download.conftest import tar_of

from rsam_app.data.download import archives as module
from rsam_app.data.download.archives import is_archive, unpack
from rsam_app.system.errors import UserError


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "outer" / "into"
    folder.mkdir(parents=True)
    return folder


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def zip_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return stream.getvalue()


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def everything_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz"), ("a.tar.xz", "w:xz")]
)
def test_files_come_out_as_they_went_in(tmp_path, into, name, mode) -> None:
    files = {"birds/a.jpg": b"a" * 3000, "birds/sub/ü.jpg": b"", "./lists.txt": b"x"}
    done = unpack(written(tmp_path / name, tar_of(files, mode)), into)
    assert everything_below(into) == {"birds/a.jpg": b"a" * 3000, "birds/sub/ü.jpg": b"", "lists.txt": b"x"}
    assert (done.files, done.bytes, done.outside) == (3, 3001, 0)


def test_a_zip_and_only_its_requested_folder(tmp_path, into) -> None:
    archive = written(tmp_path / "a.zip", zip_of({"birds/a.jpg": b"a", "birds/": b"", "other/b.jpg": b"b", "c": b"c"}))
    assert unpack(archive, into, take="birds").outside == 2
    assert everything_below(into) == {"a.jpg": b"a"}
    with pytest.raises(UserError, match="no files in its folder 'fish'"):
        unpack(archive, into, take="fish")


def test_a_file_stored_under_two_names_is_two_files(tmp_path, into) -> None:
    archive = tar_of({"birds/a": b"one"}, members=[member("birds/b", tarfile.LNKTYPE, "birds/a")])
    unpack(written(tmp_path / "a.tgz", archive), into, take="birds")
    assert everything_below(into) == {"a": b"one", "b": b"one"}
    assert (into / "a").stat().st_nlink == 1


def test_permissions_of_the_archive_are_not_taken(tmp_path, into) -> None:
    info = tarfile.TarInfo("tool")
    info.mode, info.size = 0o6777, 1
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.addfile(info, io.BytesIO(b"x"))
    unpack(written(tmp_path / "a.tar", stream.getvalue()), into)
    assert not (into / "tool").stat().st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IXUSR)


@pytest.mark.parametrize("name", ["../evil", "/evil-of-rsam", "birds/../../evil", "..", "birds/../evil"])
def test_no_path_leads_outside(tmp_path, into, name) -> None:
    for archive in (
        written(tmp_path / "a.tgz", tar_of({name: b"evil"})),
        written(tmp_path / "a.zip", zip_of({name: b"evil"})),
        written(tmp_path / "b.tgz", tar_of({}, members=[member(name, tarfile.DIRTYPE)])),
    ):
        with pytest.raises(UserError, match=r"leads outside\.\nNothing was unpacked"):
            unpack(archive, into)
    assert not list((tmp_path / "outer").rglob("*evil*")) and not Path("/evil-of-rsam").exists()


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.SYMTYPE, "../.."),
        (tarfile.SYMTYPE, "a/../../b"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ],
)
def test_links_that_lead_outside_and_devices_are_refused(tmp_path, into, kind, target) -> None:
    archive = written(tmp_path / "a.tgz", tar_of({"a": b"1"}, members=[member("x", kind, target)]))
    what = f"a link to '{target}', which leads outside" if kind == tarfile.SYMTYPE else "a device"
    with pytest.raises(UserError, match=f"holds 'x', {what}"):
        unpack(archive, into)
    assert not os.path.lexists(into / "x")


def zip_with_link(name: str, target: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as zipped:
        zipped.writestr("birds/a.jpg", b"a")
        info = zipfile.ZipInfo(name)
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(info, target)
    return stream.getvalue()


@pytest.mark.parametrize("target", ["a.jpg", "../birds", "./sub/../a.jpg", "nothing-yet", ".."])
def test_a_link_to_another_member_is_left_out_and_counted(tmp_path, into, target) -> None:
    link = member("birds/latest", tarfile.SYMTYPE, target)
    for archive in (
        written(tmp_path / "a.tgz", tar_of({"birds/a.jpg": b"a"}, members=[link])),
        written(tmp_path / "a.zip", zip_with_link("birds/latest", target)),
    ):
        assert unpack(archive, into, take="birds").links == 1
        assert everything_below(into) == {"a.jpg": b"a"} and not os.path.lexists(into / "latest")


def test_nothing_is_written_through_a_link(tmp_path, into) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.addfile(member("birds", tarfile.SYMTYPE, "other"))
        info = tarfile.TarInfo("birds/a.jpg")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"a"))
    assert unpack(written(tmp_path / "a.tar", stream.getvalue()), into).links == 1
    assert everything_below(into) == {"birds/a.jpg": b"a"} and not (into / "birds").is_symlink()


@pytest.mark.parametrize("target", ["/etc/hostname", "../../secret", "nothing"])
def test_a_hard_link_to_a_file_outside_the_archive_is_refused(tmp_path, into, target) -> None:
    (tmp_path / "secret").write_text("secret")
    archive = written(tmp_path / "a.tgz", tar_of({"a": b"1"}, members=[member("x", tarfile.LNKTYPE, target)]))
    with pytest.raises(UserError):
        unpack(archive, into)
    assert not (into / "x").exists()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x"])
def test_a_link_out_of_a_zip_is_refused(tmp_path, into, target) -> None:
    with pytest.raises(UserError, match=r"holds 'x', a link to .*, which leads outside"):
        unpack(written(tmp_path / "a.zip", zip_with_link("x", target)), into)


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_a_bomb_is_stopped_before_it_fills_the_disk(tmp_path, into, monkeypatch, make) -> None:
    monkeypatch.setattr(module, "GROWTH_SLACK", 1 << 20)
    suffix = ".zip" if make is zip_of else ".tgz"
    archive = written(tmp_path / f"bomb{suffix}", make({"zeros": bytes(50 << 20)}))
    with pytest.raises(UserError, match="unpacks to more than"):
        unpack(archive, into)
    assert sum(len(content) for content in everything_below(into).values()) < 10 << 20


def test_too_many_files_are_refused(tmp_path, into, monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 3)
    archive = written(tmp_path / "a.tgz", tar_of({f"{i}": b"" for i in range(5)}))
    with pytest.raises(UserError, match="more than 3 files"):
        unpack(archive, into)


@pytest.mark.parametrize("name", ["a.tgz", "a.tar", "a.zip", "a.tar.xz"])
@pytest.mark.parametrize("content", [b"", b"<html>Please log in</html>", os.urandom(3000)])
def test_a_file_that_is_not_an_archive_is_named(tmp_path, into, name, content) -> None:
    with pytest.raises(UserError, match=f"{name}: "):
        unpack(written(tmp_path / name, content), into)


@pytest.mark.parametrize(
    ("name", "mode"), [("a.tgz", "w:gz"), ("a.tar", "w"), ("a.tar.xz", "w:xz"), ("a.tar.bz2", "w:bz2")]
)
def test_a_truncated_archive_is_named(tmp_path, into, name, mode) -> None:
    whole = tar_of({f"{i}.jpg": os.urandom(500) for i in range(10)}, mode)
    content = 10 * 1024 if mode == "w" else len(whole)  # of each file: a header and its padded bytes; then zeros
    for size in range(1, content, content // 10 - 7):
        with pytest.raises(UserError, match=f"{name}: is damaged"):
            unpack(written(tmp_path / name, whole[:size]), into)


def test_a_file_where_another_member_wants_a_folder_is_named(tmp_path, into) -> None:
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpack(written(tmp_path / "a.tgz", tar_of({"a": b"1", "a/b": b"2"})), into)


KINDS = [
    pytest.param(lambda files: tar_of(files, "w"), id="tar"),
    pytest.param(lambda files: tar_of(files, "w:gz"), id="gz"),
    pytest.param(lambda files: tar_of(files, "w:bz2"), id="bz2"),
    pytest.param(lambda files: tar_of(files, "w:xz"), id="xz"),
    pytest.param(lambda files: zip_of(files), id="zip"),
]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("name", ["download", "A.TGZ", "a.tar.gz", "a.ZIP", "a.tar", "a.bin", "record.1234"])
def test_the_content_of_an_archive_decides_its_kind(tmp_path, into, make, name) -> None:
    archive = written(tmp_path / name, make({"./birds/a.jpg": b"a", "birds/sub/b.jpg": b"b"}))
    assert is_archive(archive)
    unpack(archive, into, take="birds")
    assert everything_below(into) == {"a.jpg": b"a", "sub/b.jpg": b"b"}


@pytest.mark.parametrize("name", ["a.tgz", "A.TAR.GZ", "a.zip", "a.tar"])
def test_a_damaged_archive_is_recognised_by_its_name(tmp_path, name) -> None:
    assert is_archive(written(tmp_path / name, b"damaged"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("setid.mat", b"MATLAB 5.0 MAT-file"),
        ("a.json", b"{}"),
        ("a.jpg", b"\xff\xd8\xff"),
        ("boxes.json.gz", gzip.compress(b"{}" * 500, mtime=0)),
        ("features.npz", zip_of({"a.npy": b"1"})),
        ("weights.pth", zip_of({"archive/data.pkl": b"1"})),
        ("empty", b""),
    ],
)
def test_other_files_are_not_archives(tmp_path, name, content) -> None:
    assert not is_archive(written(tmp_path / name, content))


@pytest.mark.parametrize(
    ("start", "kind"), [(b"7z\xbc\xaf'\x1c", "7-Zip"), (b"Rar!\x1a\x07", "RAR"), (b"\x28\xb5\x2f\xfd", "Zstandard")]
)
def test_an_archive_of_a_kind_that_cannot_be_unpacked_is_named(tmp_path, start, kind) -> None:
    with pytest.raises(UserError, match=f"download: is a {kind} archive.*\n.*repack it"):
        is_archive(written(tmp_path / "download", start + bytes(99)))


def test_backslashes_in_a_zip_are_folders(tmp_path, into) -> None:
    archive = written(
        tmp_path / "a.zip", zip_of({"birds\\": b"", "birds\\wren\\a.jpg": b"a", "birds/auk\\b.jpg": b"b"})
    )
    unpack(archive, into, take="birds")
    assert everything_below(into) == {"wren/a.jpg": b"a", "auk/b.jpg": b"b"}
    for name in ("..\\evil", "birds\\..\\..\\evil", "\\evil", "C:\\evil"):
        with pytest.raises(UserError, match="leads outside"):
            unpack(written(tmp_path / "a.zip", zip_of({name: b"evil"})), into)


@pytest.mark.parametrize(("written_as", "read_as"), [("utf-8", "Grünspecht.jpg"), ("cp437", "Grünspecht.jpg")])
def test_names_in_a_zip_without_the_utf_8_flag(tmp_path, into, written_as, read_as) -> None:
    plain = zip_of({"Gr##nspecht.jpg": b"a", "Gr#nspecht.jpg": b"b"})
    spelled = "ü".encode(written_as)
    archive = plain.replace(b"Gr" + b"#" * len(spelled) + b"n", b"Gr" + spelled + b"n")
    unpack(written(tmp_path / "a.zip", archive), into)
    assert everything_below(into)[read_as] == (b"a" if len(spelled) == 2 else b"b")


@pytest.mark.parametrize("make", KINDS)
def test_folders_need_no_entries_of_their_own(tmp_path, into, make) -> None:
    unpack(written(tmp_path / "a", make({"a/b/c/d.jpg": b"d"})), into)
    assert everything_below(into) == {"a/b/c/d.jpg": b"d"}
