"""Archives of strangers: plain files and folders come out of them, below one folder, up to a limit, or nothing."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from rsam_app.system.errors import UserError

TAR = (".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")
CHUNK = 1 << 20
GROWTH = 20
"""An archive of photographs hardly grows when unpacked, JSON and text about tenfold."""
SPARE = 64 << 20
MOST_FILES = 5_000_000
REFUSED = "Nothing was unpacked. Do not use this file; get the official one."
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
    """What came out, and how many files lay outside of the folder that was asked for."""

    files: int = 0
    bytes: int = 0
    outside: int = 0


def is_archive(name: str) -> bool:
    """Whether a file of that name is to be unpacked, and not taken as it is."""
    return name.lower().endswith((*TAR, ".zip"))


def unpack(archive: Path, into: Path, take: str = "") -> Unpacked:
    """Unpack an archive into a folder; with `take`, only what lies in that folder of it, without its name.

    Only plain files and folders are made, readable and with no permission of the archive's. A link, a device, a path
    that leads out, or content beyond `GROWTH` times the archive's size is refused. Raises `UserError`; what was
    unpacked before is left for the caller to remove.
    """
    task = _Task(archive, into, take, GROWTH * archive.stat().st_size + SPARE)
    with _explained(archive):
        if archive.name.lower().endswith(".zip"):
            task.unpack_zip()
        else:
            task.unpack_tar()
    if not task.done.files:
        where = f"in its folder {take!r}" if take else "in it"
        raise UserError(f"{archive}: there are no files {where}. Get it again, or correct `take` in the card.")
    return task.done


class _Task:
    def __init__(self, archive: Path, into: Path, take: str, limit: int) -> None:
        self.archive, self.into, self.take, self.limit = archive, into, take, limit
        self.done = Unpacked()

    def unpack_tar(self) -> None:
        with _opened(self.archive) as raw:
            counted = _Counted(raw, self.limit, self._refuse_size)
            # As a stream, and forgetting members that are done: a release may have millions.
            with tarfile.open(fileobj=counted, mode="r|") as tar:  # type: ignore[call-overload]
                while (member := tar.next()) is not None:
                    self._member(tar, member)
                    tar.members = []
                end = tar.offset
            while counted.read(CHUNK):  # to the end, where the checksum of a compressed file stands
                pass
        if counted.count < end + tarfile.BLOCKSIZE:
            raise EOFError("it ends without the mark of its end")

    def _member(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        if member.isdir():
            self._folder(member.name)
        elif member.isreg():
            stream = tar.extractfile(member)
            if stream is not None:
                self._file(member.name, stream)
        elif member.islnk():
            self._again(member.name, member.linkname)
        else:
            self._refuse(f"holds {member.name!r}, a link or a device")

    def unpack_zip(self) -> None:
        with zipfile.ZipFile(self.archive) as zipped:
            for info in zipped.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    self._refuse(f"holds {info.filename!r}, a link or a device")
                if info.flag_bits & 1:
                    self._refuse(f"holds {info.filename!r}, which is encrypted")
                if info.is_dir():
                    self._folder(info.filename)
                else:
                    with zipped.open(info) as stream:
                        self._file(info.filename, stream)

    def _folder(self, name: str) -> None:
        if target := self._target(name):
            target.mkdir(parents=True, exist_ok=True)

    def _file(self, name: str, stream: IO[bytes]) -> None:
        target = self._target(name)
        if target is None or target == self.into:
            self.done.outside += 1
            return
        self._count()
        with self._fresh(target).open("xb") as out:
            while chunk := stream.read(CHUNK):
                self.done.bytes += len(chunk)
                if self.done.bytes > self.limit:
                    self._refuse_size()
                out.write(chunk)

    def _again(self, name: str, earlier: str) -> None:
        """A file that the archive stores once under two names."""
        target, source = self._target(name), self._target(earlier)
        if target is None or source is None:
            self.done.outside += 1
            return
        if not source.is_file():
            self._refuse(f"holds {name!r}, a link to {earlier!r}, which is no file of it")
        self._count()
        self.done.bytes += source.stat().st_size
        if self.done.bytes > self.limit:
            self._refuse_size()
        if source != target:
            shutil.copyfile(source, self._fresh(target))

    def _fresh(self, target: Path) -> Path:
        """`target`, its folders made; a later file of the same name replaces an earlier one, as `tar` does it."""
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        return target

    def _count(self) -> None:
        self.done.files += 1
        if self.done.files > MOST_FILES:
            self._refuse(f"holds more than {MOST_FILES:,} files")

    def _target(self, name: str) -> Path | None:
        """Where a member goes; None where it lies outside of what is taken."""
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name:
            self._refuse(f"holds the path {name!r}, which leads out of it")
        parts = path.parts
        if self.take:
            if not parts or parts[0] != self.take:
                return None
            parts = parts[1:]
        return self.into.joinpath(*parts)

    def _refuse_size(self) -> None:
        self._refuse(f"unpacks to more than {self.limit:,} bytes, {GROWTH} times its size")

    def _refuse(self, what: str) -> None:
        raise UserError(f"{self.archive}: {what}.\n{REFUSED}")


class _Counted:
    """A stream that counts what is read from it and complains when that is too much, headers included."""

    def __init__(self, stream: IO[bytes], limit: int, complain: Callable[[], None]) -> None:
        self._stream, self._limit, self._complain = stream, limit, complain
        self.count = 0

    def read(self, size: int) -> bytes:
        """As a file's."""
        chunk = self._stream.read(size)
        self.count += len(chunk)
        if self.count > self._limit:
            self._complain()
        return chunk


def _opened(archive: Path) -> IO[bytes]:
    """The tar file in a compressed one; unlike tarfile's own, these openers notice that a file was cut."""
    name = archive.name.lower()
    if name.endswith("gz"):
        return gzip.open(archive)  # type: ignore[return-value]
    if name.endswith("bz2"):
        return bz2.open(archive)
    if name.endswith("xz"):
        return lzma.open(archive)
    return archive.open("rb")


@contextmanager
def _explained(archive: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{archive}: is damaged or no archive ({reason}). Remove it and fetch it again.") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"{archive}: cannot be unpacked ({error}). Remove it and fetch it again.") from error
