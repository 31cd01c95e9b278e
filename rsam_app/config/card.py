"""Cards: where a dataset is, how it is laid out, under which licence, and how it is fetched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from rsam_app.config.validation import Strict


class Download(Strict):
    """One file of a release: where it is, how it is known to be the right one, what of it belongs in the root."""

    url: str = Field("", pattern=r"^(https?://\S+)?$")
    """Its official address; without one, a person puts the file where `rsam download` says."""
    page: str = ""
    """Where a person finds the file."""
    file: str = Field("", pattern=r"^[A-Za-z0-9_.-]*$")
    """Its name; the last part of `url` where not given."""
    size: int | None = Field(None, ge=0)
    """Bytes."""
    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    md5: str = Field("", pattern=r"^([0-9a-f]{32})?$")
    take: str = Field("", pattern=r"^[A-Za-z0-9_.-]*$")
    """The folder of the archive whose content goes into the card's root; the whole archive where not given."""

    @property
    def name(self) -> str:
        """What the file is called on disk."""
        return self.file or self.url.partition("?")[0].rpartition("/")[2]

    @model_validator(mode="after")
    def _can_be_had_and_stored(self) -> Self:
        if not self.url and not self.page:
            raise ValueError("needs `url`, or `page` and `file` for what a person must fetch")
        if not self.name.strip("."):
            raise ValueError("needs `file`: the name to store it under")
        return self


class Card(Strict):
    """A dataset: where it is, how it is laid out, under which licence. One `datasets/NAME.yaml`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    layout: Literal[
        "folder",
        "manifest",
        "huggingface",
        "cub_200_2011",
        "fgvc_aircraft",
        "food_101",
        "inaturalist",
        "nabirds",
        "oxford_flowers_102",
        "oxford_iiit_pet",
        "stanford_cars",
        "stanford_dogs",
    ]
    root: str
    """Folder (or CSV for `manifest`); a relative one starts from RSAM_DATA."""
    licence: str
    splits: dict[Literal["train", "val", "test"], str] = {"train": "train", "val": "val", "test": "test"}
    """Our split → the release's name for it. Without `val` a stratified tenth of `train` is held out."""
    unlabelled: str = ""
    """A folder with further images, which have no label yet; a relative one starts from RSAM_DATA."""
    max_broken_share: float = Field(0.02, ge=0, le=1)
    """More unreadable images than this share is an error instead of a warning."""
    options: dict[str, str] = {}
    """What the layout can be told, e.g. `level: family`; README says which layout knows which."""
    download: list[Download] = []
    """What `rsam download` fetches and unpacks into the root."""

    @property
    def root_path(self) -> Path:
        """The root, absolute or starting from `RSAM_DATA` (default `data/`)."""
        return _below_data(self.root)

    @property
    def unlabelled_path(self) -> Path | None:
        """The folder of images without a label; None where the card names none."""
        return _below_data(self.unlabelled) if self.unlabelled else None

    @field_validator("splits")
    @classmethod
    def _one_split_each(cls, value: dict[str, str]) -> dict[str, str]:
        if "train" not in value:
            raise ValueError("must say which split to train on, e.g. `train: train`")
        if len(set(value.values())) < len(value):
            raise ValueError("must not use one split of the release twice: training images would be tested on")
        return value


def _below_data(path: str) -> Path:
    return Path(os.environ.get("RSAM_DATA") or "data").expanduser() / Path(path).expanduser()
