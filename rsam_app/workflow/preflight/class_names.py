"""Class names that differ so little that they may mean one class."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

MIN_LENGTH = 6
"""Names shorter than this, in letters and digits, may differ by one letter: `cat`, `rat`."""


def similar_names(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names that are equal but for case, accents, punctuation, or one letter. Linear in the names.

    Names that differ in a digit do not count, because `boeing_737` and `boeing_747` are two classes.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        for key in _keys(name):
            groups[key].append(name)
    return sorted({(min(a, b), max(a, b)) for group in groups.values() for a in group for b in group if a != b})


def _keys(name: str) -> set[str]:
    """Strings of which two names share one if they differ little: the plain name, and it without one of its letters.

    Each is marked with the name's digits.
    """
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(c for c in decomposed if c.isalnum())
    digits = " ".join(re.findall(r"\d+", decomposed))
    shorter = {plain[:i] + plain[i + 1 :] for i, c in enumerate(plain) if not c.isdigit()}
    return {f"{key} {digits}" for key in (plain, *(shorter if len(plain) >= MIN_LENGTH else ()))}
