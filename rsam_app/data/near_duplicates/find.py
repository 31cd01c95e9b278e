"""Find the images that are the same photograph: candidates by coarse descriptors, then a comparison of the pixels."""

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

_BATCH = 2048


def find_duplicates(
    records: Sequence[Record], within: Sequence[Record] | None = None, progress: StepProgress | None = None
) -> Duplicates:
    """Find the pairs among `records` that are the same photograph, without a model.

    Each image is read once; its thumbnail is cached (`thumbnails.make_thumbnails`, with `within`). Needs about 1.5 KiB
    of memory an image. Unreadable files are left out and named in `notes`.
    """

    def step(title: str) -> Progress | None:
        return None if progress is None else lambda done, total: progress(title, done, total)

    thumbnails = make_thumbnails(records, within, step("reading images"))
    distinct = find_distinct(thumbnails)
    candidates = find_candidates(thumbnails, distinct.rows, step("looking for near-duplicates"))
    scores = _compare(thumbnails, candidates, step("comparing near-duplicates"))
    same = scores > 0
    pairs = np.sort(np.stack([candidates.first[same], candidates.second[same]], axis=1).astype(np.int64), axis=1)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    broken, note = thumbnails.broken, thumbnails.note
    return Duplicates(distinct.same, pairs[order], scores[same][order], broken, distinct.flat, note)


def _compare(thumbnails: Thumbnails, candidates: Candidates, progress: Progress | None) -> np.ndarray:
    """Return the `likeness` of each candidate pair: `(P,)`."""
    placements = torch.tensor([window.placement() for window in WINDOWS])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    scores = np.zeros(len(candidates.first), dtype=np.float32)
    for begin in range(0, len(scores), _BATCH):
        part = slice(begin, begin + _BATCH)
        first = torch.from_numpy(thumbnails.take(candidates.first[part])).to(device)
        second = torch.from_numpy(thumbnails.take(candidates.second[part])).to(device)
        mirrored = torch.from_numpy(candidates.mirrored[part]).to(device)[:, None, None]
        second = torch.where(mirrored, second.flip(-1), second)
        placement = placements[torch.from_numpy(candidates.window[part])].to(device)
        scores[part] = likeness(first, second, placement).cpu().numpy()
        if progress:
            progress(min(begin + _BATCH, len(scores)), len(scores))
    return scores
