"""A run's model for FiftyOne: `dataset.apply_model(load_model(RUN), label_field=…)` on anybody's data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rsam_app.errors import UserError
from rsam_app.review.database import import_fiftyone
from rsam_app.run_folder import RunFolder


def load_model(run: str | Path, rectangles: bool = False, device: str | None = None) -> Any:
    """The model of a run as a `fiftyone.core.models.Model`, for images of any data set in FiftyOne.

    - `dataset.apply_model(model, label_field="bird", batch_size=32)` writes Classifications with logits. With
      `rectangles` it writes three fields: `bird_prediction`, `bird_attention` (Detections with the five numbers as
      attributes, in pixels) and `bird_rectangle` (Polylines), as `rsam review` does.
    - `dataset.compute_embeddings(model)` gives the run's embeddings `(N, D)`.

    Images are decoded as in training (EXIF orientation applied) by FiftyOne's loading processes. `device` is a GPU
    where there is one, if not given. Raises `UserError` where the folder holds no trained model, or FiftyOne is too
    old to let a model load its images.
    """
    fo = import_fiftyone()
    import fiftyone.core.models as fom
    import torch

    from rsam_app.model import load_model as load

    if not hasattr(fom, "SupportsGetItem"):
        raise UserError(f"FiftyOne {fo.__version__} lets no model load its own images. Install a newer FiftyOne.")
    from rsam_app.review.fiftyone_model import RunModel

    folder = RunFolder(Path(run))
    pipeline = folder.load_pipeline()
    model = load(folder.model)
    model.second_look = pipeline.model.second_look and model.detail != 1
    if rectangles and pipeline.model.attention == "none":
        raise UserError(f"{folder.path}: this model has no attention, so it has no rectangles to give.")
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return RunModel(model.to(chosen), chosen, pipeline.train.precision, rectangles)
