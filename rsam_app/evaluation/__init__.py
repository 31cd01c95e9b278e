"""From a model's outputs to predictions, and from predictions to what they are worth: figures and a page to read."""

from rsam_app.evaluation.metrics.localization import localization
from rsam_app.evaluation.metrics.rectangles import rectangle_ious
from rsam_app.evaluation.metrics.summary import evaluate_predictions
from rsam_app.evaluation.report.write import write_report

__all__ = ["evaluate_predictions", "localization", "rectangle_ious", "write_report"]
