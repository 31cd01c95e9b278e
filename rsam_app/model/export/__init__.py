"""Export of a run's model to one file for other runtimes, checked against the original."""

from rsam_app.model.export.write import ModelExport, batch_of, export_model, format_of

__all__ = ["ModelExport", "batch_of", "export_model", "format_of"]
