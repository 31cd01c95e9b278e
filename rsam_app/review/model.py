"""The model that `review.load_model` returns. Importing this module imports FiftyOne: use `review.load_model`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import fiftyone as fo
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
from rsam_app.evaluation.inference.trained_model import network_of
from rsam_app.geometry import rectangles as geometry
from rsam_app.model import AttentiveClassifier
from rsam_app.model.fold_batch_norms import fold_batch_norms
from rsam_app.model.preprocess import normalise
from rsam_app.review.writing.documents import attention_document, prediction_document, rectangle_document
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError
from rsam_app.system.hardware import best_device
from rsam_app.system.precision import autocast, choose_precision


class NetworkInput(NamedTuple):
    """Network input of one image, or of a batch: `image` `([B,] 3, S, S)` uint8, the affine map `to_image`
    `([B,] 2, 3)` from its pixels to those of the image, and the image's width and height `extent` `([B,] 2)`."""

    image: Tensor
    to_image: Tensor
    extent: Tensor


class ReadImage(GetItem):
    """Reader of a sample's image, as in training and `rsam predict`. FiftyOne's own loader ignores EXIF orientation."""

    def __init__(self, side: int, field_mapping: dict[str, str] | None = None) -> None:
        self.side = side
        super().__init__(field_mapping=field_mapping)

    @property
    def required_keys(self) -> list[str]:
        """The sample fields that it needs."""
        return ["filepath"]

    def __call__(self, values: dict[str, Any]) -> NetworkInput:
        """Return the sample's image. Raises `UserError` if the file cannot be read."""
        return network_input(*read_image(Path(values["filepath"]), self.side), self.side)


def network_input(pixels: np.ndarray, displayed: tuple[int, int], side: int) -> NetworkInput:
    """Return `pixels` `(H, W, 3)` uint8 of an image of size `displayed` as input of a network with `side` pixels."""
    image, to_image = whole_image(pixels, side, displayed)
    extent = torch.tensor(displayed, dtype=torch.float32)
    return NetworkInput(torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(to_image), extent)


class RunModel(fom.EmbeddingsMixin, fom.LogitsMixin, fom.TorchModelMixin, fom.SupportsGetItem, fom.Model):
    """A run's classifier. Its results equal those of `rsam predict` up to rounding.

    `predict` and `predict_all` also take upright arrays `(H, W, 3)` uint8 and upright PIL images.
    """

    def __init__(self, model: AttentiveClassifier, device: torch.device, precision: str, rectangles: bool) -> None:
        self.config = None
        self.model, self.device, self.rectangles = fold_batch_norms(model).to(device), device, rectangles
        self.precision = choose_precision(precision, device)
        self.side = int(model.pretrained_cfg["input_size"][-1])
        self._using_gpu = device.type == "cuda"
        self._store_logits = self._preprocess = True
        self._embeddings: np.ndarray | None = None

    @classmethod
    def of_run(cls, path: Path, rectangles: bool, device: str | None) -> RunModel:
        """Load the model of the run folder `path`; see `review.load_model`."""
        run = RunFolder(path)
        pipeline = run.load_pipeline()
        model = network_of(run)
        if rectangles and pipeline.model.attention == "none":
            raise UserError(f"{run.path}: the model has no attention and so no rectangles. Load it without rectangles.")
        chosen = torch.device(device) if device else best_device()
        return cls(model, chosen, pipeline.train.precision, rectangles)

    @property
    def media_type(self) -> str:
        """The media type of its samples."""
        return "image"

    @property
    def has_logits(self) -> bool:
        """True; logits are stored unless `store_logits` is False."""
        return True

    @property
    def has_embeddings(self) -> bool:
        """True; the embedding is the input of the classification layer."""
        return True

    @property
    def ragged_batches(self) -> bool:
        """False: all inputs have the same size."""
        return False

    @property
    def preprocess(self) -> bool:
        """Whether `predict` takes images rather than network inputs."""
        return self._preprocess

    @preprocess.setter
    def preprocess(self, value: bool) -> None:
        self._preprocess = value

    def transforms(self, image: Any) -> Tensor:
        """Return the network input `(3, S, S)` uint8 of an upright image."""
        return self._input(image).image

    def build_get_item(self, field_mapping: dict[str, str] | None = None) -> ReadImage:
        """Return the reader for FiftyOne's loading processes."""
        return ReadImage(self.side, field_mapping)

    def predict(self, arg: Any) -> Any:
        """Return the labels of one image."""
        return self.predict_all([arg])[0]

    def predict_all(self, args: Any) -> list[Any]:
        """Return the labels of each image: a Classification, or with rectangles a dictionary of labels by name."""
        batch = self._batch(args)
        logits, rectangles, self._embeddings = self._run(batch)
        probabilities = logits.softmax(dim=1)
        best = probabilities.argmax(dim=1)
        names = [self.model.label_names[i] for i in best.tolist()]
        confidences = probabilities.gather(1, best[:, None])[:, 0].tolist()
        stored = logits.float().numpy() if self.store_logits else [None] * len(names)
        predictions = [
            fo.Classification.from_dict(prediction_document(*values))
            for values in zip(names, confidences, stored, strict=True)
        ]
        if not self.rectangles or rectangles is None:
            return predictions
        corners, boxes = relative_shapes(rectangles.numpy(), batch.extent.numpy())
        shapes = zip(names, confidences, corners.tolist(), boxes.tolist(), rectangles.tolist(), strict=True)
        return [
            {
                "prediction": prediction,
                "attention": fo.Detections.from_dict(attention_document(name, confidence, box, rectangle)),
                "rectangle": fo.Polylines.from_dict(rectangle_document(name, confidence, points)),
            }
            for prediction, (name, confidence, points, box, rectangle) in zip(predictions, shapes, strict=True)
        ]

    def get_embeddings(self) -> np.ndarray:
        """Return the embeddings `(B, D)` float32 of the last batch. Raises `ValueError` before the first."""
        if self._embeddings is None:
            raise ValueError("no images have been predicted yet")
        return self._embeddings

    def embed(self, arg: Any) -> np.ndarray:
        """Return the embedding `(1, D)` of one image."""
        return self.embed_all([arg])

    def embed_all(self, args: Any) -> np.ndarray:
        """Return the embeddings `(B, D)` of images."""
        self._embeddings = self._run(self._batch(args))[2]
        return self._embeddings

    def _run(self, batch: NetworkInput) -> tuple[Tensor, Tensor | None, np.ndarray]:
        """Return logits `(B, C)` float64, rectangles `(B, 5)` in image pixels and embeddings `(B, D)`, on the CPU."""
        with torch.inference_mode(), all_cores(), autocast(self.precision, self.device):
            inspected = self.model.inspect(normalise(batch.image, self.model, self.device))
            rectangles = inspected.output.rectangle
            if rectangles is not None:
                rectangles = geometry.transform(rectangles.float().cpu(), batch.to_image)
        return inspected.output.logits.double().cpu(), rectangles, inspected.embedding.float().cpu().numpy()

    def _batch(self, args: Any) -> NetworkInput:
        """Return a batch of what FiftyOne passes: batches of `ReadImage`, inputs of `transforms`, or images."""
        if isinstance(args, NetworkInput):
            return args
        items: Sequence[Any] = [args] if isinstance(args, np.ndarray) and args.ndim == 3 else list(args)
        return cast(NetworkInput, default_collate([self._input(item) for item in items]))

    def _input(self, item: Any) -> NetworkInput:
        if isinstance(item, NetworkInput):
            return item
        if isinstance(item, Tensor):  # from `transforms`, which loses the image's size
            side = float(self.side)
            return NetworkInput(item, torch.eye(3)[:2], torch.tensor([side, side]))
        pixels = np.asarray(item.convert("RGB") if hasattr(item, "convert") else item)
        if pixels.ndim == 2:
            pixels = np.stack([pixels] * 3, axis=2)
        return network_input(np.ascontiguousarray(pixels[..., :3]), (pixels.shape[1], pixels.shape[0]), self.side)
