"""Choose the images to label or relabel next, from a run's predictions alone: no model is loaded."""

from rsam_app.evaluation.scores.label_quality import label_quality, suggested_labels
from rsam_app.selection.limits import Limits, choose_within
from rsam_app.selection.pool import Pool, load_pool, pool_of_images
from rsam_app.selection.select import Selection, replay, select, select_from
from rsam_app.selection.strategies import STRATEGIES, find_strategy
from rsam_app.selection.strategy import Choice, Strategy

__all__ = [
    "STRATEGIES",
    "Choice",
    "Limits",
    "Pool",
    "Selection",
    "Strategy",
    "choose_within",
    "find_strategy",
    "label_quality",
    "load_pool",
    "pool_of_images",
    "replay",
    "select",
    "select_from",
    "suggested_labels",
]
