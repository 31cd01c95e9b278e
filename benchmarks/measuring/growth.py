"""How a cost grows with the number of images."""

from __future__ import annotations

import math


def growth(few: int, cost_of_few: float, many: int, cost_of_many: float) -> float:
    """The exponent of the growth between two sizes: 1 is linear."""
    return round(math.log(cost_of_many / cost_of_few) / math.log(many / few), 2)
