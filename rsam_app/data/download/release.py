"""What `rsam download` does with a card: fetch, check, unpack aside, try to read it, then put it in its place."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from rsam_app.config import Card, Download
from rsam_app.data.download.archives import is_archive, unpack
from rsam_app.data.download.checksums import Digests, FirstSeen, digests_of, objection
from rsam_app.data.download.fetch import Fetch
from rsam_app.data.layouts import read_listing
from rsam_app.system.errors import UserError
from rsam_app.system.progress import Reporter

MARKER = ".rsam-download.json"
"""In a root that was downloaded: what from. It is written before the root appears, so it says that all is there."""


@dataclass(frozen=True)
class Downloaded:
    """Where a dataset is, whether this command brought it, and what its lists say."""

    root: Path
    fetched: bool
    images: int
    classes: int
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def text(self) -> str:
        """For a person."""
        what = "is complete" if self.fetched else "is already there; nothing was done"
        return "\n".join([*self.notes, f"{self.root}: {what} ({self.images:,} images of {self.classes:,} classes)"])


def download_card(card: Card, reporter: Reporter, keep: bool = False) -> Downloaded:
    """Make a card's root from its official files; a second time does nothing.

    Files and their parts lie in `.rsam-downloads/NAME` beside the root until all of it is there, and go on from where
    they stopped; with `keep` they stay. The root appears whole or not at all. Raises `UserError` where a file cannot be
    had, is not the right one, or does not unpack to what the layout reads.
    """
    root = card.root_path.parent if card.layout == "manifest" else card.root_path
    if not card.download:
        raise UserError(f"card {card.name}: has no `download`; its header says where the data is. Put it at {root}.")
    if _occupied(root):
        return _present(card, root)
    folder = root.parent / ".rsam-downloads" / card.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            if _occupied(root):  # another command was quicker
                return _present(card, root)
            return _make(card, root, folder, reporter, keep)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # said for every command alike
        raise UserError(
            f"card {card.name}: {error.filename or root}: {error.strerror or error}.\n"
            "Mend this, or set RSAM_DATA to a folder that can be written."
        ) from error


def _occupied(root: Path) -> bool:
    return root.exists() and not (root.is_dir() and not any(root.iterdir()))


def _present(card: Card, root: Path) -> Downloaded:
    notes: tuple[str, ...] = ()
    try:
        marker = json.loads((root / MARKER).read_text(encoding="utf-8"))
        stored = {f["file"]: Digests(f["size"], f["sha256"], f["md5"]) for f in marker["files"]}
    except FileNotFoundError:
        notes = (f"{root} was not made by `rsam download`: its files were not checked, only its lists read",)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{root / MARKER}: cannot be read ({error}). Move {root} away and try again.") from error
    else:
        for source in card.download:
            wrong = objection(source, stored[source.name], "") if source.name in stored else "was not fetched"
            if wrong:
                raise UserError(
                    f"{root}: was made from other files than the card names ({source.name}: {wrong}).\n"
                    "Move it away to fetch what the card names."
                )
    try:
        listing = read_listing(card)
    except UserError as error:
        raise UserError(f"{root}: is there and cannot be read: {error}") from error
    return Downloaded(root, False, len(listing.records), len(listing.classes), notes)


def _make(card: Card, root: Path, folder: Path, reporter: Reporter, keep: bool) -> Downloaded:
    _ask_for_what_has_no_address(card, folder)
    _check_room(card, folder)
    first_seen = FirstSeen(folder / "checksums.json")
    found = [(source, _have(source, folder, first_seen, reporter)) for source in card.download]
    _check_room_to_unpack(folder, sum(digests.size for _, digests in found))
    staging = root.with_name(f".{root.name}.rsam-partial")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        notes = [note for source, _ in found for note in _place(source, folder, staging, reporter)]
        made = staging / Path(card.root).name if card.layout == "manifest" else staging
        listing = read_listing(card.model_copy(update={"root": str(made.absolute())}))
        files = [{"file": source.name, "url": source.url, **asdict(digests)} for source, digests in found]
        (staging / MARKER).write_text(json.dumps({"card": card.name, "files": files}, indent=2) + "\n")
        os.rename(staging, root)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    for source, digests in found:
        if not (source.sha256 or source.md5):
            notes.append(f"{source.name}: the card gives no checksum; its SHA-256 is {digests.sha256}")
        if not keep:
            (folder / source.name).unlink(missing_ok=True)
    return Downloaded(root, True, len(listing.records), len(listing.classes), tuple(notes))


def _ask_for_what_has_no_address(card: Card, folder: Path) -> None:
    missing = [s for s in card.download if not s.url and not (folder / s.name).exists()]
    if missing:
        by_page: dict[str, list[str]] = {}
        for source in missing:
            by_page.setdefault(source.page, []).append(source.name)
        where = "; ".join(f"{', '.join(names)} from {page}" for page, names in by_page.items())
        raise UserError(
            f"card {card.name}: no address serves {len(missing)} of its files to a program: get {where}.\n"
            f"Put them into {folder.absolute()} and give the command again: it checks and unpacks them."
        )


def _check_room(card: Card, folder: Path) -> None:
    """The files themselves and about as much again unpacked, as far as the card knows their sizes."""
    sizes = [s.size or 0 for s in card.download]
    present = sum(_size(folder / name) for s in card.download for name in (s.name, f"{s.name}.part"))
    needed, free = max(0, 2 * sum(sizes) - present), shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: {decimal(free)} are free; {card.name} needs about {decimal(needed)} more to fetch and unpack.\n"
            "Make room, or set RSAM_DATA to a folder on another disk."
        )


def _check_room_to_unpack(folder: Path, size: int) -> None:
    """Photographs hardly compress, so what comes out takes about what went in."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UserError(
            f"{folder}: {decimal(free)} are free; unpacking needs about {decimal(size)}.\n"
            "Make room and give the command again: what was fetched stays."
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _have(source: Download, folder: Path, first_seen: FirstSeen, reporter: Reporter) -> Digests:
    """Fetch a file unless it is there, and make sure that it is the right one."""
    path = folder / source.name
    by_hand = path.exists()
    arrived = path if by_hand else path.with_name(f"{path.name}.part")
    if not by_hand:
        reporter.say(f"fetching {source.url}" + (f" ({decimal(source.size)})" if source.size else ""))
        with reporter.transfer(source.name) as advance:
            task = Fetch(source.url, arrived, source.size, bool(source.sha256 or source.md5), advance, reporter.say)
            task.run()
    reporter.say(f"checking {source.name}")
    digests = digests_of(arrived)
    if wrong := objection(source, digests, first_seen.get(source)):
        if by_hand:
            raise UserError(f"{path}: is not the official file ({wrong}).\nRemove it, or put the right one there.")
        task.forget()
        raise UserError(
            f"{source.url}: what came is not the right file ({wrong}); it was removed.\n"
            "Try again; if it stays so, the server has another file: look at the dataset's page."
        )
    if not (source.sha256 or source.md5):
        first_seen.put(source, digests.sha256)
    if not by_hand:
        os.replace(arrived, path)
        task.forget()
    return digests


def _place(source: Download, folder: Path, staging: Path, reporter: Reporter) -> list[str]:
    """Put a file, or what is in it, into the folder that will be the root; notes on what was left out."""
    path = folder / source.name
    if not is_archive(source.name):
        shutil.copyfile(path, staging / source.name)
        return []
    reporter.say(f"unpacking {source.name}")
    unpacked = unpack(path, staging, source.take)
    left = f"{source.name}: {unpacked.outside:,} files outside of {source.take}/ were left out"
    return [left] if unpacked.outside else []


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder for this process. Raises `UserError` where another one has it."""
    with (folder / "lock").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{folder}: another `rsam download` is at work there. Wait for it to end.") from error
        yield
