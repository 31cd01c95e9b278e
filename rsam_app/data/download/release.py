"""Make a card's root: download, verify, unpack into a staging folder, read it, then move it into place."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from rsam_app.config import Card, Download
from rsam_app.data.download.archives import is_archive, unpack
from rsam_app.data.download.checksums import Digests, FirstDownloads, digests_of, mismatch
from rsam_app.data.download.fetch import Fetch
from rsam_app.data.layouts import read_listing
from rsam_app.system.errors import UserError
from rsam_app.system.files import locked
from rsam_app.system.json_files import read_json
from rsam_app.system.progress import Reporter

MARKER = ".rsam-download.json"
"""File in a downloaded root that lists its sources. It is written last, so it marks a complete root."""


@dataclass(frozen=True)
class Downloaded:
    """Where a dataset is, whether this command downloaded it, and how many images and classes it lists."""

    root: Path
    fetched: bool
    images: int
    classes: int
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the result for `--json`."""
        return asdict(self)

    def text(self) -> str:
        """Return the result for a terminal."""
        state = "is complete" if self.fetched else "is already there; nothing was done"
        return "\n".join([*self.notes, f"{self.root}: {state} ({self.images:,} images of {self.classes:,} classes)"])


def download_card(card: Card, reporter: Reporter, keep: bool = False) -> Downloaded:
    """Make a card's root from its official files; do nothing if it exists.

    Files and parts of files stay in `.rsam-downloads/NAME` beside the root until it is complete, so downloads resume;
    with `keep` they stay there for good. The root appears atomically. Raises `UserError` if a file cannot be
    downloaded, is not the right one, or does not unpack to what the layout reads.
    """
    root = card.root_path.parent if card.layout == "manifest" else card.root_path
    if not card.download:
        raise UserError(f"card {card.name}: has no `download`; its header says where the data is. Put it at {root}.")
    if _is_occupied(root):
        return _existing(card, root)
    folder = root.parent / ".rsam-downloads" / card.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock", wait=False):
            if _is_occupied(root):  # another command was faster
                return _existing(card, root)
            return _make_root(card, root, folder, reporter, keep)
    except BlockingIOError as error:
        raise UserError(f"{folder}: another `rsam download` is using it. Wait until it ends.") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # every command reports a full disk alike
        raise UserError(
            f"card {card.name}: {error.filename or root}: {error.strerror or error}.\n"
            "Fix this, or set RSAM_DATA to a writable folder."
        ) from error


def _is_occupied(root: Path) -> bool:
    return root.exists() and not (root.is_dir() and not any(root.iterdir()))


def _existing(card: Card, root: Path) -> Downloaded:
    """Check a root that exists against the card."""
    notes: tuple[str, ...] = ()
    try:
        marker = read_json(root / MARKER)
        stored = {f["file"]: Digests(f["size"], f["sha256"], f["md5"]) for f in marker["files"]}
    except FileNotFoundError:
        notes = (f"{root} was not made by `rsam download`: its files were not verified",)
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise UserError(
            f"{root / MARKER}: cannot be read ({error}). Move {root} away and rerun the command."
        ) from error
    else:
        for source in card.download:
            wrong = mismatch(source, stored[source.name], "") if source.name in stored else "missing"
            if wrong:
                raise UserError(
                    f"{root}: was made from other files than the card names ({source.name}: {wrong}).\n"
                    "Move it away to download the card's files."
                )
    try:
        listing = read_listing(card)
    except UserError as error:
        raise UserError(f"{root}: exists but cannot be read: {error}") from error
    return Downloaded(root, False, len(listing.records), len(listing.classes), (*notes, *listing.notes))


def _make_root(card: Card, root: Path, folder: Path, reporter: Reporter, keep: bool) -> Downloaded:
    _require_manual_files(card, folder)
    _require_space(card, folder)
    first = FirstDownloads(folder / "checksums.json")
    sources = [(source, _obtain(source, folder, first, reporter)) for source in card.download]
    _require_space_to_unpack(folder, sum(digests.size for _, digests in sources))
    staging = root.with_name(f".{root.name}.rsam-partial")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        notes = [note for source, _ in sources for note in _unpack_into(source, folder, staging, reporter)]
        staged = staging / Path(card.root).name if card.layout == "manifest" else staging
        listing = read_listing(card.model_copy(update={"root": str(staged.absolute())}))
        files = [{"file": source.name, "url": source.url, **asdict(digests)} for source, digests in sources]
        notes += [note.replace(str(staging.absolute()), str(root)) for note in listing.notes]
        (staging / MARKER).write_text(
            json.dumps({"card": card.name, "files": files}, indent=2) + "\n", encoding="utf-8"
        )
        os.rename(staging, root)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    for source, digests in sources:
        if not (source.sha256 or source.md5):
            notes.append(f"{source.name}: the card has no checksum; its SHA-256 is {digests.sha256}")
        if not keep:
            (folder / source.name).unlink(missing_ok=True)
    return Downloaded(root, True, len(listing.records), len(listing.classes), tuple(notes))


def _require_manual_files(card: Card, folder: Path) -> None:
    """Raise `UserError` if files without an address are missing."""
    missing = [source for source in card.download if not source.url and not (folder / source.name).exists()]
    if missing:
        by_page: dict[str, list[str]] = {}
        for source in missing:
            by_page.setdefault(source.page, []).append(source.name)
        pages = "; ".join(f"{', '.join(names)} from {page}" for page, names in by_page.items())
        raise UserError(
            f"card {card.name}: {len(missing)} of its files have no download address: get {pages}.\n"
            f"Put them into {folder.absolute()} and rerun the command, which verifies and unpacks them."
        )


def _require_space(card: Card, folder: Path) -> None:
    """Raise `UserError` if the disk lacks room for the files and about as much again unpacked, by the card's sizes."""
    present = sum(_size(folder / name) for s in card.download for name in (s.name, f"{s.name}.part"))
    needed = max(0, 2 * sum(source.size or 0 for source in card.download) - present)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: {decimal(free)} are free; {card.name} needs about {decimal(needed)} more to download and"
            " unpack.\nFree disk space, or set RSAM_DATA to a folder on another disk."
        )


def _require_space_to_unpack(folder: Path, size: int) -> None:
    """Raise `UserError` if the disk lacks room for the content: photographs hardly compress, so about `size` bytes."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UserError(
            f"{folder}: {decimal(free)} are free; unpacking needs about {decimal(size)}.\n"
            "Free disk space and rerun the command: downloaded files stay."
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _obtain(source: Download, folder: Path, first: FirstDownloads, reporter: Reporter) -> Digests:
    """Download a file unless it exists, and verify it."""
    path = folder / source.name
    exists = path.exists()
    received = path if exists else path.with_name(f"{path.name}.part")
    if not exists:
        reporter.say(f"downloading {source.url}" + (f" ({decimal(source.size)})" if source.size else ""))
        with reporter.transfer(source.name) as advance:
            task = Fetch(source.url, received, source.size, bool(source.sha256 or source.md5), advance, reporter.say)
            task.run()
    reporter.say(f"verifying {source.name}")
    digests = digests_of(received)
    if wrong := mismatch(source, digests, first.get(source)):
        if exists:
            raise UserError(f"{path}: is not the official file ({wrong}).\nRemove it, or replace it by the right one.")
        task.forget()
        raise UserError(
            f"{source.url}: the downloaded file is not the right one ({wrong}); it was removed.\n"
            "Rerun the command; if it fails again, the server has another file: check the dataset's page."
        )
    if not (source.sha256 or source.md5):
        first.put(source, digests.sha256)
    if not exists:
        os.replace(received, path)
        task.forget()
    return digests


def _unpack_into(source: Download, folder: Path, staging: Path, reporter: Reporter) -> list[str]:
    """Put a file, or its content, into the staging folder; return notes on files left out."""
    path = folder / source.name
    if not is_archive(path):
        shutil.copyfile(path, staging / source.name)
        return []
    reporter.say(f"unpacking {source.name}")
    unpacked = unpack(path, staging, source.take)
    outside = f"{source.name}: {unpacked.outside:,} files outside of {source.take}/ were left out"
    links = f"{source.name}: {unpacked.links:,} symbolic links to other files in it were left out"
    return [outside] * bool(unpacked.outside) + [links] * bool(unpacked.links)
