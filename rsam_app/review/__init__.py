"""The review in FiftyOne: writing runs into it, the App, and the reviewer's decisions.

Importing this package is cheap; FiftyOne comes with the first function that needs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rsam_app.review.model import RunModel


def load_model(run: str | Path, rectangles: bool = False, device: str | None = None) -> RunModel:
    """The model of a run for `dataset.apply_model`: see `rsam_app.review.model.load_model`."""
    from rsam_app.review.model import load_model as load

    return load(run, rectangles, device)
