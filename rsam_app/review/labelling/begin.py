"""The review dataset before there is a run: every image of a card, labelled or not, without opening one."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from rsam_app.config import Card
from rsam_app.data import Dataset, Images, Record
from rsam_app.review.dataset.annotation_schemas import offer_all_labels
from rsam_app.review.dataset.class_list import add_classes, class_to_give
from rsam_app.review.dataset.class_names import open_with_corrections
from rsam_app.review.dataset.compare_and_set import Change, compare_and_set, insert, now
from rsam_app.review.dataset.fiftyone_internals import database, dataset_id
from rsam_app.review.dataset.labelling_fields import declare_labelling
from rsam_app.review.dataset.memory import LabellingMemory
from rsam_app.review.dataset.other_folder import refuse_other_folder
from rsam_app.review.dataset.samples import CHUNK, Samples, chunks
from rsam_app.review.dataset.schema import memory, remember
from rsam_app.review.labelling.arrange import arrange_labelling
from rsam_app.review.writing.documents import sample_document
from rsam_app.run.corrections import corrections_path
from rsam_app.run.folder import RunFolder
from rsam_app.system.cache.files import lock_file
from rsam_app.system.errors import UserError
from rsam_app.system.files import locked
from rsam_app.system.mongodb.connection import import_fiftyone
from rsam_app.system.progress import Progress


def begin_labelling(
    card: Card,
    images: Images,
    run: RunFolder,
    pipeline: str,
    budget: int,
    classes: Sequence[str] = (),
    progress: Progress | None = None,
) -> Any:
    """Return the FiftyOne dataset of the card with a sample of every image, to be labelled in batches of `budget`.

    `pipeline` trains with the labels, in `run`. `classes` are offered besides those that images have. What a reviewer
    did stays, and earlier corrections are shown.
    Raises `UserError` as `create_or_open` and `refuse_other_folder` do.
    """
    with locked(lock_file("review", card.name)):
        dataset = Dataset(card.name, images.records, images.classes, card.licence)
        import_fiftyone()
        refuse_other_folder(database(), dataset, run, None)
        table = corrections_path(run.path, card.name)
        review_set, dataset, corrections = open_with_corrections(dataset, table)
        names = memory(review_set).class_names
        declare_labelling(review_set)
        stored = memory(review_set).labelling or LabellingMemory(run="", pipeline="", budget=budget)
        known = memory(review_set).classes
        offered = [class_to_give(names.get(name, name), known, new=True) for name in classes]
        classes = list(dict.fromkeys([*(names.get(name, name) for name in stored.offered), *offered]))
        changed = {"run": str(run.path.resolve()), "pipeline": pipeline, "budget": budget, "offered": classes}
        remember(review_set, labelling=stored.model_copy(update=changed))
        add_classes(review_set, offered)
        _add_samples(review_set, dataset.records, corrections, progress)
        arrange_labelling(review_set)
        offer_all_labels(review_set)
    return review_set


def parse_classes(text: str | None) -> list[str]:
    """Return the class names of `a,b,c` without blanks around them. Raises `UserError` for an empty or repeated one."""
    if text is None:
        return []
    names = [" ".join(part.split()) for part in text.split(",")]
    folded = [unicodedata.normalize("NFC", name).casefold() for name in names]
    if not all(names):
        raise UserError(f"--classes {text!r}: has an empty name. Give names with commas between, e.g. wren,robin.")
    if repeated := next((name for i, name in enumerate(names) if folded[i] in folded[:i]), None):
        raise UserError(f"--classes {text!r}: has {repeated!r} twice.")
    return names


def _add_samples(review_set: Any, records: Sequence[Record], corrections: Any, progress: Progress | None) -> None:
    samples, identifier, at = Samples(review_set), dataset_id(review_set), now()
    samples.adopt_by_path(records, corrections)
    paths = {s["record_id"]: s for s in samples.collection.find({"record_id": {"$type": "string"}}, _PATHS)}
    new = [record for record in records if record.id not in paths]
    for number, part in enumerate(chunks(new, CHUNK)):
        insert(samples.collection, [sample_document(record, corrections, {}, identifier, at) for record in part])
        if progress:
            progress(min(CHUNK * (number + 1), len(new)), len(new))
    _follow_moved(samples, [(paths[record.id], str(record.path.resolve())) for record in records if record.id in paths])


_PATHS = {"record_id": 1, "filepath": 1}


def _follow_moved(samples: Samples, stored: Sequence[tuple[Any, str]]) -> None:
    """Set the paths of images that are elsewhere now."""
    changes = [
        Change(sample["_id"], {"filepath": sample["filepath"]}, {"filepath": path})
        for sample, path in stored
        if sample["filepath"] != path
    ]
    for part in chunks(changes, CHUNK):
        compare_and_set(samples.collection, part)
