"""Curated subsets: the images you selected and corrected, as a dataset for other programs."""

from rsam_app.export.items import ExportItem, Mode, Source, collect
from rsam_app.export.subset import FORMATS, ExportReport, export

__all__ = ["FORMATS", "ExportItem", "ExportReport", "Mode", "Source", "collect", "export"]
