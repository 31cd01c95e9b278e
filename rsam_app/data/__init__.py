"""Card → records → batches."""

from __future__ import annotations

from rsam_app.data.dataset import Images, load_dataset, load_images
from rsam_app.data.describe import describe
from rsam_app.data.masks import read_mask
from rsam_app.data.records import SPLITS, UNLABELLED, Box, DataSet, Record, Skipped, by_id

__all__ = [
    "SPLITS",
    "UNLABELLED",
    "Box",
    "DataSet",
    "Images",
    "Record",
    "Skipped",
    "by_id",
    "describe",
    "load_dataset",
    "load_images",
    "read_mask",
]
