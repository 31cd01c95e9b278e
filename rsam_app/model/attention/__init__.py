"""Rectangle geometry, RSAM and the position-wise baseline. Imports torch alone."""

from rsam_app.model.attention.baselines import MapAttention, PositionwiseAttention
from rsam_app.model.attention.gating import AttentionResult
from rsam_app.model.attention.rsam import RSAM

__all__ = ["RSAM", "AttentionResult", "MapAttention", "PositionwiseAttention"]
