"""Curated subsets: what a person picked and corrected, as a data set that other programs can read."""

from rsam_app.export.collect import collect
from rsam_app.export.export import FORMATS, ExportReport, export
from rsam_app.export.item import ExportItem, Mode, Source

__all__ = ["FORMATS", "ExportItem", "ExportReport", "Mode", "Source", "collect", "export"]
