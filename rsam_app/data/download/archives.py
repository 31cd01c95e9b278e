"""Safe unpacking of untrusted archives: only plain files and folders, only below one folder, only up to a limit."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import posixpath
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from rsam_app.system.errors import UserError

ENDINGS = (".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".zip")
ZIPS_TO_KEEP = (".npz", ".pt", ".pth", ".docx", ".xlsx", ".odt", ".ods", ".jar", ".whl")
"""Endings of formats that are ZIP archives inside, but files to their readers."""
UNREADABLE = {b"7z\xbc\xaf'\x1c": "7-Zip", b"Rar!": "RAR", b"\x28\xb5\x2f\xfd": "Zstandard"}
"""First bytes of archives that Python cannot unpack."""
CHUNK = 1 << 20
MAX_GROWTH = 20
"""Maximum ratio of the content to the archive: photographs hardly compress, JSON and text about tenfold."""
GROWTH_SLACK = 64 << 20
"""Bytes that any archive may unpack to, beyond `MAX_GROWTH`."""
MAX_FILES = 5_000_000
LONGEST_TARGET = 4096
"""Bytes of a link's target, as in Linux."""
UTF8_FLAG = 0x800
"""The bit of a ZIP member's flags that says that its name is UTF-8."""
REFUSED = "Nothing was unpacked. Do not use this file; download the official one."
DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
    ValueError,
)


@dataclass
class Unpacked:
    """Number of files and bytes unpacked, of files outside the requested folder, and of links left out."""

    files: int = 0
    bytes: int = 0
    outside: int = 0
    links: int = 0


def is_archive(path: Path) -> bool:
    """Return whether a file is an archive to unpack, by its content, or by its name if that is damaged.

    Raises `UserError` for an archive of a kind that Python cannot unpack.
    """
    with path.open("rb") as stream:
        start = stream.read(8)
    for signature, kind in UNREADABLE.items():
        if start.startswith(signature):
            raise UserError(
                f"{path}: is a {kind} archive, which RSAM cannot unpack.\n"
                "Unpack it yourself into the card's root, or repack it as .tar.gz or .zip and correct the card."
            )
    name = path.name.lower()
    return name.endswith(ENDINGS) or (_is_zip(path) and not name.endswith(ZIPS_TO_KEEP)) or _is_tar(path)


def unpack(archive: Path, into: Path, take: str = "") -> Unpacked:
    """Unpack an archive into a folder; with `take`, only the content of that folder of the archive.

    Its content decides its kind, whatever its name. Makes only plain files and folders, with default permissions.
    Leaves out symbolic links to other members. Refuses links that lead outside, devices, paths that lead outside, and
    content beyond `MAX_GROWTH` times the archive's size. Raises `UserError`; the caller removes files unpacked so far.
    """
    task = _Unpacking(archive, into, take, MAX_GROWTH * archive.stat().st_size + GROWTH_SLACK)
    with _explain_errors(archive):
        if _is_zip(archive) or (archive.name.lower().endswith(".zip") and not _is_tar(archive)):
            task.unpack_zip()
        else:
            task.unpack_tar()
    if not task.done.files:
        where = f"in its folder {take!r}" if take else "in it"
        raise UserError(f"{archive}: there are no files {where}. Download it again, or correct `take` in the card.")
    return task.done


class _Unpacking:
    def __init__(self, archive: Path, into: Path, take: str, limit: int) -> None:
        self.archive, self.into, self.take, self.limit = archive, into, take, limit
        self.done = Unpacked()

    def unpack_tar(self) -> None:
        with _open_tar(self.archive) as raw:
            counted = _CountingReader(raw, self.limit, self._refuse_size)
            # Read as a stream and forget finished members: a release may have millions.
            with tarfile.open(fileobj=counted, mode="r|") as tar:  # type: ignore[call-overload]
                while (member := tar.next()) is not None:
                    self._member(tar, member)
                    tar.members = []
                end = tar.offset
            while counted.read(CHUNK):  # to the end, which has the checksum of a compressed file
                pass
        if counted.count < end + tarfile.BLOCKSIZE:
            raise EOFError("the end of the archive is missing")

    def _member(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        if member.isdir():
            self._folder(member.name)
        elif member.isreg():
            stream = tar.extractfile(member)
            if stream is not None:
                self._file(member.name, stream)
        elif member.islnk():
            self._hard_link(member.name, member.linkname)
        elif member.issym():
            self._link(member.name, member.linkname)
        else:
            self._refuse(f"holds {member.name!r}, a device")

    def unpack_zip(self) -> None:
        with zipfile.ZipFile(self.archive) as zipped:
            for info in zipped.infolist():
                name = _zip_name(info)
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                    self._refuse(f"holds {name!r}, a device")
                if info.flag_bits & 1:
                    self._refuse(f"holds {name!r}, which is encrypted")
                if name.endswith("/"):
                    self._folder(name)
                    continue
                with zipped.open(info) as stream:
                    if kind == stat.S_IFLNK:
                        self._link(name, os.fsdecode(stream.read(LONGEST_TARGET)))
                    else:
                        self._file(name, stream)

    def _folder(self, name: str) -> None:
        if target := self._target(name):
            target.mkdir(parents=True, exist_ok=True)

    def _file(self, name: str, stream: IO[bytes]) -> None:
        target = self._target(name)
        if target is None or target == self.into:
            self.done.outside += 1
            return
        self._count_file()
        with self._prepare(target).open("xb") as out:
            while chunk := stream.read(CHUNK):
                self._count_bytes(len(chunk))
                out.write(chunk)

    def _hard_link(self, name: str, earlier: str) -> None:
        """Copy a file that the archive stores once under two names."""
        target, source = self._target(name), self._target(earlier)
        if target is None or source is None:
            self.done.outside += 1
            return
        if not source.is_file():
            self._refuse(f"holds {name!r}, a link to {earlier!r}, which it does not contain")
        self._count_file()
        self._count_bytes(source.stat().st_size)
        if source != target:
            shutil.copyfile(source, self._prepare(target))

    def _link(self, name: str, target: str) -> None:
        """Leave out a symbolic link to another member; refuse one that leads outside."""
        path = self._target(name)
        leads_to = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        if leads_to.startswith(("/", "../")) or leads_to == ".." or "\0" in target:
            self._refuse(f"holds {name!r}, a link to {target!r}, which leads outside")
        if path is None:
            self.done.outside += 1
        else:
            self.done.links += 1

    def _prepare(self, target: Path) -> Path:
        """Make the folders of `target` and remove an earlier file of that name, as `tar` does."""
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        return target

    def _count_file(self) -> None:
        self.done.files += 1
        if self.done.files > MAX_FILES:
            self._refuse(f"holds more than {MAX_FILES:,} files")

    def _count_bytes(self, count: int) -> None:
        self.done.bytes += count
        if self.done.bytes > self.limit:
            self._refuse_size()

    def _target(self, name: str) -> Path | None:
        """Return the path of a member; None if it is outside the requested folder."""
        path = PurePosixPath(name)
        if path.is_absolute() or PureWindowsPath(name).is_absolute() or ".." in path.parts or "\0" in name:
            self._refuse(f"holds the path {name!r}, which leads outside")
        parts = path.parts
        if self.take:
            if not parts or parts[0] != self.take:
                return None
            parts = parts[1:]
        return self.into.joinpath(*parts)

    def _refuse_size(self) -> None:
        self._refuse(f"unpacks to more than {self.limit:,} bytes, {MAX_GROWTH} times its size")

    def _refuse(self, what: str) -> None:
        raise UserError(f"{self.archive}: {what}.\n{REFUSED}")


class _CountingReader:
    """A stream that counts the bytes read from it, headers included, and refuses more than `limit`."""

    def __init__(self, stream: IO[bytes], limit: int, refuse: Callable[[], None]) -> None:
        self._stream, self._limit, self._refuse = stream, limit, refuse
        self.count = 0

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes."""
        chunk = self._stream.read(size)
        self.count += len(chunk)
        if self.count > self._limit:
            self._refuse()
        return chunk


def _open_tar(archive: Path) -> IO[bytes]:
    """Open the tar file inside a compressed file, told by its first bytes.

    Unlike those of `tarfile`, these openers notice truncation.
    """
    with archive.open("rb") as stream:
        start = stream.read(6)
    if start.startswith(b"\x1f\x8b"):
        return gzip.open(archive)  # type: ignore[return-value]
    if start.startswith(b"BZh"):
        return bz2.open(archive)
    if start == b"\xfd7zXZ\0":
        return lzma.open(archive)
    return archive.open("rb")


def _is_zip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) in (b"PK\3\4", b"PK\5\6")


def _is_tar(path: Path) -> bool:
    """Return whether a file, decompressed, begins with the header of a tar archive, which has a checksum."""
    try:
        with _open_tar(path) as stream:
            tarfile.TarInfo.frombuf(stream.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
    except (*DAMAGE, OSError):
        return False
    return True


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return a member's name with slashes, decoded as UTF-8 if it is, for tools that do not set the flag.

    Windows tools before .NET 4.6.1 wrote backslashes.
    """
    name = info.orig_filename
    if not info.flag_bits & UTF8_FLAG:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


@contextmanager
def _explain_errors(archive: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{archive}: is damaged or not an archive ({reason}). Remove it and download it again."
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"{archive}: cannot be unpacked ({error}). Remove it and download it again.") from error
