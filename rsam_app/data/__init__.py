"""Datasets: from a card to checked records, and from records to batches."""

from __future__ import annotations

from rsam_app.data.dataset import Images, list_images, load_dataset, load_images
from rsam_app.data.images.masks import read_mask
from rsam_app.data.records import SPLITS, UNLABELLED, Dataset, Record, Skipped, by_id
from rsam_app.geometry.types import Box

__all__ = [
    "SPLITS",
    "UNLABELLED",
    "Box",
    "Dataset",
    "Images",
    "Record",
    "Skipped",
    "by_id",
    "list_images",
    "load_dataset",
    "load_images",
    "read_mask",
]
