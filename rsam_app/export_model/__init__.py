"""A run's model as one file for other runtimes, with logits and rectangle as outputs, checked against the original."""

from rsam_app.export_model.export import ModelExport, export_model
from rsam_app.export_model.formats import batch_of, format_of

__all__ = ["ModelExport", "batch_of", "export_model", "format_of"]
