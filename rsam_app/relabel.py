"""`rsam select`: choose the images that are worth a person's time, and tag them in FiftyOne."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rsam_app.config import SelectConfig
from rsam_app.corrections import corrections_path, read_corrections
from rsam_app.run_folder import RunFolder

if TYPE_CHECKING:
    from rsam_app.selection import Selection


def choose(
    run: RunFolder, dataset_name: str, settings: SelectConfig, seed: int, tag: bool = True
) -> tuple[Selection, int]:
    """The selection, written into the run, and how many of its images were newly tagged.

    Images that a person decided about are left out. Raises `UserError`.
    """
    from rsam_app.selection import Limits, select

    decided = {c.id for c in read_corrections(corrections_path(run.path, dataset_name))}
    limits = Limits(settings.per_class, settings.near_duplicates)
    strategy, budget, split = settings.strategy, settings.budget, settings.split
    chosen = select(run, strategy, budget, split, seed, exclude=decided, limits=limits)
    return chosen, _tag(dataset_name, chosen, settings.tag if tag else None)


def choose_again(run: RunFolder, dataset_name: str, manifest: Path, tag: str | None) -> tuple[Selection, int]:
    """The selection of a manifest once more, whatever was decided since, and how many of its images were newly tagged.

    Raises `UserError` where the run's predictions are no longer those it was made from.
    """
    from rsam_app.selection import replay

    chosen = replay(run, manifest)
    return chosen, _tag(dataset_name, chosen, tag)


def _tag(dataset_name: str, chosen: Selection, tag: str | None) -> int:
    if tag is None:
        return 0
    from rsam_app.review import tag_records

    return tag_records(dataset_name, chosen.ids, tag)
