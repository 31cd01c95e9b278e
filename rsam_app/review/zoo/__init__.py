"""A source for FiftyOne's model zoo: after `foz.register_zoo_model_source(REPOSITORY)`, `foz.load_zoo_model("rsam",
run="runs/birds")` loads the model of a run. FiftyOne copies this file and calls its functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def download_model(model_name: str, model_path: str) -> None:
    """Leave a note at `model_path`: there is nothing to download, the weights are the run's."""
    Path(model_path).write_text("The weights of this model are in the run that is given when it is loaded.\n")


def load_model(model_name: str, model_path: str, run: str | None = None, **options: Any) -> Any:
    """The model of the run folder `run`, as `rsam_app.review.load_model` returns it with these `options`.

    Raises `UserError` without `run`, and as that function does.
    """
    from rsam_app.review import load_model as model_of
    from rsam_app.system.errors import UserError

    if run is None:
        raise UserError('Give the run folder of the model: foz.load_zoo_model("rsam", run="runs/birds").')
    return model_of(run, **options)
