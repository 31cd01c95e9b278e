"""RSAM and its position-wise baselines; imports torch and `geometry` alone."""

from rsam_app.model.attention.baselines import MapAttention, PositionwiseAttention
from rsam_app.model.attention.class_map import ClassMapAttention
from rsam_app.model.attention.gating import AttentionResult
from rsam_app.model.attention.rsam import RSAM

__all__ = ["RSAM", "AttentionResult", "ClassMapAttention", "MapAttention", "PositionwiseAttention"]
