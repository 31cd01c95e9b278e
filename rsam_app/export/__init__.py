"""Curated subsets: what a person picked and corrected, as a dataset that other programs can read."""

from rsam_app.export.items import ExportItem, Mode, Source, collect
from rsam_app.export.subset import FORMATS, ExportReport, export

__all__ = ["FORMATS", "ExportItem", "ExportReport", "Mode", "Source", "collect", "export"]
