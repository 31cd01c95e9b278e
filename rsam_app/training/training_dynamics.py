"""Class probabilities of each training image averaged over the epochs: memorisation does not hide a wrong label yet."""

from __future__ import annotations

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

MAX_ENTRIES = 100_000_000
"""Largest number of probabilities, images × classes; above it none are stored."""


class TrainingDynamics:
    """Mean class probabilities of each training image over the epochs, under augmentation.

    The same on every process after `merge`; part of the checkpoint.
    """

    def __init__(self, samples: int, classes: int) -> None:
        self.enabled = samples * classes <= MAX_ENTRIES
        shape = (samples, classes) if self.enabled else (0, classes)
        self.total, self.pending = torch.zeros(shape), torch.zeros(shape)
        self.seen, self.pending_seen = torch.zeros(shape[0]), torch.zeros(shape[0])

    def add(self, index: Tensor, logits: Tensor) -> None:
        """Add a batch: sample indices `(B,)` and logits `(B, C)`."""
        if self.enabled:
            rows = index.cpu()
            self.pending[rows] += torch.softmax(logits.detach().float(), dim=1).cpu()
            self.pending_seen[rows] += 1

    def merge(self, accelerator: Accelerator) -> None:
        """Sum over the processes. Every process must call it at the same point."""
        for total, pending in ((self.total, self.pending), (self.seen, self.pending_seen)):
            everywhere = accelerator.reduce(pending.to(accelerator.device), reduction="sum")
            total += everywhere.cpu()
            pending.zero_()

    def mean(self) -> np.ndarray:
        """Probabilities `(samples, classes)`; NaN rows for images that were never trained on."""
        return (self.total / self.seen[:, None]).numpy()

    def state_dict(self) -> dict[str, Tensor]:
        """For the checkpoint."""
        return {"total": self.total, "seen": self.seen}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """From the checkpoint."""
        self.total.copy_(state["total"])
        self.seen.copy_(state["seen"])
        self.pending.zero_()
        self.pending_seen.zero_()
