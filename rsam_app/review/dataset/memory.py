"""RSAM's own entry in a review dataset's `info`: what it wrote and arranged, to tell that from the reviewer's work."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class RunMemory(BaseModel):
    """A run that is written into the dataset."""

    path: str = ""
    """Its folder."""
    predictions: dict[str, list[str]] = {}
    """By split, the digests of the chunks of rows that are in the dataset."""
    scores: list[str] = []
    """Columns of its tables that are fields of the dataset."""


class DerivedMemory(BaseModel):
    """Fingerprints of what a run's derived fields were computed from."""

    pairs: list[list[str]] = []
    """Its most frequent confusion pairs."""
    beliefs: str | None = None
    sure_answers: str | None = None
    embeddings: str | None = None
    evaluation: str | None = None
    photographs: str | None = None
    text: str | None = None


class LabellingMemory(BaseModel):
    """What `rsam label` is doing in the dataset."""

    run: str
    """The run folder with features and selections, in which a training would be."""
    pipeline: str
    """Name of the pipeline that trains with the labels."""
    budget: int
    """Photographs in a batch."""
    batch: int = 0
    """Number of the batch that is shown, from 1."""
    at_random: bool = False
    """Whether that batch was drawn without features, which were not computed yet."""
    offered: list[str] = []
    """Classes given by `--classes`: they stay, even if no image has them."""


class GuestMemory(BaseModel):
    """What to know of a dataset of the user's, to leave it as it was."""

    card: str
    """Name of the card of its runs."""
    keys: list[str] = []
    """Of the runs that were let in; theirs are all fields and FiftyOne runs with these prefixes."""
    tags: list[str] = []
    """Tags that no sample had before RSAM tagged some."""
    written_back: list[str] = []
    """Fields of the user's that `--write-back` made."""
    default_sidebar: bool = False
    """Whether the App's sidebar was FiftyOne's."""
    colors: Literal["none", "no fields", "fields"] = "fields"
    """What there was of a colour scheme."""


class Memory(BaseModel):
    """The entry. Only values that were set are stored; keys of other versions stay."""

    model_config = ConfigDict(extra="allow")

    format: int | None = None
    guest: GuestMemory | None = None
    """Set in a dataset of the user's."""
    classes: list[str] = []
    """The card's classes, then the new ones."""
    new_classes: list[str] = []
    """Classes that the card lacks and reviewers added, the earliest first."""
    class_names: dict[str, str] = {}
    """By a class's name in the files, the present one, of classes that were renamed or merged. A class that keeps its
    name is there if another was merged into it, or if its renaming was taken back."""
    records: str | None = None
    """Fingerprint of the records that the samples follow."""
    runs: dict[str, RunMemory] = {}
    """By key, the earliest first."""
    labelling: LabellingMemory | None = None
    derived: dict[str, DerivedMemory] = {}
    """By the run's key."""
    views: list[str] = []
    """Names of the saved views that RSAM made."""
    view_stages: dict[str, str] = {}
    """By name, the fingerprint of a view's stages."""
    pair_views: dict[str, list[list[str]]] = {}
    """By the run's key, the confusion pairs that have a view."""
    active: list[str] | None = None
    """Fields that are switched on when the App opens."""
    workspaces: list[str] = []
    annotation: dict[str, dict[str, Any]] = {}
    """By field, the label schema that RSAM set."""
