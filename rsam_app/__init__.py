"""RSAM: fine-grained image classification that shows where it looked and learns from your corrections.

Importing this package is cheap. It registers our model as soon as timm is imported, so that
`timm.create_model('local-dir:RUN/model')` loads what `rsam train` saved.
"""

import os

import wrapt

from rsam_app.system.version import __version__

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else albumentations looks for a newer version online

__all__ = ["__version__"]


@wrapt.when_imported("timm")
def _register_model(_: object) -> None:
    import rsam_app.model.registry  # noqa: F401
