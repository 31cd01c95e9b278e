"""Any timm network with attention, built from a pipeline and stored in timm's folder format.

The names below import torch and timm when they are first used: what was fitted to a model is read without them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rsam_app.model.build import build_model
    from rsam_app.model.classifier import AttentiveClassifier, AttentiveOutput, Inspection
    from rsam_app.model.store import load_model, save_model

__all__ = ["AttentiveClassifier", "AttentiveOutput", "Inspection", "build_model", "load_model", "save_model"]

_MODULES = {"build_model": "build", "load_model": "store", "save_model": "store"}
"""Module of a name; of all others it is `classifier`."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_module("timm")  # first: it imports the registry, which imports the classifier, which imports timm
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'classifier')}"), name)
