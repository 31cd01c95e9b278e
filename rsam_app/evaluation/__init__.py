"""From a model's outputs to predictions, and from predictions to what they are worth: figures and a page to read."""

from rsam_app.evaluation.localization import localization
from rsam_app.evaluation.metrics import evaluate_predictions
from rsam_app.evaluation.rectangle_scores import rectangle_ious
from rsam_app.evaluation.report import write_report

__all__ = ["evaluate_predictions", "localization", "rectangle_ious", "write_report"]
