"""Tags that are decisions, however the reviewer spells them: `EXCLUDE` and `exclude ` mean `exclude`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

DECISION_TAGS = ("accept", "exclude")
"""Tags that `rsam apply` reads like the mark of the same name; another mark removes them."""


def decision_of(tag: str) -> str | None:
    """Return the decision that a tag means, in any case and with blanks around it; None for another tag."""
    word = tag.strip().lower()
    return word if word in DECISION_TAGS else None


def decisions_of(tags: Iterable[str] | None) -> set[str]:
    """Return the decisions that a sample's tags mean."""
    return {decision for tag in tags or () if (decision := decision_of(tag))}


def has_decision_tag(*decisions: str) -> Any:
    """Return a FiftyOne expression: a tag means one of these decisions."""
    from fiftyone import ViewField as F

    return F("tags").filter(F().strip().lower().is_in(list(decisions))).length() > 0


def spellings(samples: Any, decisions: Iterable[str]) -> list[str]:
    """Return the tags of a FiftyOne dataset or view that mean one of these decisions."""
    wanted = set(decisions)
    return [tag for tag in samples.distinct("tags") if decision_of(tag) in wanted]
