"""RSAM: fine-grained image classification that shows where it looked and learns from your corrections.

    import rsam_app as rsam

    model = rsam.load("runs/birds")
    answer = model.predict("photograph.jpg")

Importing this package is cheap: a name imports what it needs when it is first used. It registers our model as soon as
timm is imported, so that `timm.create_model('local-dir:RUN/model')` loads what `rsam train` saved.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import wrapt

from rsam_app.system.errors import UserError
from rsam_app.system.version import __version__

if TYPE_CHECKING:
    from rsam_app.api.choose import choose, strategies
    from rsam_app.api.runs import evaluate, fit, open_review, select
    from rsam_app.evaluation.inference.answers import Answer
    from rsam_app.evaluation.inference.trained_model import TrainedModel, load
    from rsam_app.model.attention import RSAM
    from rsam_app.system.mongodb.connection import import_fiftyone

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else albumentations looks for a newer version online

_MODULES = {
    "RSAM": "model.attention",
    "Answer": "evaluation.inference.answers",
    "TrainedModel": "evaluation.inference.trained_model",
    "load": "evaluation.inference.trained_model",
    "choose": "api.choose",
    "strategies": "api.choose",
    "evaluate": "api.runs",
    "fit": "api.runs",
    "open_review": "api.runs",
    "select": "api.runs",
    "import_fiftyone": "system.mongodb.connection",
}

__all__ = [
    "RSAM",
    "Answer",
    "TrainedModel",
    "UserError",
    "__version__",
    "choose",
    "evaluate",
    "fit",
    "import_fiftyone",
    "load",
    "open_review",
    "select",
    "strategies",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


@wrapt.when_imported("timm")
def _register_model(_: object) -> None:
    if "rsam_app.model.classifier" not in sys.modules:  # else it is being imported, and registers itself
        import rsam_app.model.registry  # noqa: F401
