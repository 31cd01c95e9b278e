"""Whether the card's FiftyOne dataset is that of another working folder, whose card has the same name.

Asked of the database itself, so that it takes no second and can be known before a training.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsam_app.data.records import Dataset
from rsam_app.review.dataset.guest import MEMORY
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError

if TYPE_CHECKING:
    from pymongo.database import Database

COMPARED = 200
"""Samples whose files are compared with those of the card."""


def refuse_other_folder(
    database: Database[dict[str, Any]], dataset: Dataset, run: RunFolder, key: str | None, into: str | None = None
) -> None:
    """Raise `UserError` if the FiftyOne dataset of `dataset` is another folder's: if the prefix `key` belongs to
    another run, or if its runs lie elsewhere and its samples are other images, which still exist.

    A dataset that does not exist, or that RSAM did not create, is not judged; of the user's own (`into`) only the key
    is. Nothing is written.
    """
    name = into or dataset.name
    stored = database["datasets"].find_one({"name": name}, {f"info.{MEMORY}": 1, "sample_collection_name": 1})
    entry = ((stored or {}).get("info") or {}).get(MEMORY)
    if not stored or not entry:
        return
    of_keys = {key: run["path"] for key, run in entry.get("runs", {}).items() if run.get("path")}
    here = run.path.resolve()
    owner = of_keys.get(key)
    if owner and owner != str(here) and _is_run(owner):
        raise UserError(
            f"{run.path}: the fields {key}_* of FiftyOne dataset {name!r} belong to the run {owner}.\n"
            f"Choose another key for this run if both are of the same photographs: `rsam review {run.path} --set"
            " review.key=NAME`; if not, give this run's card another name."
        )
    others = [path for path in (*of_keys.values(), (entry.get("labelling") or {}).get("run")) if path and _is_run(path)]
    if into or not others or here.parent in {Path(path).parent for path in others}:
        return
    if file := _file_of_others(database[stored["sample_collection_name"]], dataset):
        raise UserError(
            f"{run.path}: FiftyOne dataset {name!r} shows other images, e.g. {file}, of the run {others[0]}.\n"
            f"Give this card another name: `name:` in its file, instead of {dataset.name!r}."
        )


def _is_run(path: str) -> bool:
    return (Path(path) / "config.yaml").exists()


def _file_of_others(samples: Any, dataset: Dataset) -> str | None:
    """A file that samples show, if they show none of the dataset's; None as well if their files are gone, because they
    were moved."""
    paths = {record.id: os.path.realpath(record.path) for record in dataset.records}
    query, fields = {"record_id": {"$type": "string"}}, {"filepath": 1, "record_id": 1}
    shown: list[Mapping[str, Any]] = list(samples.find(query, fields).limit(COMPARED))
    if any(paths.get(sample["record_id"]) == os.path.realpath(sample["filepath"]) for sample in shown):
        return None
    return next((str(sample["filepath"]) for sample in shown if Path(sample["filepath"]).exists()), None)
