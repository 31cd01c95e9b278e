"""The layout of the iNaturalist competitions (Van Horn et al., CVPR 2018 and 2021): JSON in COCO format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rsam_app.config import Card
from rsam_app.data.layouts.listing import Listing, box_of, require_file, unique_names
from rsam_app.data.records import Record
from rsam_app.geometry.types import Box
from rsam_app.system.errors import UserError
from rsam_app.system.json_files import parse_json

LAYOUT = "inaturalist"
LEVELS = ("name", "common_name", "genus", "family", "order", "class", "phylum", "kingdom", "supercategory")
OPTIONS = {"level": LEVELS}


def read(card: Card) -> Listing:
    """List the images in each split's JSON file; the card's `splits` name the files: `train: train_mini`, `test: val`.

    `SPLIT.json` is in the root or in `annotations/`; its `file_name`s are relative to the root. The option `level`
    chooses the classes: species by scientific `name` (the default) or `common_name`, a higher rank (2021), or the
    `supercategory` (2017). Classes are ordered by the number of their first category. A `bbox` (2017 has some) is
    `x, y, width, height` with edges counted from 0, as in COCO. Raises `UserError` if a file is missing or damaged.
    """
    level = card.options.get("level", "name")
    records: list[Record] = []
    names: dict[int, str] = {}
    for split in dict.fromkeys(card.splits.values()):
        beside = card.root_path / f"{split}.json"
        within = card.root_path / "annotations" / f"{split}.json"
        path = within if within.is_file() else require_file(beside, LAYOUT)
        content = _read(path)
        try:
            _agree(names, _category_names(content["categories"], level), path)
            records += _records(card.root_path, content, names, split)
        except KeyError as error:
            raise UserError(f"{path}: an entry lacks {error}, or nothing has that id. Restore the file.") from error
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise UserError(f"{path}: is not in COCO format ({error}). Restore the file.") from error
    return Listing(tuple(records), tuple(dict.fromkeys(names[key] for key in sorted(names))))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not valid JSON ({error}). Restore the file.") from error
    present = content if isinstance(content, dict) else {}
    if missing := [key for key in ("images", "annotations", "categories") if key not in present]:
        raise UserError(f"{path}: lacks {', '.join(missing)}; test files have no labels. Use another split.")
    return present


def _category_names(categories: list[dict[str, Any]], level: str) -> dict[int, str]:
    named = {str(category["id"]): str(category[level]) for category in categories}
    if level in ("name", "common_name"):  # two species; a genus or higher rank is shared on purpose
        named = unique_names(named)
    return {int(key): name for key, name in named.items()}


def _agree(names: dict[int, str], more: dict[int, str], path: Path) -> None:
    for key, name in more.items():
        if names.setdefault(key, name) != name:
            raise UserError(f"{path}: category {key} is {name!r} here and {names[key]!r} in another split's file.")


def _records(root: Path, content: dict[str, Any], names: dict[int, str], split: str) -> list[Record]:
    files = {int(image["id"]): str(image["file_name"]) for image in content["images"]}
    labels: dict[int, str] = {}
    boxes: dict[int, list[Box]] = {}
    for annotation in content["annotations"]:
        image, label = int(annotation["image_id"]), names[int(annotation["category_id"])]
        if labels.setdefault(image, label) != label:
            raise ValueError(f"image {image} is {labels[image]!r} and {label!r}")
        if "bbox" in annotation:
            boxes.setdefault(image, []).append(box_of(annotation["bbox"]))
    return [
        Record(id=files[i], path=root / files[i], label=label, split=split, boxes=tuple(boxes.get(i, ())))
        for i, label in labels.items()
    ]
