"""Evaluation: a model's outputs as predictions and scores, and predictions as metrics and a report."""

from rsam_app.evaluation.metrics.localization import localization
from rsam_app.evaluation.metrics.rectangles import rectangle_ious
from rsam_app.evaluation.metrics.summary import evaluate_predictions

__all__ = ["evaluate_predictions", "localization", "rectangle_ious"]
