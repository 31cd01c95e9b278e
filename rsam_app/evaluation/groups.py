"""Is the model right for every group, or only where a shortcut helps it? (Sagawa et al., arXiv 1911.08731)"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsam_app.data.records import Record


def worst_group(right: NDArray[np.bool_], records: Sequence[Record]) -> dict[str, Any]:
    """Accuracies of the label × group groups of records whose `group` is known, e.g. their background.

    `right` `(N,)` says which predictions are. `worst` is the lowest accuracy, of the group `worst_label`,
    `worst_group` with `worst_n` images (few images make a low one likely); `mean` is the mean over the groups, whatever
    their sizes; `gap` is mean - worst: 0 is a model to which the groups are alike. `by_group` lists them all, worst
    first. Raises `ValueError` where no record has a group.
    """
    members: dict[tuple[str, str], list[bool]] = {}
    for hit, record in zip(right, records, strict=True):
        if record.group:
            members.setdefault((record.label, record.group), []).append(bool(hit))
    if not members:
        raise ValueError("no record has a group")
    ranked = sorted((float(np.mean(hits)), -len(hits), *names) for names, hits in members.items())
    top1, n, label, group = ranked[0]
    mean = float(np.mean([entry[0] for entry in ranked]))
    return {
        "n": sum(map(len, members.values())),
        "mean": mean,
        "worst": top1,
        "gap": mean - top1,
        "worst_label": label,
        "worst_group": group,
        "worst_n": -n,
        "by_group": [{"label": label, "group": group, "n": -n, "top1": top1} for top1, n, label, group in ranked],
    }
