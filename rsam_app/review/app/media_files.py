"""The files that belong to samples: what the App may show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rsam_app.review.dataset.fiftyone_internals import database

FILE_FIELDS = {
    "Heatmap": "map_path",
    "Segmentation": "mask_path",
    "Detection": "mask_path",
    "Detections": "detections.mask_path",
}
"""Fields of FiftyOne's labels that name a file."""
MAX_KNOWN = 100_000

_known: set[str] = set()


def is_media(path: str) -> bool:
    """Whether a sample of any dataset has the file: as its image, its thumbnail, or a label's mask.

    The path must be written as the sample has it. Answers of yes are remembered: a grid asks again and again.
    """
    if path in _known:
        return True
    documents = database().datasets.find({}, {"sample_collection_name": 1, "sample_fields": 1, "app_config": 1})
    for document in documents.sort("last_loaded_at", -1):  # the one that is open comes first
        samples = database()[document["sample_collection_name"]]
        for query in ({"filepath": path}, {"$or": [{field: path} for field in file_fields(document)]}):
            if query.get("$or", True) and samples.find_one(query, {"_id": 1}):
                if len(_known) >= MAX_KNOWN:
                    _known.clear()
                _known.add(path)
                return True
    return False


def file_fields(document: Mapping[str, Any]) -> list[str]:
    """Return the fields beside `filepath` that name files, from a dataset's document."""
    return [*_media_fields(document), *_label_fields(document)]


def _media_fields(document: Mapping[str, Any]) -> list[str]:
    names = (document.get("app_config") or {}).get("media_fields") or []
    return [name for name in names if name != "filepath"]


def _label_fields(document: Mapping[str, Any]) -> Iterator[str]:
    for field in document.get("sample_fields") or []:
        kind = str(field.get("embedded_doc_type") or "").rpartition(".")[2]
        if kind in FILE_FIELDS:
            yield f"{field.get('db_field') or field['name']}.{FILE_FIELDS[kind]}"
