"""Every selection strategy by name, one file each."""

from __future__ import annotations

import difflib

from rsam_app.selection.strategies.auto import AUTO
from rsam_app.selection.strategies.badge import BADGE
from rsam_app.selection.strategies.diverse_margin import DIVERSE_MARGIN
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
from rsam_app.system.errors import UserError

_RELABEL = (AUTO, SUSPECT_LABEL, MISATTENTION, UNCERTAIN_ATTENTION)
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
    """The strategy of that name; `-` and `_` are the same. Raises `UserError` with the nearest name."""
    key = name.strip().lower().replace("-", "_")
    if key in STRATEGIES:
        return STRATEGIES[key]
    close = difflib.get_close_matches(key, STRATEGIES, n=1, cutoff=0.4)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise UserError(f"strategy {name!r}: no such strategy.{hint} Known: {', '.join(STRATEGIES)}.")


__all__ = ["STRATEGIES", "find_strategy"]
