"""A run's model as one file for other runtimes, with logits and rectangle as outputs, checked against the original."""

from rsam_app.model.export.write import ModelExport, batch_of, export_model, format_of

__all__ = ["ModelExport", "batch_of", "export_model", "format_of"]
