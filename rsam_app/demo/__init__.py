"""The generated data set of `rsam demo`: beetles, what is planted among them, and what was found of it."""

from rsam_app.demo.findings import report_planted
from rsam_app.demo.generate import generate
from rsam_app.demo.planting import Planted, PlantedImage, read_planted

__all__ = ["Planted", "PlantedImage", "generate", "read_planted", "report_planted"]
