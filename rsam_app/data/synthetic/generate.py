"""Generate the demo's dataset on disk: images, masks, a manifest for a card, and a list of the planted errors."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import cv2
import numpy as np

from rsam_app.data.synthetic.photograph import Photograph, Studio
from rsam_app.data.synthetic.planting import PlannedImage, Planted, PlantedImage, plan_images
from rsam_app.data.synthetic.species import SPECIES
from rsam_app.system.files import write_atomically
from rsam_app.system.progress import Progress

MANIFEST_HEADER = ("path", "label", "split", "x", "y", "width", "height", "mask", "group")


def generate(
    folder: Path,
    seed: int = 0,
    images_per_species: int = 120,
    species: int = 8,
    on_image: Progress | None = None,
) -> Planted:
    """Draw a fine-grained dataset into `folder`; the same arguments give the same bytes.

    Writes `images/*.jpg`, `masks/*.png` (1 on the beetle, else 0), `planted.json` and, last, `manifest.csv` (boxes in
    pixels): a folder with a manifest is complete. Calls `on_image(done, total)` after every image. Raises `ValueError`
    for fewer than 4 or more than 8 species, or fewer than 10 images of each.
    """
    if not 4 <= species <= len(SPECIES) or images_per_species < 10:
        raise ValueError(
            f"species must be 4 to {len(SPECIES)} ({species}), images_per_species at least 10 ({images_per_species})"
        )
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "masks").mkdir(exist_ok=True)
    (folder / "manifest.csv").unlink(missing_ok=True)
    studio = Studio(seed)
    kinds = {s.name: s for s in SPECIES}
    plans = plan_images(seed, images_per_species, species)
    truth: dict[str, PlantedImage] = {}
    for number, plan in enumerate(plans):
        photograph = studio.photograph(kinds[plan.species], plan.flowers, np.random.default_rng([seed, 2, number]))
        truth[plan.id] = _write(folder, plan, photograph)
        if on_image:
            on_image(number + 1, len(plans))
    planted = Planted(seed, truth)
    planted.write(folder / "planted.json")
    _write_manifest(folder / "manifest.csv", planted)
    return planted


def mask_path(record_id: str) -> str:
    """Return the path of an image's mask, relative to the dataset's folder."""
    return f"masks/{Path(record_id).stem}.png"


def _write(folder: Path, plan: PlannedImage, photograph: Photograph) -> PlantedImage:
    _encode(folder / plan.id, photograph.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 91])
    _encode(folder / mask_path(plan.id), photograph.mask.astype(np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    height, width = photograph.mask.shape
    return PlantedImage(
        split=plan.split,
        species=plan.species,
        label=plan.label,
        width=width,
        height=height,
        habitat=photograph.habitat,
        box=photograph.box,
        rectangle=photograph.rectangle,
        flowers=photograph.flowers,
    )


def _encode(path: Path, image: np.ndarray, options: list[int]) -> None:
    # Not imwrite, which returns False on a full disk instead of raising.
    path.write_bytes(cv2.imencode(path.suffix, image, options)[1].tobytes())


def _write_manifest(path: Path, planted: Planted) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(MANIFEST_HEADER)
    for record_id, image in planted.images.items():
        box, group = (f"{v:g}" for v in image.box), "pink flowers" if image.flowers else "no flowers"
        writer.writerow([record_id, image.label, image.split, *box, mask_path(record_id), group])
    write_atomically(path, text.getvalue())
