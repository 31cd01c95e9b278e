"""Cached feature maps of a frozen backbone for several views of every image of a dataset.

Views, attention and classifier are those of the product: its loader, its augmentation, its corruptions. Only the
backbone's computation is not repeated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rsam_app.config import AugmentConfig, ModelConfig, load_card
from rsam_app.data import Dataset, load_dataset
from rsam_app.data.augmentation.random_view import TrainAugment
from rsam_app.data.loader import Views, make_loader
from rsam_app.data.records import Record
from rsam_app.data.sampling import ShardedBatches
from rsam_app.evaluation.robustness.corruptions import corrupt
from rsam_app.geometry import rectangles as geometry
from rsam_app.geometry.clipping import visible_part
from rsam_app.geometry.types import Rectangle
from rsam_app.model import AttentiveClassifier, build_model
from rsam_app.model.preprocess import normalise
from rsam_app.system.precision import autocast, choose_precision
from rsam_app.system.versions import DECODED_IMAGES
from rsam_app.training.discovery.discover import discover_rectangles
from rsam_app.training.features.source import FeatureSource

SIDE = 224
AUGMENTED = 4
CORRUPTED = ("gaussian_noise", "defocus_blur", "contrast", "jpeg", "haze")
SEVERITY = 3
LARGER = 320
"""Side, in pixels, of the larger input that costs about as much as two looks: (320 / 224)² = 2.04."""
CPU = torch.device("cpu")


class Mirrored:
    """The whole image, mirrored."""

    def __call__(
        self, image: np.ndarray, displayed: tuple[int, int], seed: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        from rsam_app.data.images.decoding import resize

        width, height = displayed
        to_image = np.array([[-width / SIDE, 0, width], [0, height / SIDE, 0]], dtype=np.float32)
        return np.ascontiguousarray(resize(image, SIDE, SIDE)[:, ::-1]), to_image


class Corrupted:
    """The whole image with one corruption, seeded by the image's position in its split."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(
        self, image: np.ndarray, displayed: tuple[int, int], seed: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        from rsam_app.data.augmentation.random_view import whole_image

        view, to_image = whole_image(image, SIDE, displayed)
        return corrupt(view, self.name, SEVERITY, 0, str(seed[-1])), to_image


@dataclass(frozen=True)
class ViewSet:
    """One view of each record: `maps` `(N, C, H, W)` and those of the last `stages`, half precision, and `to_image`
    `(N, 2, 3)` from its pixels."""

    maps: np.ndarray
    stages: tuple[np.ndarray, ...]
    to_image: np.ndarray

    def output(self, rows: Sequence[int] | np.ndarray) -> AttentiveOutput:
        """Backbone outputs of some records, float32."""
        return AttentiveOutput(_tensor(self.maps[rows]), [_tensor(stage[rows]) for stage in self.stages])


class AttentiveOutput(NamedTuple):
    """The last feature map `(B, C, H, W)` of a batch and those of the last stages."""

    features: Tensor
    stages: list[Tensor]


def gather(
    views: Sequence[ViewSet], rows: Sequence[int] | np.ndarray, chosen: Sequence[int] | np.ndarray
) -> AttentiveOutput:
    """Gather the records `rows`, each from its own view of `views`."""
    looks = [views[view].output([row]) for view, row in zip(chosen, rows, strict=True)]
    stages = zip(*(output.stages for output in looks), strict=True)
    return AttentiveOutput(torch.cat([output.features for output in looks]), [torch.cat(parts) for parts in stages])


def _tensor(half: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(half)).float()


@dataclass(frozen=True)
class FrozenData:
    """A dataset with features of a frozen backbone. `training` are all records but those of the test split;
    `discovered` are rectangles by record id, found without labels or boxes."""

    name: str
    dataset: Dataset
    training: list[Record]
    test: Sequence[Record]
    training_views: list[ViewSet]
    test_views: dict[str, ViewSet]
    discovered: dict[str, Rectangle]
    labels: np.ndarray
    test_labels: np.ndarray
    pixels: dict[str, np.ndarray]
    """Whole images `(N, 3, 448, 448)` uint8 of `training` and `test`, for the second look."""
    larger: dict[str, np.ndarray]
    """Pooled features `(N, D)` of `training` and `test` at `LARGER` pixels."""

    def targets(self, rectangles: dict[str, tuple[float, ...]], view: int) -> tuple[Tensor, Tensor]:
        """Rectangles `(N, 5)` in cells of a training view and the visible share `(N,)` of each; 0 without one."""
        cells = self.training_views[view].maps.shape[2]
        places, shares = torch.zeros(len(self.training), 5), torch.zeros(len(self.training))
        for row, record in enumerate(self.training):
            if record.id in rectangles:
                to_view = geometry.invert(torch.from_numpy(self.training_views[view].to_image[row])[None])
                carried = geometry.transform(torch.tensor([rectangles[record.id]]), to_view)[0]
                places[row], shares[row] = visible_part(carried, SIDE, SIDE)
        return geometry.rescale(places, (SIDE, SIDE), (cells, cells)), shares


def make_backbone(weights: Path, classes: tuple[str, ...], attention: str, predictor: str) -> AttentiveClassifier:
    """The benchmark's model: MobileNetV2 at 224 px."""
    settings = {"backbone": "mobilenetv2_100", "weights": str(weights), "image_size": SIDE}
    return build_model(ModelConfig(attention=attention, predictor=predictor, **settings), classes)


def load_frozen(card: str, weights: Path, cache: Path) -> FrozenData:
    """Load the dataset of a card; compute its views or read them from `cache`."""
    dataset = load_dataset(load_card(card), 0)
    training = [*dataset.split("train"), *dataset.split("val")]
    training.sort(key=lambda record: record.id)
    test = dataset.split("test")
    model = make_backbone(weights, dataset.classes, "rsam", "profiles")  # also returns the maps of stages
    parts = [dataset.fingerprint, weights.stat().st_size, AUGMENTED, SIDE, DECODED_IMAGES]
    key = hashlib.sha256(json.dumps(parts).encode())
    maker = _Maker(model, dataset, cache / f"{dataset.name}-{key.hexdigest()[:12]}")
    augment = TrainAugment(AugmentConfig(), SIDE)
    training_views = [maker.views("whole", training), maker.views("mirrored", training, Mirrored())]
    training_views += [maker.views(f"augmented{i}", training, augment, i) for i in range(AUGMENTED)]
    test_views = {"clean": maker.views("test", test), "mirrored": maker.views("test-mirrored", test, Mirrored())}
    test_views["cropped"] = maker.views("test-cropped", test, TrainAugment(AugmentConfig(min_scale=0.6, color=0), SIDE))
    test_views |= {name: maker.views(f"test-{name}", test, Corrupted(name)) for name in CORRUPTED}
    index = dataset.class_index
    return FrozenData(
        dataset.name,
        dataset,
        training,
        test,
        training_views,
        test_views,
        maker.discovered(training),
        np.array([index[r.label] for r in training]),
        np.array([index[r.label] for r in test]),
        {"training": maker.pixels("pixels", training), "test": maker.pixels("test-pixels", test)},
        {"training": maker.pooled("larger", training), "test": maker.pooled("test-larger", test)},
    )


@dataclass(frozen=True)
class _Maker:
    model: AttentiveClassifier
    dataset: Dataset
    folder: Path

    def views(
        self,
        name: str,
        records: Sequence[Record],
        augment: TrainAugment | Mirrored | Corrupted | None = None,
        epoch: int = 0,
        side: int = SIDE,
    ) -> ViewSet:
        self.folder.mkdir(parents=True, exist_ok=True)
        kinds = ("", ".stage0", ".stage1")
        paths = [self.folder / f"{name}{kind}.npy" for kind in kinds]
        affine_path = self.folder / f"{name}.affine.npy"
        if not affine_path.exists():
            print(f"{self.dataset.name}: {name}, {len(records)} images", flush=True)
            maps: list[list[np.ndarray]] = [[] for _ in kinds]
            affine = []
            precision = choose_precision("auto", CPU)
            views = Views(records, self.dataset.class_index, side, augment)  # type: ignore[arg-type]
            batches = ShardedBatches(len(records), 32)
            self.model.eval()
            for batch in make_loader(_AtEpoch(views, epoch), batches, 1, False):  # type: ignore[arg-type]
                with torch.no_grad(), autocast(precision, CPU):
                    features, stages = self.model.maps(normalise(batch["image"], self.model, CPU))
                for kept, one in zip(maps, (features, *stages), strict=True):
                    kept.append(one.half().numpy())
                affine.append(batch["to_image"].numpy())
            for path, kept in zip(paths, maps, strict=True):
                np.save(path, np.concatenate(kept))
            np.save(affine_path, np.concatenate(affine))
        last, *earlier = (np.load(path, mmap_mode="r") for path in paths)
        return ViewSet(last, tuple(earlier), np.load(affine_path))

    def pixels(self, name: str, records: Sequence[Record]) -> np.ndarray:
        """Whole images at twice the side, from which the second look's crops are cut."""
        path = self.folder / f"{name}.npy"
        if not path.exists():
            views = Views(records, self.dataset.class_index, 2 * SIDE)
            loader = make_loader(views, ShardedBatches(len(records), 32), 1, False)
            np.save(path, np.concatenate([batch["image"].numpy() for batch in loader]))
        return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]

    def pooled(self, name: str, records: Sequence[Record]) -> np.ndarray:
        """Pooled features of whole images at `LARGER` pixels."""
        maps = self.views(name, records, side=LARGER).maps
        return np.stack([np.asarray(one, dtype=np.float32).mean(axis=(1, 2)) for one in maps])

    def discovered(self, records: Sequence[Record]) -> dict[str, Rectangle]:
        path = self.folder / "discovered.json"
        if not path.exists():
            print(f"{self.dataset.name}: discovering objects in {len(records)} images", flush=True)
            source = FeatureSource(self.model, self.dataset.class_index, CPU, choose_precision("auto", CPU), 1)
            path.write_text(json.dumps(discover_rectangles(source, records, 2 * SIDE, 0).rectangles))
        return {key: Rectangle(*value) for key, value in json.loads(path.read_text()).items()}


class _AtEpoch(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Views as drawn in a later epoch."""

    def __init__(self, views: Views, epoch: int) -> None:
        self.views, self.epoch = views, epoch

    def __len__(self) -> int:
        return len(self.views)

    def __getitems__(self, draws: list[tuple[int, int]]) -> object:
        return self.views.__getitems__([(self.epoch, index) for _, index in draws])
