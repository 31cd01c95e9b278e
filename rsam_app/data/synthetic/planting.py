"""What is hidden in the demo's dataset for the tool to find: wrong labels, a background shortcut, an alike pair;
and the record of it, `planted.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rsam_app.data.synthetic.species import ALIKE, SHORTCUT, SPECIES
from rsam_app.geometry.types import Rectangle
from rsam_app.system.errors import UserError

Box = tuple[float, float, float, float]

SHARES = {"train": 0.6, "val": 0.1, "test": 0.3}
"""How each species' images are split."""
WRONG_SHARE = 0.07
"""Share of the training labels that are wrong."""
FLOWERS_WITH_SHORTCUT = {"train": 0.9, "val": 0.9, "test": 0.5}
FLOWERS_ELSEWHERE = {"train": 0.03, "val": 0.03, "test": 0.5}
"""Share of the images with pink flowers, of the shortcut's species and of the others: in the test split the flowers say
nothing about the species."""


@dataclass(frozen=True)
class Plan:
    """One image before it is drawn: the species it will show, the label it will be given, whether flowers stand by."""

    id: str
    split: str
    species: str
    label: str
    flowers: bool


@dataclass(frozen=True)
class PlantedImage:
    """The truth about one image: `species` is the true label; lengths are in pixels, `rectangle` is `cx, cy, width,
    height, angle` (radians, clockwise, width along the body), `flowers` the box of the pink flowers, if any."""

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
    """Everything that was planted in a generated dataset; `images` is keyed by record id."""

    seed: int
    images: dict[str, PlantedImage]
    shortcut: str = SHORTCUT
    alike: tuple[str, str] = ALIKE

    @property
    def wrong_labels(self) -> dict[str, str]:
        """Record ids of the wrong labels, with the true label."""
        return {i: image.species for i, image in self.images.items() if image.label != image.species}

    def with_flowers(self, split: str, species: str | None = None) -> set[str]:
        """Ids of the images of a split (and a true species) that have the pink flowers."""
        return {
            i
            for i, image in self.images.items()
            if image.flowers and image.split == split and species in (None, image.species)
        }

    def write(self, path: Path) -> None:
        """Write `planted.json`: the lists a person looks for first, then the truth about every image."""
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
    """Read a `planted.json`. Raises `UserError` where it is missing or was damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images = {i: _image(entry) for i, entry in content["images"].items()}
        first, second = content["alike"]
        return Planted(content["seed"], images, content["shortcut"]["species"], (first, second))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error}). Run `rsam demo` to generate the dataset.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: is not a record of planted errors ({error!r}). Delete it and run `rsam demo`."
        ) from error


def plan_images(seed: int, images_per_species: int, species: int) -> list[Plan]:
    """Decide about every image, in the shuffled order in which they are numbered; shares are met up to rounding."""
    rng = np.random.default_rng([seed, 0])
    drafts = [
        (split, name, flowers)
        for name in (s.name for s in SPECIES[:species])
        for split, count in _split_counts(images_per_species).items()
        for flowers in _flowers(name, split, count)
    ]
    order = rng.permutation(len(drafts))
    drafts = [drafts[i] for i in order]
    names = [s.name for s in SPECIES[:species]]
    train = [n for n, draft in enumerate(drafts) if draft[0] == "train"]
    wrong = set(rng.choice(train, round(WRONG_SHARE * len(train)), replace=False).tolist())
    plans = []
    for n, (split, name, flowers) in enumerate(drafts):
        label = str(rng.choice([other for other in names if other != name])) if n in wrong else name
        plans.append(Plan(f"images/{n:04d}.jpg", split, name, label, flowers))
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
