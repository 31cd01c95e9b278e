"""Commands that get data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rsam_app.cli.context import main_process_only, reporter, show
from rsam_app.cli.options import JsonOption, app


@app.command()
def download(
    card: Annotated[str, typer.Argument(help="Card file, or a name in datasets/.")],
    keep: Annotated[bool, typer.Option("--keep", help="Keep the archives after unpacking.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Download, verify and unpack a card's dataset.

    Files come from the official URLs. A stopped download resumes.
    """
    main_process_only()
    from rsam_app.config import load_card
    from rsam_app.data.download import download_card

    result = download_card(load_card(card), reporter(), keep)
    show(result.as_dict() if as_json else result.text(), as_json)


@app.command("import-fiftyone")
def import_fiftyone(
    name: Annotated[str, typer.Argument(help="Name of a FiftyOne dataset.")],
    out: Annotated[Path, typer.Argument(help="Folder to create for manifest.csv and the card.")],
    label: Annotated[str | None, typer.Option(help="Labels; default: ground_truth, or the only field.")] = None,
    boxes: Annotated[str | None, typer.Option(help="Detections field of the objects' boxes.")] = None,
    split: Annotated[str | None, typer.Option(help="Text field of the split; default: tags such as train.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a card from a FiftyOne dataset.

    Writes a manifest that any machine can train from. Images stay where they are.
    """
    main_process_only()
    from rsam_app.review.import_dataset import import_dataset

    result = import_dataset(name, out, label, boxes, split)
    show(result.as_dict() if as_json else result.text(), as_json)
