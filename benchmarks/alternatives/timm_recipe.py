"""Fine-tuning with timm's own loader, augmentation, optimizer and schedule; bfloat16 and channels last."""

from __future__ import annotations

import torch
from problem import MEAN, STD, Photographs, Problem
from timm.data.transforms_factory import create_transform
from timm.optim._optim_factory import create_optimizer_v2
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch.nn import functional
from torch.utils.data import DataLoader


def photographs(items: list[tuple[str, int]], side: int, training: bool) -> Photographs:
    """Photographs through timm's transform for training, or for evaluation."""
    augment = "rand-m9-mstd0.5" if training else None
    return Photographs(items, create_transform(side, is_training=training, mean=MEAN, std=STD, auto_augment=augment))


def main() -> None:
    problem = Problem.given()
    torch.manual_seed(problem.seed)
    model = problem.network().to(memory_format=torch.channels_last)
    loader = DataLoader(photographs(problem.train, problem.side, True), problem.batch, shuffle=True, drop_last=True)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=problem.learning_rate, weight_decay=0.05)
    updates = len(loader) * problem.epochs
    schedule = CosineLRScheduler(optimizer, t_initial=updates, warmup_t=len(loader) // 2, t_in_epochs=False)
    update = 0
    for _ in range(problem.epochs):
        model.train()
        for images, labels in loader:
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(images.contiguous(memory_format=torch.channels_last))
            functional.cross_entropy(logits.float(), labels, label_smoothing=0.1).backward()
            optimizer.step()
            optimizer.zero_grad()
            update += 1
            schedule.step_update(update)
    model.eval()
    predicted = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for images, _ in DataLoader(photographs(problem.unlabelled, problem.side, False), 64):
            predicted += model(images.contiguous(memory_format=torch.channels_last)).argmax(dim=1).tolist()
    problem.save(predicted)


if __name__ == "__main__":
    main()
