"""Hugging Face's Trainer as in its image classification example: random crops and mirroring, AdamW, linear decay."""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from problem import MEAN, STD, Photographs, Problem
from torch import Tensor, nn
from torchvision import transforms
from transformers import Trainer, TrainingArguments, set_seed


class Classifier(nn.Module):
    """A network with the loss that the Trainer asks of its models."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Logits `(B, classes)`, and the loss if labels `(B,)` are given."""
        logits = self.network(pixel_values)
        loss = {} if labels is None else {"loss": nn.functional.cross_entropy(logits.float(), labels)}
        return loss | {"logits": logits}


def photographs(items: list[tuple[str, int]], side: int, training: bool) -> Photographs:
    """Photographs as the example crops them."""
    crop: list[Any] = [transforms.Resize(side), transforms.CenterCrop(side)]
    if training:
        crop = [transforms.RandomResizedCrop(side), transforms.RandomHorizontalFlip()]
    return Photographs(items, transforms.Compose([*crop, transforms.ToTensor(), transforms.Normalize(MEAN, STD)]))


def collate(batch: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
    """A batch by the names of the model's arguments."""
    images, labels = zip(*batch, strict=True)
    return {"pixel_values": torch.stack(images), "labels": torch.tensor(labels)}


def main() -> None:
    problem = Problem.given()
    set_seed(problem.seed)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=problem.epochs,
            learning_rate=problem.learning_rate,
            per_device_train_batch_size=problem.batch,
            per_device_eval_batch_size=64,
            bf16=True,
            use_cpu=True,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=problem.seed,
            remove_unused_columns=False,
        )
        training = photographs(problem.train, problem.side, True)
        trainer = Trainer(Classifier(problem.network()), arguments, collate, train_dataset=training)
        trainer.train()
        test = photographs(problem.unlabelled, problem.side, False)
        predictions = trainer.predict(test).predictions
    problem.save((predictions[0] if isinstance(predictions, tuple) else predictions).argmax(axis=1))


if __name__ == "__main__":
    main()
