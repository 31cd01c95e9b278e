"""What FiftyOne loads from its plugins folder, into which `rsam review` links this one. The work is in
`rsam_app.review.plugin.operators`."""

from __future__ import annotations

from typing import Any


def register(plugin: Any) -> None:
    """Give FiftyOne the operators and the panel of `@rsam/review`."""
    from rsam_app.review.plugin.operators import OPERATORS

    for operator in OPERATORS:
        plugin.register(operator)
