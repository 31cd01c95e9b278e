"""Shortcut sets: small objects on backgrounds that give their class away in training and mislead in the test split.

Each class has its usual kind of background in 95 % of the training and validation images and in 25 % of the test
images; the others have a kind drawn from those of the other classes. The manifest's `group` says which it is. Every
background shows a salient object of its own, and no photograph, of an object or of a background, is in two splits.

Beside them stand sets without a shortcut: the same species and breeds in their photographs as they are (`PLAIN`).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from rsam_app.config import load_card
from rsam_app.data import load_dataset
from rsam_app.data.images.decoding import read_image
from rsam_app.data.records import Record
from rsam_app.data.synthetic.collage import lay, place
from rsam_app.data.synthetic.creature import draw_creature
from rsam_app.data.synthetic.photograph import Studio
from rsam_app.data.synthetic.species import SPECIES
from rsam_app.geometry.boxes import mask_edges
from rsam_app.geometry.types import Box

USUAL = {"train": 0.95, "val": 0.95, "test": 0.25}
IMAGES = {"train": 450, "val": 150, "test": 230}
LONGER_SIDE = (0.2, 0.4)
"""An object's longer side, as a share of the image's mean side."""
PLACES = 12
"""Places that are drawn for an object; it gets the one that hides least of the background's own object."""

Array = np.ndarray

BIRDS = (2, 10, 12, 13, 14, 16, 17, 36, 47, 48)
"""CUB's numbers of the species that are told apart; no background shows one of them."""
BIRD_KINDS = (
    (5, 6, 7, 8), (23, 24, 25), (29, 30), (31, 32, 33), (37, 39, 43), (1, 3), (46, 50), (22, 28), (9, 11), (26, 27),
)  # fmt: skip
"""Kinds of background for `BIRDS`: groups of similar species with their surroundings."""
BREEDS = ("Abyssinian", "Bengal", "american_bulldog")
"""The breeds of which the part of Oxford-IIIT Pet at hand has about 200 masks each."""
BREED_KINDS = ((1, 3, 5, 6, 7, 8, 23, 24, 25, 44, 45), (31, 32, 33, 37, 38, 39, 40, 43), (9, 11, 26, 27, 29, 30, 49))
"""Kinds of background for `BREEDS`: birds of the sea, of branches, and black ones."""


@dataclass(frozen=True)
class Background:
    """A photograph `(H, W, 3)` uint8 RGB and the box of the object it shows, None if it is anywhere."""

    image: Array
    shown: Box | None


Objects = dict[str, list[list[Callable[[], Array]]]]
"""By split, for each class, functions that return an object's drawing, as `collage` defines it."""
Backgrounds = dict[str, list[list[Callable[[], Background]]]]
"""By split, for each kind, functions that return a background."""


def build(name: str, folder: Path, seed: int) -> Path:
    """Write the set `name`, one of `SETS` or `PLAIN`, into `folder` unless it is there; returns its card.

    The same arguments give the same images. Raises `UserError` if the photographs are not at hand.
    """
    card = folder / f"{name}.yaml"
    if card.exists():
        return card
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = PLAIN[name]() if name in PLAIN else _composed(name, folder, seed)
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["path", "label", "split", "x", "y", "width", "height", "group"], *rows])
    content = {"name": f"shortcut_{name}", "layout": "manifest", "root": str((folder / "manifest.csv").absolute())}
    splits = {split: split for split in IMAGES}
    card.write_text(yaml.safe_dump({**content, "licence": "as its photographs", "splits": splits}))
    return card


def _composed(name: str, folder: Path, seed: int) -> list[list[str]]:
    """The manifest's rows of images that are composed, and written, here."""
    classes, objects, backgrounds = SETS[name](seed)
    rows: list[list[str]] = []
    for split, count in IMAGES.items():
        draws = np.random.default_rng((seed, len(split), 1))
        for label, usual_kind, kind, turn in _plan(split, round(count / len(classes)), len(classes), seed):
            drawn, lain = objects[split][label], backgrounds[split][kind]
            drawing, background = drawn[turn % len(drawn)](), lain[draws.integers(len(lain))]()
            image, box = compose(background, drawing, draws)
            path = f"images/{split}_{len(rows):04}.jpg"
            encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
            (folder / path).write_bytes(encoded.tobytes())
            group = "usual" if kind == usual_kind else "unusual"
            rows.append([path, classes[label], split, *(f"{v:g}" for v in box), group])
    return rows


def _plan(split: str, per_class: int, classes: int, seed: int) -> list[tuple[int, int, int, int]]:
    """For each image: its class, the class's usual kind, the kind that it gets, and the number of its object."""
    usual_kinds = np.random.default_rng((seed, 2)).permutation(classes).tolist()
    draws = np.random.default_rng((seed, len(split), 3))
    plan = []
    for label, usual in enumerate(usual_kinds):
        others = [kind for kind in range(classes) if kind != usual]
        count = round(USUAL[split] * per_class)
        kinds = [usual] * count + [int(draws.choice(others)) for _ in range(per_class - count)]
        # Shuffled, as a class with fewer objects than images shows its first ones twice.
        plan += [(label, usual, kind, turn) for turn, kind in enumerate(draws.permutation(kinds).tolist())]
    return plan


def compose(background: Background, drawing: Array, draws: np.random.Generator) -> tuple[Array, Box]:
    """Lay a drawing small onto a background, away from what that shows; returns the image and the drawing's box."""
    image = background.image.astype(np.float32)
    height, width = image.shape[:2]
    left, top, right, bottom = mask_edges(drawing[..., 3] > 127)[0].astype(int).tolist()
    cut = drawing[top:bottom, left:right]
    scale = draws.uniform(*LONGER_SIDE) * (height + width) / 2 / max(cut.shape[:2])
    half = np.array(cut.shape[1::-1]) * scale / 2
    centres = draws.uniform(half + 2, np.maximum(half + 3, (width, height) - half - 2), (PLACES, 2))
    shown = background.shown
    best = centres[0] if shown is None else min(centres, key=lambda c: _hidden(c, half, shown))
    lay(image, place(cut, best, 0.0, (scale, scale)), shadow=0, light=0)
    x, y = best - half
    return np.clip(image, 0, 255).astype(np.uint8), (float(x), float(y), float(2 * half[0]), float(2 * half[1]))


def _hidden(centre: Array, half: Array, shown: Box) -> float:
    low = np.maximum(centre - half, shown[:2])
    high = np.minimum(centre + half, np.array(shown[:2]) + shown[2:])
    return float(np.prod(np.clip(high - low, 0, None)))


def birds(seed: int) -> tuple[tuple[str, ...], Objects, Backgrounds]:
    """Ten species of CUB by their boxes, with soft edges, on photographs of ten kinds of other birds."""
    by_number = _cub_by_number()
    objects = _split_up([[_Boxed(r) for r in by_number[number]] for number in BIRDS], seed)
    return tuple(by_number[number][0].label for number in BIRDS), objects, _bird_grounds(by_number, BIRD_KINDS, seed)


def pets(seed: int) -> tuple[tuple[str, ...], Objects, Backgrounds]:
    """Three breeds of Oxford-IIIT Pet by their masks on photographs of three kinds of birds."""
    records = load_dataset(load_card("oxford_iiit_pet"), 0).records
    breeds = [[_Masked(r) for r in records if r.label == breed and r.mask] for breed in BREEDS]
    return BREEDS, _split_up(breeds, seed), _bird_grounds(_cub_by_number(), BREED_KINDS, seed)


def beetles(seed: int) -> tuple[tuple[str, ...], Objects, Backgrounds]:
    """Six species of the generated beetles on the six kinds of ground, beside pink flowers. The test images' ground is
    made of other tiles."""
    kinds = SPECIES[2:]
    objects: Objects = {split: [[] for _ in kinds] for split in IMAGES}
    backgrounds: Backgrounds = {split: [[] for _ in kinds] for split in IMAGES}
    for part, split in enumerate(IMAGES):
        grounds = _Grounds(100 + 10 * seed + part)
        for kind, species in enumerate(kinds):
            for turn in range(IMAGES[split] // len(kinds) + 1):
                key = (seed, part, kind, turn)
                objects[split][kind].append(lambda s=species, k=key: _turned_beetle(s, np.random.default_rng((*k, 1))))  # type: ignore[misc]
                backgrounds[split][kind].append(lambda g=grounds, i=kind, k=key: g.ground(i, np.random.default_rng(k)))  # type: ignore[misc]
    return tuple(species.name for species in kinds), objects, backgrounds


SETS: dict[str, Callable[[int], tuple[tuple[str, ...], Objects, Backgrounds]]] = {
    "birds": birds,
    "pets": pets,
    "beetles": beetles,
}


def plain_birds() -> list[list[str]]:
    """The manifest's rows of the ten species' photographs, in the splits of their publishers."""
    records = [r for r in load_dataset(load_card("cub_200_2011"), 0).records if int(r.label[:3]) in BIRDS]
    return [_plain_row(record, record.boxes[0]) for record in records]


def plain_pets() -> list[list[str]]:
    """The manifest's rows of the three breeds' photographs that have masks, with the masks' boxes."""
    records = [r for r in load_dataset(load_card("oxford_iiit_pet"), 0).records if r.label in BREEDS and r.mask]
    return [_plain_row(record, _masked_box(record)) for record in records]


PLAIN: dict[str, Callable[[], list[list[str]]]] = {"plain-birds": plain_birds, "plain-pets": plain_pets}


def _plain_row(record: Record, box: Box) -> list[str]:
    return [str(record.path), record.label, record.split, *(f"{v:g}" for v in box), "usual"]


def _masked_box(record: Record) -> Box:
    left, top, right, bottom = mask_edges(_inside(record))[0].tolist()
    return left, top, right - left, bottom - top


def _inside(record: Record) -> Array:
    """Which pixels `(H, W)` are in the record's mask. Raises `FileNotFoundError`."""
    mask = cv2.imread(str(record.mask), cv2.IMREAD_UNCHANGED)
    if mask is None:
        raise FileNotFoundError(record.mask)
    return np.isin(mask, record.mask_values)


def _cub_by_number() -> dict[int, list[Record]]:
    by_number: dict[int, list[Record]] = {}
    for record in load_dataset(load_card("cub_200_2011"), 0).records:
        by_number.setdefault(int(record.label[:3]), []).append(record)
    return by_number


def _bird_grounds(by_number: dict[int, list[Record]], kinds: Sequence[Sequence[int]], seed: int) -> Backgrounds:
    return _split_up([[_Photographed(r) for number in kind for r in by_number[number]] for kind in kinds], seed + 1)


def _split_up(groups: Sequence[Sequence[Any]], seed: int) -> dict[str, list[list[Any]]]:
    """Divide the members of each group among the splits, in proportion to the splits' images."""
    parts: dict[str, list[list[Any]]] = {split: [] for split in IMAGES}
    edges = np.cumsum(list(IMAGES.values())) / sum(IMAGES.values())
    for number, members in enumerate(groups):
        order = np.random.default_rng((seed, 4, number)).permutation(len(members))
        ends = np.rint(edges * len(members)).astype(int)
        for split, chosen in zip(IMAGES, np.split(order, ends[:-1]), strict=True):
            parts[split].append([members[i] for i in chosen])
    return parts


@dataclass(frozen=True)
class _Photographed:
    record: Record

    def __call__(self) -> Background:
        return Background(read_image(self.record.path)[0], self.record.boxes[0])


@dataclass(frozen=True)
class _Boxed:
    """The content of a record's box; it fades towards the edges, and its corners are rounded."""

    record: Record

    def __call__(self) -> Array:
        image = read_image(self.record.path)[0]
        x, y, width, height = self.record.boxes[0]
        cut = image[max(0, round(y)) : round(y + height), max(0, round(x)) : round(x + width)]
        across, down = (np.abs(np.linspace(-1, 1, n)) for n in (cut.shape[1], cut.shape[0]))
        reach = (across[None] ** 4 + down[:, None] ** 4) ** 0.25
        return _drawing(cut, np.clip((1.05 - reach) / 0.1, 0, 1))


@dataclass(frozen=True)
class _Masked:
    """The masked pixels of a record."""

    record: Record

    def __call__(self) -> Array:
        inside = _inside(self.record).astype(np.float32)
        return _drawing(read_image(self.record.path)[0], cv2.GaussianBlur(inside, (0, 0), 0.8))


def _drawing(image: Array, opacity: Array) -> Array:
    share = opacity[..., None]
    drawing: Array = np.rint(np.concatenate([image * share, 255 * share], axis=-1)).astype(np.uint8)
    return drawing


def _turned_beetle(species: object, draws: np.random.Generator) -> Array:
    light = np.array([0.4, -0.3, 0.87], np.float32)
    return place(draw_creature(species, light, draws), np.zeros(2), draws.uniform(-np.pi, np.pi), (1, 1)).drawing  # type: ignore[arg-type]


class _Grounds(Studio):
    """Photographs of ground with flowers and without a beetle."""

    def ground(self, habitat: int, draws: np.random.Generator) -> Background:
        """A photograph of this ground, pink flowers in one corner."""
        light, nothing = draws.uniform(-np.pi, np.pi), np.zeros((208, 240), bool)
        image = self._ground(self.habitats[habitat], 240, 208, light, draws)
        corner = np.array([draws.integers(2) * 240.0, draws.integers(2) * 208.0])
        flowers = self._flowers(image, nothing, corner, light, draws)
        return Background(self._develop(image, light, draws), flowers)
