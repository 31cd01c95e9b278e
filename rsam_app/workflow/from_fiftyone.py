"""`rsam run … --from-fiftyone NAME`: the card of a FiftyOne dataset, read again on each call, and its pipeline."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rsam_app.config import find_pipeline
from rsam_app.config.pipeline import split_source
from rsam_app.review.import_dataset import card_name, import_dataset
from rsam_app.system.errors import UserError
from rsam_app.system.files import write_atomically
from rsam_app.workflow.init import pipeline_text


def pipeline_from_fiftyone(
    reference: str,
    name: str,
    run: Path | None,
    say: Callable[[str], object],
    *,
    view: Any = None,
    label: str | None = None,
    read: bool = True,
) -> tuple[str, list[str]]:
    """Return the pipeline to run, and the `--set` that makes the FiftyOne dataset `name` its data.

    `reference` is a pipeline or a backbone, for which `pipelines/NAME-BACKBONE.yaml` is written. The card is
    `cards/NAME-rsam/NAME-rsam.yaml` beside the run; one for each saved `view`, all of one name. It is written again on
    each call, unless `read` is False: the other processes of a launch find it. Raises `UserError`, as `import_dataset`
    does.
    """
    card = _card_file(name, run, view if isinstance(view, str) else None)
    pipeline = _pipeline(reference, name, card, say)
    if read:
        imported = import_dataset(name, card.parent, label, view=view, again=True)
        for line in (*imported.notes, imported.summary()):
            say(line)
    return pipeline, [f"dataset={json.dumps(str(card))}"]


def _card_file(name: str, run: Path | None, view: str | None) -> Path:
    beside = (run.parent if run else Path("runs")).absolute()
    folder = card_name(name) if view is None else f"{card_name(name)}-{_plain(view)}"
    return beside / "cards" / folder / f"{card_name(name)}.yaml"


def _pipeline(reference: str, name: str, card: Path, say: Callable[[str], object]) -> str:
    """Return the pipeline of this name or file; of a backbone, the one that is written for it."""
    try:
        find_pipeline(reference)
        return reference
    except UserError:
        if not _is_backbone(reference):
            raise
    path = Path("pipelines", f"{_plain(name)}-{_plain(reference)}.yaml")
    text = pipeline_text(path.stem, str(card), reference)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        say(f"{path}: used as it is; `rsam run {path.stem} --from-fiftyone {name}` does the same")
    else:
        write_atomically(path, text)
        say(f"wrote {path}")
    return str(path)


def _is_backbone(reference: str) -> bool:
    if split_source(reference)[0]:
        return True
    import timm

    return bool(timm.is_model(reference.partition(".")[0]))


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-._") or "data"
