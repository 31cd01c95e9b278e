"""What `rsam predict` is measured against: timm's model and transform as its documentation shows them.

    python plain_predictions.py BACKBONE < PATHS > CLASSES

The network runs in float32, without compilation, on batches of 32 from PyTorch's loader with a process per core.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import timm
import torch
from problem import Photographs
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torch.utils.data import DataLoader


def main() -> None:
    model = timm.create_model(sys.argv[1], num_classes=50).eval()
    settings: dict[str, Any] = resolve_data_config({}, model=model)  # type: ignore[no-untyped-call]
    photographs = Photographs([(path, 0) for path in sys.stdin.read().splitlines()], create_transform(**settings))
    with torch.inference_mode():
        for images, _ in DataLoader(photographs, 32, num_workers=len(os.sched_getaffinity(0))):
            print(*model(images).argmax(dim=1).tolist(), sep="\n")


if __name__ == "__main__":
    main()
