"""fastai's `fine_tune` as its tutorials use it: head first, then everything, one-cycle, rates by layer group."""

from __future__ import annotations

from typing import Any

import torch
from fastai.vision.all import (
    ImageDataLoaders,
    Learner,
    Normalize,
    Resize,
    aug_transforms,
    params,
    set_seed,
)
from problem import MEAN, STD, Problem


def main() -> None:
    problem = Problem.given()
    set_seed(problem.seed, reproducible=True)
    paths = [path for path, _ in problem.train]
    loaders = ImageDataLoaders.from_lists(
        ".",
        paths,
        [label for _, label in problem.train],
        valid_pct=0.02,
        seed=problem.seed,
        item_tfms=Resize(round(problem.side * 1.5)),
        batch_tfms=[*aug_transforms(size=problem.side, min_scale=0.75), Normalize.from_stats(MEAN, STD, cuda=False)],
        bs=problem.batch,
        num_workers=0,
        device=torch.device("cpu"),
    )
    model: Any = problem.network()
    head = model.get_classifier()
    body = torch.nn.ModuleList(child for child in model.children() if child is not head)
    learner = Learner(loaders, model, splitter=lambda _: [params(body), params(head)])
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(max(1, problem.epochs - 1))  # one epoch of the head comes first
        test = loaders.test_dl(problem.test)
        probabilities = learner.get_preds(dl=test)[0]
    vocabulary = list(loaders.vocab)
    problem.save([vocabulary[index] for index in probabilities.argmax(dim=1).tolist()])


if __name__ == "__main__":
    main()
