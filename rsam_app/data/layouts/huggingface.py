"""The layout of a local Hugging Face dataset: Parquet shards as on the hub, or Arrow files of `save_to_disk`."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

from rsam_app.config import Card
from rsam_app.data.layouts.huggingface_shard import Row, read_shard
from rsam_app.data.layouts.ignored import is_of_system
from rsam_app.data.layouts.listing import Listing
from rsam_app.data.records import Record
from rsam_app.system.errors import UserError

LAYOUT = "huggingface"
OPTIONS: dict[str, tuple[str, ...]] = {"image": (), "label": ()}
NUMBERED = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?")


def read(card: Card) -> Listing:
    """List every row of every shard, split by split in the order of the shards; classes in the order of the ClassLabel.

    Splits are named after the files or folders (`train-00000-of-00002.parquet`, `validation/0000.parquet`). Images
    stored as bytes are written once into the cache folder, under their digest, because a record needs a path. The
    options `image` and `label` choose among several columns. Text labels are sorted. Boxes are not read: their columns
    have no common format. Raises `UserError` for a missing or damaged shard.
    """
    records: list[Record] = []
    classes: dict[str, None] = {}
    ordered = True
    counts: Counter[str] = Counter()
    for split, path in _shards(card.root_path):
        shard = read_shard(path, card.options.get("image", ""), card.options.get("label", ""))
        ordered = ordered and bool(shard.classes)
        classes.update(dict.fromkeys(shard.classes or sorted({row.label for row in shard.rows})))
        for row in shard.rows:
            records.append(_record(card.root_path, path, split, counts[split], row))
            counts[split] += 1
    return Listing(tuple(records), tuple(classes) if ordered else tuple(sorted(classes)))


def _record(root: Path, shard: Path, split: str, number: int, row: Row) -> Record:
    path = row.cached or next(
        (p for p in (shard.parent / row.path, root / row.path) if p.exists()), shard.parent / row.path
    )
    return Record(id=f"{split or 'all'}/{number:07d}{path.suffix}", path=path, label=row.label, split=split)


def _shards(root: Path) -> list[tuple[str, Path]]:
    """Return the split and path of every shard. Raises `UserError` if one is missing or there are several datasets."""
    if root.is_file():
        return [("", root)]
    files = sorted(dataset_files(root))
    if not files:
        raise UserError(
            f"{root}: holds no .parquet or .arrow file, which the layout {LAYOUT} needs.\n"
            "Put a local copy of the dataset there, or correct `root`. For folders of images use `layout: folder`."
        )
    shards = [(_split_of(path, root), path) for path in files]
    folders: dict[str, Path] = {}
    for split, path in shards:
        if folders.setdefault(split, path.parent) != path.parent:
            raise UserError(
                f"{root}: has the split {split!r} both in {folders[split]} and in {path.parent}: several datasets?\n"
                "Point `root` in the card at one of them."
            )
    _refuse_gaps(root, files)
    return shards


def dataset_files(root: Path) -> list[Path]:
    """Return the Parquet and Arrow files of datasets in a folder, at any depth."""
    files = []
    for parent, folders, names in os.walk(root):
        folders[:] = [f for f in folders if not (f.startswith(".") or is_of_system(f))]
        # `datasets` leaves the results of its own operations beside the data as cache-….arrow
        files += [
            Path(parent, name)
            for name in names
            if name.endswith((".parquet", ".arrow")) and not name.startswith((".", "cache-"))
        ]
    return files


def _split_of(path: Path, root: Path) -> str:
    numbered = NUMBERED.fullmatch(path.stem)
    name = numbered["name"] if numbered else path.stem
    if name == "data" or name.isdigit():
        return "" if path.parent == root else path.parent.name
    return name.rpartition("-")[2]  # `birds-train`: split names have no hyphen


def _refuse_gaps(root: Path, files: list[Path]) -> None:
    present: dict[tuple[Path, str, int], set[int]] = {}
    for path in files:
        if numbered := NUMBERED.fullmatch(path.stem):
            pattern = f"{numbered['name']}-{{:05d}}-of-{numbered['count']}{path.suffix}"
            present.setdefault((path.parent, pattern, int(numbered["count"])), set()).add(int(numbered["number"]))
    for (folder, pattern, count), numbers in present.items():
        missing = [number for number in range(count) if number not in numbers]
        if missing:
            raise UserError(
                f"{root}: {len(missing)} of {count} shards are missing, e.g. {folder / pattern.format(missing[0])}.\n"
                "Download the whole dataset."
            )
