"""Rectangle geometry, RSAM and the position-wise baseline. Imports torch alone."""

from rsam_app.attention.positionwise import MapAttention, PositionwiseAttention
from rsam_app.attention.result import AttentionResult
from rsam_app.attention.rsam import RSAM

__all__ = ["RSAM", "AttentionResult", "MapAttention", "PositionwiseAttention"]
