"""An auto-annotation function for CVAT: the class of an image as a tag, and the rectangle where the model looked."""

from __future__ import annotations

from typing import Any

import cvat_sdk.auto_annotation as cvataa
import PIL.Image

import rsam_app as rsam
from rsam_app.review.annotation_formats import to_cvat

TARGET = 0
"""Number of the label `target`, a rectangle; the classes have the numbers after it."""


def create(model: str) -> Function:
    """The function of a run folder or of a model of the hub, e.g. `hf-hub:ORGANISATION/NAME`."""
    return Function(rsam.load(model))


class Function:
    """Labels are those that `rsam annotate RUN FILE --to cvat` prints: `target`, and a tag per class."""

    def __init__(self, model: rsam.TrainedModel) -> None:
        self._model = model
        classes = [cvataa.label_spec(name, 1 + index, type="tag") for index, name in enumerate(model.classes)]
        self.spec = cvataa.DetectionFunctionSpec(
            labels=[cvataa.label_spec("target", TARGET, type="rectangle"), *classes]
        )

    def detect(self, context: cvataa.DetectionFunctionContext, image: PIL.Image.Image) -> list[Any]:
        """The annotations of one image; none if the model is less sure than CVAT asks."""
        answer = self._model.predict(image)
        if answer.probability < (context.conf_threshold or 0):
            return []
        found: list[Any] = [cvataa.tag(1 + self._model.classes.index(answer.label))]
        if answer.rectangle:
            box = to_cvat(answer.rectangle)
            corners = [box[name] for name in ("xtl", "ytl", "xbr", "ybr")]
            found.append(cvataa.rectangle(TARGET, corners, rotation=box["rotation"]))
        return found
