"""RSAM as a guest in a FiftyOne dataset of the user's: the names of its fields there."""

from __future__ import annotations

from typing import Any

MEMORY = "rsam"
"""Key of RSAM's entry in the `info` of a dataset."""
GUEST_FIELDS = ("ground_truth", "split", "metadata")
"""Fields that FiftyOne itself, its importers or its users often have, under these names."""
DECISIONS_GROUP = "decisions"
"""Group of the sidebar with the fields that do not depend on a run."""
OTHER_GROUP = "RSAM"
"""Group of the sidebar, in a dataset of the user's, with what RSAM remembers of each image."""


def is_guest(dataset: Any) -> bool:
    """Whether RSAM writes into a dataset of the user's rather than one that it created."""
    return "guest" in (dataset.info.get(MEMORY) or {})


def guest_name(name: str) -> str:
    """Return the name of a field of RSAM's in a dataset of the user's: `rsam_` before those of `GUEST_FIELDS`."""
    return f"rsam_{name}" if name in GUEST_FIELDS else name


def field_of(dataset: Any, name: str) -> str:
    """Return the name of a field of RSAM's in this dataset."""
    return guest_name(name) if is_guest(dataset) else name


def label_path(dataset: Any) -> str:
    """Return the path of the labels that RSAM reads and writes: of `ground_truth`, see `field_of`."""
    return f"{field_of(dataset, 'ground_truth')}.label"
