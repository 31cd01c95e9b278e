"""The review in FiftyOne: writing runs into it, the App, and the reviewer's decisions.

Importing this package is cheap; FiftyOne is imported by the first function that needs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rsam_app.review.model import RunModel


def load_model(run: str | Path, rectangles: bool = False, device: str | None = None) -> RunModel:
    """Return the model of a run as a `fiftyone.core.models.Model`, for images of any FiftyOne dataset.

    - `dataset.apply_model(model, label_field="bird", batch_size=32)` writes Classifications with logits. With
      `rectangles` it writes three fields: `bird_prediction`, `bird_attention` (Detections with the five numbers as
      attributes, in pixels) and `bird_rectangle` (Polylines), as `rsam review` does.
    - `dataset.compute_embeddings(model)` returns the run's embeddings `(N, D)`.

    FiftyOne's loading processes decode images as in training (EXIF orientation applied). `device` defaults to a GPU if
    there is one. Raises `UserError` if the folder has no trained model, if the model has no attention but `rectangles`
    are requested, or if FiftyOne is too old to let a model load its images.
    """
    from rsam_app.system.errors import UserError
    from rsam_app.system.mongodb.connection import import_fiftyone

    fo = import_fiftyone()  # before `review.model`, whose import of FiftyOne would connect to another database
    import fiftyone.core.models as fom

    if not hasattr(fom, "SupportsGetItem"):
        raise UserError(f"FiftyOne {fo.__version__}: models cannot load their own images. Install a newer FiftyOne.")
    from rsam_app.review.model import RunModel

    return RunModel.of_run(Path(run), rectangles, device)
