"""Which images are the same photograph: a shortlist by coarse descriptors, decided by the pixels of each pair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from rsam_app.data.near_duplicates.candidates import WINDOWS, Candidates, find_candidates, find_distinct
from rsam_app.data.near_duplicates.comparison import likeness
from rsam_app.data.near_duplicates.result import Duplicates
from rsam_app.data.near_duplicates.thumbnails import Thumbnails, make_thumbnails
from rsam_app.data.records import Record
from rsam_app.system.progress import Progress, StepProgress

_AT_ONCE = 2048


def find_duplicates(
    records: Sequence[Record], within: Sequence[Record] | None = None, progress: StepProgress | None = None
) -> Duplicates:
    """The pairs among `records` that are the same photograph.

    Every image is looked at once, then its thumbnail is kept (`thumbnails.make_thumbnails`, with `within`). No model is
    asked. Memory: some 1.5 KiB an image. Files that cannot be read are left out, and said in `notes`.
    """

    def tell(what: str) -> Progress | None:
        return None if progress is None else lambda done, total: progress(what, done, total)

    thumbnails = make_thumbnails(records, within, tell("reading images"))
    distinct = find_distinct(thumbnails)
    candidates = find_candidates(thumbnails, distinct.rows, tell("looking for near-duplicates"))
    found = _decide(thumbnails, candidates, tell("comparing near-duplicates"))
    near = found > 0
    pairs = np.stack([candidates.shown[near], candidates.other[near]], axis=1).astype(np.int64)
    pairs = np.sort(pairs, axis=1)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    broken, note = thumbnails.broken, thumbnails.note
    return Duplicates(distinct.same, pairs[order], found[near][order], broken, distinct.flat, note)


def _decide(thumbnails: Thumbnails, candidates: Candidates, tell: Progress | None) -> np.ndarray:
    places = torch.tensor([window.place() for window in WINDOWS])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = np.zeros(len(candidates.shown), dtype=np.float32)
    for begin in range(0, len(found), _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        shown = torch.from_numpy(thumbnails.take(candidates.shown[part])).to(device)
        other = torch.from_numpy(thumbnails.take(candidates.other[part])).to(device)
        mirrored = torch.from_numpy(candidates.mirrored[part]).to(device)[:, None, None]
        other = torch.where(mirrored, other.flip(-1), other)
        place = places[torch.from_numpy(candidates.window[part])].to(device)
        found[part] = likeness(shown, other, place).cpu().numpy()
        if tell:
            tell(min(begin + _AT_ONCE, len(found)), len(found))
    return found
