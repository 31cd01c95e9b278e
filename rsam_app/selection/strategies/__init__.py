"""All selection strategies by name."""

from __future__ import annotations

from rsam_app.selection.strategies.auto import AUTO
from rsam_app.selection.strategies.badge import BADGE
from rsam_app.selection.strategies.diverse_margin import DIVERSE_MARGIN
from rsam_app.selection.strategies.failure_clusters import FAILURE_CLUSTERS
from rsam_app.selection.strategies.herding import HERDING
from rsam_app.selection.strategies.k_center import K_CENTER
from rsam_app.selection.strategies.misattention import MISATTENTION, UNCERTAIN_ATTENTION
from rsam_app.selection.strategies.random import RANDOM
from rsam_app.selection.strategies.rare_class_first import RARE_CLASS_FIRST
from rsam_app.selection.strategies.suspect_label import SUSPECT_LABEL
from rsam_app.selection.strategies.transductive_design import TRANSDUCTIVE_DESIGN
from rsam_app.selection.strategies.typiclust import TYPICLUST
from rsam_app.selection.strategies.uncertainty import ENTROPY, LEAST_CONFIDENCE, MARGIN
from rsam_app.selection.strategy import Strategy
from rsam_app.system.errors import UserError, suggest

_RELABEL = (AUTO, SUSPECT_LABEL, MISATTENTION, UNCERTAIN_ATTENTION, FAILURE_CLUSTERS)
_LABEL = (
    TRANSDUCTIVE_DESIGN,
    HERDING,
    TYPICLUST,
    K_CENTER,
    DIVERSE_MARGIN,
    BADGE,
    MARGIN,
    LEAST_CONFIDENCE,
    ENTROPY,
    RARE_CLASS_FIRST,
    RANDOM,
)

STRATEGIES: dict[str, Strategy] = {s.name: s for s in (*_RELABEL, *_LABEL)}
"""Strategies by name, the default first."""


def find_strategy(name: str) -> Strategy:
    """Return the strategy of that name; `-` and `_` are equivalent. Raises `UserError` that suggests a known name."""
    key = name.strip().lower().replace("-", "_")
    if key not in STRATEGIES:
        raise UserError(f"strategy {name!r}: unknown strategy.{suggest(key, list(STRATEGIES))}")
    return STRATEGIES[key]


__all__ = ["STRATEGIES", "find_strategy"]
