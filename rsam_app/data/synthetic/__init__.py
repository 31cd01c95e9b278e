"""The generated dataset of `rsam demo`: drawings of beetles with planted label errors and a shortcut."""

from rsam_app.data.synthetic.generate import generate
from rsam_app.data.synthetic.planting import Planted, PlantedImage, read_planted

__all__ = ["Planted", "PlantedImage", "generate", "read_planted"]
