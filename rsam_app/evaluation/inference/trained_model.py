"""A trained model by itself: photographs in, answers out, without the dataset, the run's pipeline or FiftyOne."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from rsam_app.data.augmentation.random_view import whole_image
from rsam_app.data.records import Skipped
from rsam_app.evaluation.inference.answers import Answer
from rsam_app.evaluation.inference.model_runner import all_cores
from rsam_app.evaluation.inference.photographs import Decoded, Photograph, decode, name_of, several
from rsam_app.geometry import rectangles as geometry
from rsam_app.geometry.types import Box, Pixels, Rectangle
from rsam_app.model import AttentiveClassifier, load_model
from rsam_app.model.calibration import calibrated_probabilities
from rsam_app.model.fold_batch_norms import fold_batch_norms
from rsam_app.model.hub import hub_file
from rsam_app.model.known_classes import KnownClasses
from rsam_app.model.preprocess import normalise
from rsam_app.model.roll_up import Sure
from rsam_app.model.store import KNOWN_CLASSES, load_from_hub
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError
from rsam_app.system.hardware import available_cores, best_device
from rsam_app.system.precision import autocast, choose_precision

TOP = 5
"""Classes of an answer's `top`."""

LOCAL, HUB = "local-dir:", "hf-hub:"
"""timm's prefixes of a model's folder and of a model on the hub."""


class Loaded(NamedTuple):
    """A photograph on its way to the network: `view` `(S, S, 3)` uint8, the map `to_image` `(2, 3)` from its pixels to
    those of the photograph, whose `size` is (width, height)."""

    name: str
    view: Pixels
    to_image: np.ndarray
    size: tuple[int, int]


class TrainedModel:
    """A trained classifier on a device; load it with `load`.

    `batch_size` photographs go through the network at once.
    """

    def __init__(
        self,
        model: AttentiveClassifier,
        device: torch.device,
        precision: str = "auto",
        batch_size: int = 32,
        known: KnownClasses | None = None,
    ) -> None:
        self.network = fold_batch_norms(model).to(device)
        self.device, self.precision = device, choose_precision(precision, device)
        if batch_size < 1:
            raise UserError(f"batch_size: {batch_size} is below 1.")
        self.batch_size = batch_size
        self.side = int(model.pretrained_cfg["input_size"][-1])
        """Side of the network's square input, pixels."""
        self.known = known
        """The known classes that `unknown` is measured by; None if the run has none."""
        self.roll_up = model.roll_up
        """The taxonomy and threshold that `sure` comes from; None if the run has none."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the logits."""
        return self.network.label_names

    @overload
    def predict(self, photographs: Photograph) -> Answer: ...
    @overload
    def predict(self, photographs: list[Any]) -> list[Answer]: ...
    def predict(self, photographs: Photograph | Sequence[Photograph]) -> Answer | list[Answer]:
        """The answer about one photograph, or those about a list or a batch of them, in order.

        Takes what `Photograph` names. Raises `UserError` for the first that cannot be read; `stream` goes on.
        """
        listed = several(photographs)
        answers = []
        for answer in self.stream([photographs] if listed is None else listed):  # type: ignore[list-item]
            if isinstance(answer, Skipped):
                raise UserError(f"{answer.id}: {answer.reason}")
            answers.append(answer)
        return answers[0] if listed is None else answers

    def stream(self, photographs: Iterable[Photograph]) -> Iterator[Answer | Skipped]:
        """Yield the answer about each photograph, in order, while the next ones are being read; what cannot be read
        comes as `Skipped`. Takes the memory of a few batches, however many photographs there are."""
        numbered = enumerate(photographs, start=1)
        pool = ThreadPoolExecutor(available_cores(), initializer=_one_thread)
        waiting: deque[Future[Loaded | Skipped]] = deque()
        try:
            while True:
                ahead = itertools.islice(numbered, 3 * self.batch_size - len(waiting))
                waiting += (pool.submit(self._load, photograph, number) for number, photograph in ahead)
                if not waiting:
                    return
                batch = [waiting.popleft().result() for _ in range(min(self.batch_size, len(waiting)))]
                yield from self._answers(batch)
        finally:  # a caller that stops early does not wait for what is being read ahead
            pool.shutdown(wait=False, cancel_futures=True)

    def _load(self, photograph: Photograph, number: int) -> Loaded | Skipped:
        name = name_of(photograph, number)
        try:
            decoded: Decoded = decode(photograph, self.side)
        except UserError as error:
            path = Path(os.path.expanduser(name))
            return Skipped(path, str(error).removeprefix(f"{path}: ").removeprefix(f"{name}: "), name)
        view, to_image = whole_image(decoded.pixels, self.side, decoded.size)
        return Loaded(name, view, to_image, decoded.size)

    def _answers(self, batch: Sequence[Loaded | Skipped]) -> Iterator[Answer | Skipped]:
        loaded = [item for item in batch if isinstance(item, Loaded)]
        answered = iter(self._answer(loaded) if loaded else ())
        for item in batch:
            yield item if isinstance(item, Skipped) else next(answered)

    def _answer(self, loaded: Sequence[Loaded]) -> list[Answer]:
        views = torch.from_numpy(np.stack([item.view for item in loaded])).permute(0, 3, 1, 2)
        with torch.inference_mode(), all_cores(), autocast(self.precision, self.device):
            output, embedding = self.network.embed(normalise(views, self.network, self.device))
            rectangles: list[Rectangle | None] = [None] * len(loaded)
            boxes: list[Box | None] = [None] * len(loaded)
            if output.rectangle is not None:
                to_image = torch.from_numpy(np.stack([item.to_image for item in loaded]))
                rectangles, boxes = _in_image(geometry.transform(output.rectangle.float().cpu(), to_image), loaded)
        logits = output.logits.float().cpu()
        raw = logits.double().softmax(dim=1)
        calibrated = torch.from_numpy(calibrated_probabilities(logits.numpy(), self.network.temperature))
        shares, order = calibrated.topk(min(TOP, logits.shape[1]), dim=1)
        embeddings = embedding.float().cpu().numpy()
        unknown: list[float | None] = [None] * len(loaded)
        if self.known is not None:
            self.known.require_width(embeddings.shape[1])
            unknown = self.known.unknown_score(embeddings, logits.numpy()).tolist()
        sure: list[Sure | None] = [None] * len(loaded)
        if self.roll_up is not None:
            sure = self.roll_up(calibrated.numpy())
        answers = []
        for row, item in enumerate(loaded):
            names = [self.classes[index] for index in order[row].tolist()]
            top = tuple(zip(names, shares[row].tolist(), strict=True))
            answers.append(
                Answer(
                    image=item.name,
                    size=item.size,
                    label=names[0],
                    probability=top[0][1],
                    top=top,
                    rectangle=rectangles[row],
                    box=boxes[row],
                    confidence=float(raw[row].max()),
                    unknown=unknown[row],
                    sure=sure[row],
                    logits=logits[row].numpy(),
                    embedding=embeddings[row],
                )
            )
        return answers


def load(model: str | PathLike[str], device: str | None = None, batch_size: int = 32) -> TrainedModel:
    """The trained model of a run folder, of a saved model's folder, `local-dir:FOLDER`, or of the hub, `hf-hub:NAME`.

    `device` defaults to an accelerator if there is one. Raises `UserError` if there is no model, or none of RSAM's.
    """
    name = str(model)
    try:
        chosen = torch.device(device) if device else best_device()
    except RuntimeError as error:
        raise UserError(f"device: {device!r} is not a device of torch. Give cpu, cuda or mps.") from error
    if name.startswith(HUB):
        return _of_hub(name.removeprefix(HUB), chosen, batch_size)
    folder = Path(os.path.expanduser(name.removeprefix(LOCAL)))
    if (folder / "config.json").is_file():
        return TrainedModel(load_model(folder), chosen, batch_size=batch_size, known=_known_in(folder / KNOWN_CLASSES))
    return _of_run(RunFolder(folder), chosen, batch_size)


def _of_run(run: RunFolder, device: torch.device, batch_size: int) -> TrainedModel:
    precision, known = run.load_pipeline().train.precision, _known_in(run.known_classes)
    return TrainedModel(network_of(run), device, precision, batch_size, known)


def _of_hub(name: str, device: torch.device, batch_size: int) -> TrainedModel:
    network, known = load_from_hub(name), hub_file(name, KNOWN_CLASSES)
    return TrainedModel(network, device, batch_size=batch_size, known=_known_in(known) if known else None)


def _known_in(path: Path) -> KnownClasses | None:
    return KnownClasses.load(path) if path.is_file() else None


def network_of(run: RunFolder, second_look: bool | str | None = None) -> AttentiveClassifier:
    """The run's model, with the second look that its pipeline asks for, or `second_look` instead.

    Raises `UserError` if there is no model, or if it was trained without the second look.
    """
    wanted = second_look if second_look is not None else run.load_pipeline().model.second_look
    network = load_model(run.model)
    if wanted == "auto":
        return network
    if wanted and network.detail == 1:
        raise UserError(
            f"{run.path}: this model was trained without a second look.\n"
            "Train with `--set model.second_look=true`; such a model can also be evaluated without."
        )
    network.second_look = wanted
    return network


def _one_thread() -> None:
    torch.set_num_threads(1)  # as many threads read photographs as there are cores


def _in_image(rectangles: Tensor, loaded: Sequence[Loaded]) -> tuple[list[Rectangle | None], list[Box | None]]:
    """Each rectangle of `(N, 5)`, and its upright box clipped to the photograph."""
    size = torch.tensor([item.size for item in loaded], dtype=torch.float32)
    upright = geometry.bounding_boxes(rectangles)
    low = torch.minimum(upright[:, :2].clamp_min(0), size)
    high = torch.minimum((upright[:, :2] + upright[:, 2:]).clamp_min(0), size)
    boxes = torch.cat([low, high - low], dim=1).tolist()
    return [Rectangle(*values) for values in rectangles.tolist()], [(x, y, w, h) for x, y, w, h in boxes]
