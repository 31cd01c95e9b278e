"""The class behind `review.load_model`. It derives from FiftyOne's, so importing this file imports FiftyOne."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import fiftyone.core.models as fom
import numpy as np
import torch
from fiftyone.utils.torch import GetItem
from torch import Tensor
from torch.utils.data import default_collate

from rsam_app.data.augmentation.random_view import whole_image
from rsam_app.data.images.decoding import read_image
from rsam_app.evaluation.inference.model_runner import all_cores
from rsam_app.evaluation.inference.predictions_table import relative_shapes
from rsam_app.geometry import rectangles as geometry
from rsam_app.model import AttentiveClassifier
from rsam_app.model.preprocess import normalise
from rsam_app.review.writing.documents import attention_label, prediction_label, rectangle_label
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError
from rsam_app.system.mongodb.connection import import_fiftyone
from rsam_app.system.precision import autocast, choose_precision


class NetworkInput(NamedTuple):
    """What the network sees of one image, or of a batch: `image` `([B,] 3, S, S)` uint8, the map `to_image`
    `([B,] 2, 3)` from its pixels to those of the image, and the image's width and height `extent` `([B,] 2)`."""

    image: Tensor
    to_image: Tensor
    extent: Tensor


class ReadImage(GetItem):
    """Reads a sample's file by the one rule that training and `rsam predict` read it by; FiftyOne's own loader leaves
    EXIF orientation aside."""

    def __init__(self, side: int, field_mapping: dict[str, str] | None = None) -> None:
        self.side = side
        super().__init__(field_mapping=field_mapping)

    @property
    def required_keys(self) -> list[str]:
        """The fields that it reads."""
        return ["filepath"]

    def __call__(self, values: dict[str, Any]) -> NetworkInput:
        """The sample's image. Raises `UserError` where the file cannot be read."""
        return network_input(*read_image(Path(values["filepath"]), self.side), self.side)


def network_input(pixels: np.ndarray, displayed: tuple[int, int], side: int) -> NetworkInput:
    """`pixels` `(H, W, 3)` uint8 of an image of a `displayed` size, as a network of `side` pixels sees them."""
    image, to_image = whole_image(pixels, side, displayed)
    extent = torch.tensor(displayed, dtype=torch.float32)
    return NetworkInput(torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(to_image), extent)


class RunModel(fom.EmbeddingsMixin, fom.LogitsMixin, fom.TorchModelMixin, fom.SupportsGetItem, fom.Model):
    """A trained classifier. Its results are those of `rsam predict`, up to rounding.

    `predict` and `predict_all` also take arrays `(H, W, 3)` uint8 and PIL images, already upright.
    """

    def __init__(self, model: AttentiveClassifier, device: torch.device, precision: str, rectangles: bool) -> None:
        self.config = None
        self.model, self.device, self.rectangles = model.eval(), device, rectangles
        self.precision = choose_precision(precision, device)
        self.side = int(model.pretrained_cfg["input_size"][-1])
        self._using_gpu = device.type == "cuda"
        self._store_logits = self._preprocess = True
        self._embeddings: np.ndarray | None = None

    @property
    def media_type(self) -> str:
        """What it is for."""
        return "image"

    @property
    def has_logits(self) -> bool:
        """It has; they are stored unless `store_logits` is set to False."""
        return True

    @property
    def has_embeddings(self) -> bool:
        """It has: what the classifier sees of an image, before the classes."""
        return True

    @property
    def ragged_batches(self) -> bool:
        """Every image becomes an input of one size."""
        return False

    @property
    def preprocess(self) -> bool:
        """Whether `predict` is given images rather than network inputs."""
        return self._preprocess

    @preprocess.setter
    def preprocess(self, value: bool) -> None:
        self._preprocess = value

    def transforms(self, image: Any) -> Tensor:
        """An upright image as the network's input `(3, S, S)` uint8."""
        return self._input(image).image

    def build_get_item(self, field_mapping: dict[str, str] | None = None) -> ReadImage:
        """What FiftyOne's loading processes read a sample with."""
        return ReadImage(self.side, field_mapping)

    def predict(self, arg: Any) -> Any:
        """The labels of one image."""
        return self.predict_all([arg])[0]

    def predict_all(self, args: Any) -> list[Any]:
        """The labels of each image: a Classification, or with rectangles a dictionary of them by name."""
        batch = self._batch(args)
        logits, rectangles, self._embeddings = self._run(batch)
        probabilities = logits.softmax(dim=1)
        best = probabilities.argmax(dim=1)
        names = [self.model.label_names[i] for i in best.tolist()]
        confidences = probabilities.gather(1, best[:, None])[:, 0].tolist()
        stored = logits.float().numpy() if self.store_logits else [None] * len(names)
        predictions = [prediction_label(*values) for values in zip(names, confidences, stored, strict=True)]
        if not self.rectangles or rectangles is None:
            return predictions
        corners, boxes = relative_shapes(rectangles.numpy(), batch.extent.numpy())
        looks = zip(names, confidences, corners.tolist(), boxes.tolist(), rectangles.tolist(), strict=True)
        return [
            {
                "prediction": prediction,
                "attention": attention_label(name, confidence, box, five),
                "rectangle": rectangle_label(name, confidence, points),
            }
            for prediction, (name, confidence, points, box, five) in zip(predictions, looks, strict=True)
        ]

    def get_embeddings(self) -> np.ndarray:
        """Embeddings `(B, D)` float32 of what was predicted last. Raises `ValueError` before the first."""
        if self._embeddings is None:
            raise ValueError("nothing was predicted yet")
        return self._embeddings

    def embed(self, arg: Any) -> np.ndarray:
        """The embedding `(1, D)` of one image."""
        return self.embed_all([arg])

    def embed_all(self, args: Any) -> np.ndarray:
        """Embeddings `(B, D)` of images."""
        self._embeddings = self._run(self._batch(args))[2]
        return self._embeddings

    def _run(self, batch: NetworkInput) -> tuple[Tensor, Tensor | None, np.ndarray]:
        """Logits `(B, C)` float64, rectangles `(B, 5)` in image pixels and embeddings `(B, D)`, on the CPU."""
        with torch.inference_mode(), all_cores(), autocast(self.precision, self.device):
            seen = self.model.inspect(normalise(batch.image, self.model, self.device))
            rectangles = seen.output.rectangle
            if rectangles is not None:
                rectangles = geometry.transform(rectangles.float().cpu(), batch.to_image)
        return seen.output.logits.double().cpu(), rectangles, seen.embedding.float().cpu().numpy()

    def _batch(self, args: Any) -> NetworkInput:
        """Whatever FiftyOne hands over: batches that `ReadImage` made, inputs that `transforms` made, or images."""
        if isinstance(args, NetworkInput):
            return args
        items: Sequence[Any] = [args] if isinstance(args, np.ndarray) and args.ndim == 3 else list(args)
        return default_collate([self._input(item) for item in items])

    def _input(self, item: Any) -> NetworkInput:
        if isinstance(item, NetworkInput):
            return item
        if isinstance(item, Tensor):  # made by `transforms`; how large the image was is not known any more
            side = float(self.side)
            return NetworkInput(item, torch.eye(3)[:2], torch.tensor([side, side]))
        pixels = np.asarray(item.convert("RGB") if hasattr(item, "convert") else item)
        if pixels.ndim == 2:
            pixels = np.stack([pixels] * 3, axis=2)
        return network_input(np.ascontiguousarray(pixels[..., :3]), (pixels.shape[1], pixels.shape[0]), self.side)


def load_model(run: str | Path, rectangles: bool = False, device: str | None = None) -> Any:
    """The model of a run as a `fiftyone.core.models.Model`, for images of any dataset in FiftyOne.

    - `dataset.apply_model(model, label_field="bird", batch_size=32)` writes Classifications with logits. With
      `rectangles` it writes three fields: `bird_prediction`, `bird_attention` (Detections with the five numbers as
      attributes, in pixels) and `bird_rectangle` (Polylines), as `rsam review` does.
    - `dataset.compute_embeddings(model)` gives the run's embeddings `(N, D)`.

    Images are decoded as in training (EXIF orientation applied) by FiftyOne's loading processes. `device` is a GPU
    where there is one, if not given. Raises `UserError` where the folder holds no trained model, or FiftyOne is too
    old to let a model load its images.
    """
    fo = import_fiftyone()
    import fiftyone.core.models as fom
    import torch

    from rsam_app.model import load_model as load

    if not hasattr(fom, "SupportsGetItem"):
        raise UserError(f"FiftyOne {fo.__version__} lets no model load its own images. Install a newer FiftyOne.")
    from rsam_app.review.model import RunModel

    folder = RunFolder(Path(run))
    pipeline = folder.load_pipeline()
    model = load(folder.model)
    model.second_look = pipeline.model.second_look and model.detail != 1
    if rectangles and pipeline.model.attention == "none":
        raise UserError(f"{folder.path}: this model has no attention, so it has no rectangles to give.")
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return RunModel(model.to(chosen), chosen, pipeline.train.precision, rectangles)
