"""Faults planted in the demo's dataset: wrong labels, a background shortcut and two look-alike species; and their list,
`planted.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rsam_app.data.synthetic.species import ALIKE, SHORTCUT, SPECIES
from rsam_app.geometry.types import Box, Rectangle
from rsam_app.system.errors import UserError
from rsam_app.system.json_files import read_json

SHARES = {"train": 0.6, "val": 0.1, "test": 0.3}
"""Share of each species' images per split."""
WRONG_SHARE = 0.07
"""Share of the training labels that are wrong."""
FLOWERS_WITH_SHORTCUT = {"train": 0.9, "val": 0.9, "test": 0.5}
FLOWERS_ELSEWHERE = {"train": 0.03, "val": 0.03, "test": 0.5}
"""Share of the images with pink flowers, for the shortcut's species and for the others: in the test split the flowers
carry no information about the species."""


@dataclass(frozen=True)
class PlannedImage:
    """An image before it is drawn: its species, its label, and whether it has flowers."""

    id: str
    split: str
    species: str
    label: str
    flowers: bool


@dataclass(frozen=True)
class PlantedImage:
    """Ground truth of one image, lengths in pixels: `species` is the true label, `rectangle` has its width along the
    body, `flowers` is the box of the pink flowers, if any."""

    split: str
    species: str
    label: str
    width: int
    height: int
    habitat: str
    box: Box
    rectangle: Rectangle
    flowers: Box | None


@dataclass(frozen=True)
class Planted:
    """Everything planted in a generated dataset; `images` by record id."""

    seed: int
    images: dict[str, PlantedImage]
    shortcut: str = SHORTCUT
    alike: tuple[str, str] = ALIKE

    @property
    def wrong_labels(self) -> dict[str, str]:
        """True labels of the wrongly labelled images, by record id."""
        return {i: image.species for i, image in self.images.items() if image.label != image.species}

    def with_flowers(self, split: str, species: str | None = None) -> set[str]:
        """Return the ids of the images of a split (and true species) with pink flowers."""
        return {
            i
            for i, image in self.images.items()
            if image.flowers and image.split == split and species in (None, image.species)
        }

    def write(self, path: Path) -> None:
        """Write `planted.json`: lists of the faults, then the ground truth of every image."""
        own = [i for i, image in self.images.items() if image.species == self.shortcut and image.split == "train"]
        content = {
            "seed": self.seed,
            "wrong_labels": {i: {"label": self.images[i].label, "true_label": t} for i, t in self.wrong_labels.items()},
            "shortcut": {
                "species": self.shortcut,
                "item": "pink flowers",
                "training_images_with_item": [i for i in own if self.images[i].flowers],
                "training_images_without_item": [i for i in own if not self.images[i].flowers],
            },
            "alike": self.alike,
            "images": {i: asdict(image) for i, image in self.images.items()},
        }
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_planted(path: Path) -> Planted:
    """Read a `planted.json`. Raises `UserError` if it is missing or damaged."""
    try:
        content = read_json(path)
        images = {i: _image(entry) for i, entry in content["images"].items()}
        first, second = content["alike"]
        return Planted(content["seed"], images, content["shortcut"]["species"], (first, second))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error}). Run `rsam demo` to generate the dataset.") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(
            f"{path}: is not a list of planted errors ({error!r}). Delete it and run `rsam demo`."
        ) from error


def plan_images(seed: int, images_per_species: int, species: int) -> list[PlannedImage]:
    """Plan every image, in the shuffled order of their numbers; shares are exact up to rounding."""
    rng = np.random.default_rng([seed, 0])
    names = [s.name for s in SPECIES[:species]]
    drafts = [
        (split, name, flowers)
        for name in names
        for split, count in _split_counts(images_per_species).items()
        for flowers in _flowers(name, split, count)
    ]
    drafts = [drafts[i] for i in rng.permutation(len(drafts))]
    train = [n for n, draft in enumerate(drafts) if draft[0] == "train"]
    wrong = set(rng.choice(train, round(WRONG_SHARE * len(train)), replace=False).tolist())
    plans = []
    for n, (split, name, flowers) in enumerate(drafts):
        label = str(rng.choice([other for other in names if other != name])) if n in wrong else name
        plans.append(PlannedImage(f"images/{n:04d}.jpg", split, name, label, flowers))
    return plans


def _split_counts(images_per_species: int) -> dict[str, int]:
    val = max(1, round(SHARES["val"] * images_per_species))
    test = max(2, round(SHARES["test"] * images_per_species))
    return {"train": images_per_species - val - test, "val": val, "test": test}


def _flowers(name: str, split: str, count: int) -> list[bool]:
    share = (FLOWERS_WITH_SHORTCUT if name == SHORTCUT else FLOWERS_ELSEWHERE)[split]
    with_flowers = round(share * count)
    return [True] * with_flowers + [False] * (count - with_flowers)


def _image(entry: dict[str, Any]) -> PlantedImage:
    lengths = {k: None if entry[k] is None else tuple(map(float, entry[k])) for k in ("box", "rectangle", "flowers")}
    return PlantedImage(**(entry | lengths))
