"""Cards: where a dataset is, its layout, its licence, and how to download it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field, field_validator, model_validator

from rsam_app.config.validation import Strict


class Download(Strict):
    """One file of a release: its address, its checksums, and the part of it that belongs in the root."""

    url: str = Field("", pattern=r"^(https?://\S+)?$")
    """The official address; without one, you put the file where `rsam download` says."""
    page: str = ""
    """The web page that offers the file."""
    file: str = Field("", pattern=r"^[A-Za-z0-9_.-]*$")
    """File name; default: the last part of `url`."""
    size: int | None = Field(None, ge=0)
    """Bytes."""
    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    """The file's SHA-256, in hexadecimal digits."""
    md5: str = Field("", pattern=r"^([0-9a-f]{32})?$")
    """The file's MD5, in hexadecimal digits."""
    take: str = Field("", pattern=r"^[A-Za-z0-9_.-]*$")
    """The folder of the archive to unpack into the card's root; default: the whole archive."""

    @property
    def name(self) -> str:
        """The file's name on disk."""
        return self.file or self.url.partition("?")[0].rpartition("/")[2]

    @model_validator(mode="after")
    def _has_source_and_name(self) -> Self:
        if not self.url and not self.page:
            raise ValueError("needs `url`, or `page` and `file` for a file that you download yourself")
        if not self.name.strip("."):
            raise ValueError("needs `file`: the name to store it under")
        return self


class Card(Strict):
    """A dataset: where it is, its layout, its licence. One `datasets/NAME.yaml`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Name of the dataset, also in FiftyOne."""
    layout: Literal[
        "folder",
        "manifest",
        "huggingface",
        "photographs",
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
    """How the files are arranged; docs/data.md lists the layouts."""
    root: str
    """Folder (CSV file for `manifest`); a relative path starts from RSAM_DATA."""
    licence: str = Field("not stated", validation_alias=AliasChoices("licence", "license"))
    """Terms of use of the data, for reports and exports."""
    splits: dict[Literal["train", "val", "test"], str] = {"train": "train", "val": "val", "test": "test"}
    """Our split → the release's name for it. If that is a common name such as `train` and absent, other common forms
    are recognised, e.g. `Training`. Without `val`, a tenth of `train` is held out; without both, first a fifth as
    `test`, unless `splits` here does not name it."""
    unlabelled: str = ""
    """A folder of further images without labels; a relative path starts from RSAM_DATA."""
    taxonomy: str = ""
    """CSV file with the hierarchy of the classes: a header `class,LEVEL,…`, the finest level above the class first and
    the coarsest last, e.g. `class,genus,family`, and a row per class. A relative path starts from RSAM_DATA or from the
    card's folder."""
    ignore: list[Annotated[str, Field(min_length=1)]] = []
    """Globs of files and folders to ignore: names at any depth, or paths relative to the root, e.g. `drafts/*`."""
    max_broken_share: float = Field(0.02, ge=0, le=1)
    """If a larger share of the images is unreadable, that is an error instead of a warning."""
    untrained_classes: Literal["leave_out", "refuse"] = "leave_out"
    """Classes without a usable training image: leave them and their images out and report it, or refuse the dataset."""
    options: dict[str, str] = {}
    """Options of the layout, e.g. `level: family`; docs/data.md lists them."""
    download: list[Download] = []
    """Files that `rsam download` fetches and unpacks into the root."""

    @property
    def root_path(self) -> Path:
        """The root, absolute or starting from `RSAM_DATA` (default `data/`)."""
        return _below_data(self.root)

    @property
    def unlabelled_path(self) -> Path | None:
        """The folder of images without labels; None if the card names none."""
        return _below_data(self.unlabelled) if self.unlabelled else None

    @property
    def taxonomy_path(self) -> Path | None:
        """The file with the hierarchy of the classes; None if the card names none."""
        return _below_data(self.taxonomy) if self.taxonomy else None

    @field_validator("splits")
    @classmethod
    def _train_and_no_repeats(cls, value: dict[str, str]) -> dict[str, str]:
        if "train" not in value:
            raise ValueError("must say which split to train on, e.g. `train: train`")
        if len(set(value.values())) < len(value):
            raise ValueError("must not use one split of the release twice: training images would be tested on")
        return value


def _below_data(path: str) -> Path:
    folder = os.environ.get("RSAM_DATA") or "data"
    return Path(os.path.expanduser(folder), os.path.expanduser(path))  # `Path.expanduser` raises for unknown users
