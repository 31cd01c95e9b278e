"""Commands that bring data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rsam_app.cli.context import main_process_only, reporter, show
from rsam_app.cli.options import JsonOption, app


@app.command()
def download(
    card: Annotated[str, typer.Argument(help="A card's file, or its name in datasets/.")],
    keep: Annotated[bool, typer.Option("--keep", help="Keep the archives after they were unpacked.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch a card's dataset from its official addresses, check and unpack it; goes on where it stopped."""
    main_process_only()
    from rsam_app.config import load_card
    from rsam_app.data.download import download_card

    done = download_card(load_card(card), reporter(), keep)
    show(done.as_dict() if as_json else done.text(), as_json)


@app.command("import-fiftyone")
def import_fiftyone(
    name: Annotated[str, typer.Argument(help="A dataset in FiftyOne.")],
    out: Annotated[Path, typer.Argument(help="Folder to make for manifest.csv and the card.")],
    label: Annotated[str | None, typer.Option(help="Field with the labels; found where not given.")] = None,
    boxes: Annotated[str | None, typer.Option(help="Detections field with the objects' boxes.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Text field with the split; tags such as train if not given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a card of a FiftyOne dataset: a manifest that any machine can train from; images stay in place."""
    main_process_only()
    from rsam_app.review.import_dataset import import_dataset

    done = import_dataset(name, out, label, boxes, split)
    show(done.as_dict() if as_json else done.text(), as_json)
