"""RSAM: fine-grained image classification that shows where it looked, and lets a person correct it.

Importing this package is cheap. It also arranges that our model is known to timm as soon as timm is imported, so that
`timm.create_model('local-dir:RUN/model')` loads what `rsam train` saved.
"""

import os

import wrapt

from rsam_app.system.version import __version__

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations asks the network for its newest version

__all__ = ["__version__"]


@wrapt.when_imported("timm")
def _register_model(_: object) -> None:
    import rsam_app.model.registry  # noqa: F401
