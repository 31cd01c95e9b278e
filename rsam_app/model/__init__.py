"""Any timm network with attention, built from a pipeline and stored in timm's folder format."""

import timm  # noqa: F401  (first: it imports the registry, which imports the classifier, which imports timm)

from rsam_app.model.build import build_model
from rsam_app.model.classifier import AttentiveClassifier, AttentiveOutput, Inspection
from rsam_app.model.store import load_model, save_model

__all__ = ["AttentiveClassifier", "AttentiveOutput", "Inspection", "build_model", "load_model", "save_model"]
