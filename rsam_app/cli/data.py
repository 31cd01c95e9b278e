"""Commands that get data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rsam_app.cli.application import DATA, app
from rsam_app.cli.completion import complete_card
from rsam_app.cli.context import main_process_only, reporter, show
from rsam_app.cli.options import JsonOption


@app.command(rich_help_panel=DATA)
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of images, or a CSV that lists them.")],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of card and pipeline; default: the folder's.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(metavar="NAME", help="timm backbone of the pipeline.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a card and a pipeline for your images.

    Recognises class folders, with or without splits, CSV manifests, COCO JSON, Hugging Face shards, official releases
    and photographs without labels; says what it saw and which command is next. Overwrites nothing.
    """
    main_process_only()
    from rsam_app.workflow.init import initialise

    result = initialise(folder, name, backbone)
    show(result.as_dict() if as_json else result.text(), as_json)


@app.command(rich_help_panel=DATA)
def download(
    card: Annotated[
        str, typer.Argument(metavar="CARD", help="Name in datasets/, or a file.", autocompletion=complete_card)
    ],
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


@app.command("import-fiftyone", rich_help_panel=DATA)
def import_fiftyone(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a FiftyOne dataset.")],
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to create for manifest.csv and the card.")],
    label: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Labels; default: ground_truth, or the only field.")
    ] = None,
    boxes: Annotated[str | None, typer.Option(metavar="FIELD", help="Detections field of the objects' boxes.")] = None,
    split: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Text field of the split; default: tags such as train.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a card from a FiftyOne dataset.

    Writes a manifest that any machine can train from. Images stay where they are.
    """
    main_process_only()
    from rsam_app.review.import_dataset import import_dataset

    result = import_dataset(name, out, label, boxes, split)
    show(result.as_dict() if as_json else result.text(), as_json)
