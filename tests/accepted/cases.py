"""Inputs that people really have, and what the product does with them: the rows of docs/accepted-input.md.

Each case makes its input in an empty folder, gives it to the code that reads such input, and returns what was said.
"""

from __future__ import annotations

import io
import math
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import timm
import torch
from PIL import Image

from rsam_app.config import Card, ModelConfig, load_pipeline
from rsam_app.data import load_dataset
from rsam_app.data.download.archives import is_archive, unpack
from rsam_app.data.left_out import left_out_lines
from rsam_app.geometry.types import Rectangle
from rsam_app.model import build_model
from rsam_app.review.annotation_tools.files import read_cvat, read_label_studio
from rsam_app.system.errors import UserError


class Case(NamedTuple):
    """One row of the table."""

    topic: str
    given: str
    outcome: Callable[[Path], str]
    """Makes the input in an empty folder, and returns what the product did with it."""


def what_it_does(case: Case, folder: Path) -> str:
    """The outcome of a case, made in an empty folder, without the folder's own name; a refusal begins with *refused*.

    A refusal must have one or two lines.
    """
    try:
        said = case.outcome(folder)
    except UserError as error:
        lines = str(error).splitlines()
        assert len(lines) <= 2, lines
        said = "*refused*: " + " ".join(lines)
    return said.replace(f"{folder}/", "").replace(str(folder), ".").replace(str(Path.cwd()), ".")


# ---- datasets


def paint(path: Path, seed: int = 0) -> None:
    """Write a small image of noise, in the format that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def two_classes(folder: Path, images: int = 12) -> Path:
    """A folder dataset of the classes auk and wren."""
    for n in range(images):
        for label in ("auk", "wren"):
            paint(folder / "photos" / label / f"{n:02}.png", 2 * n + (label == "auk"))
    return folder / "photos"


def read(folder: Path, layout: str = "folder", root: str = "photos", **card: Any) -> str:
    """Read a dataset and say what is used, what is left out and what was assumed."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    described = Card(name="birds", layout=layout, root=str(folder / root), max_broken_share=0.5, **card)  # type: ignore[arg-type]
    dataset = load_dataset(described)
    counts = ", ".join(f"{len(dataset.split(split))} {split}" for split in ("train", "val", "test"))
    lines = left_out_lines(dataset, described.root_path)
    told = [line for line in lines if "held out" not in line]
    return "; ".join([f"{len(dataset.records)} images of {', '.join(dataset.classes)} ({counts})", *told])


def with_file(name: str, write: Callable[[Path], object], **card: Any) -> Callable[[Path], str]:
    """The outcome of one more file in a folder dataset."""

    def outcome(folder: Path) -> str:
        path = two_classes(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
        return read(folder, **card)

    return outcome


def with_values(name: str, values: np.ndarray) -> Callable[[Path], str]:
    """The outcome of an image of these values."""

    def write(path: Path) -> None:
        if values.ndim == 3:
            cv2.imwrite(str(path), values)
        else:
            Image.fromarray(values).save(path)

    return with_file(f"auk/{name}", write)


RAMP = np.linspace(0, 1, 1200).reshape(30, 40)


def with_nan(values: np.ndarray) -> np.ndarray:
    """The values with one that is not a number."""
    broken = values.copy()
    broken[0, 0] = np.nan
    return broken


def truncate(path: Path) -> None:
    """Write the first half of an image file."""
    paint(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def in_folders(*names: str, **card: Any) -> Callable[[Path], str]:
    """The outcome of six images in each of these folders below the root."""

    def outcome(folder: Path) -> str:
        for k, name in enumerate(names):
            for n in range(6):
                paint(folder / "photos" / name / f"{n}.png", 10 * k + n)
        return read(folder, **card)

    return outcome


def manifest(*rows: str) -> Callable[[Path], str]:
    """The outcome of a manifest with these further rows, after the header and twelve good ones."""

    def outcome(folder: Path) -> str:
        good = []
        for n in range(12):
            paint(folder / f"{n:02}.png", n)
            good.append(f"{n:02}.png,{('auk', 'wren')[n % 2]},,,,")
        paint(folder / "edge.png", 99)
        (folder / "birds.csv").write_text("\n".join(["path,label,x,y,width,height", *good, *rows]), encoding="utf-8")
        return read(folder, "manifest", "birds.csv")

    return outcome


def linked(target: str, name: str) -> Callable[[Path], str]:
    """The outcome of a link below the root of a folder dataset, to a target relative to the root."""
    return with_file(name, lambda path: path.symlink_to(path.parents[len(Path(name).parts) - 1] / target))


def only_in_test(**card: Any) -> Callable[[Path], str]:
    """The outcome of a class that has images in the test split alone."""
    split_folders = [f"{split}/{name}" for split in ("train", "val", "test") for name in ("auk", "wren")]
    return in_folders(*split_folders, "test/gull", **card)


def at_root(root: str) -> Callable[[Path], str]:
    """The outcome of a card with this root."""

    def outcome(folder: Path) -> str:
        load_dataset(Card(name="birds", layout="folder", root=root))
        return "used"

    return outcome


# ---- archives


def archive(name: str, write: Callable[[Path], None]) -> Callable[[Path], str]:
    """The outcome of a downloaded file."""

    def outcome(folder: Path) -> str:
        write(folder / name)
        if not is_archive(folder / name):
            return "kept as a file"
        (folder / "into").mkdir()
        done = unpack(folder / name, folder / "into")
        files = sorted(p.relative_to(folder / "into").as_posix() for p in (folder / "into").rglob("*") if p.is_file())
        return f"unpacked: {', '.join(files)}" + (f"; {done.links} link left out" if done.links else "")

    return outcome


def write_zip(*names: str) -> Callable[[Path], None]:
    """Write a zip archive with files of these names."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as zipped:
            for name in names:
                zipped.writestr(name, b"x")

    return write


def write_tar(link: str) -> Callable[[Path], None]:
    """Write a gzipped tar archive of one file and a link to `link`."""

    def write(path: Path) -> None:
        with tarfile.open(path, "w:gz") as tar:
            info = tarfile.TarInfo("birds/a.jpg")
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
            info = tarfile.TarInfo("birds/b.jpg")
            info.type, info.linkname = tarfile.SYMTYPE, link
            tar.addfile(info)

    return write


# ---- models and settings


def network() -> torch.nn.Module:
    """A small pretrained network."""
    torch.manual_seed(1)
    return timm.create_model("test_resnet", num_classes=3)


def weights(name: str, content: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], str]:
    """The outcome of a weights file with this content, made from a network's tensors."""

    def outcome(folder: Path) -> str:
        torch.save(content(network().state_dict()), folder / name)
        loaded = build_model(ModelConfig(backbone="test_resnet", weights=str(folder / name), image_size=64), ("a", "b"))
        share = loaded.pretrained
        return f"{round(share['arrived'] * share['tensors'])} of {share['tensors']} tensors loaded"

    return outcome


def below(prefix: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """The tensors with a prefix before their names."""
    return lambda state: {prefix + name: values for name, values in state.items()}


def set_to(*overrides: str) -> Callable[[Path], str]:
    """The outcome of a pipeline with these `--set`."""

    def outcome(folder: Path) -> str:
        (folder / "birds.yaml").write_text("{name: birds, layout: folder, root: photos}")
        (folder / "p.yaml").write_text("dataset: birds.yaml\nmodel: {backbone: test_resnet, weights: none}\n")
        pipeline = load_pipeline(str(folder / "p.yaml"), list(overrides))
        build_model(pipeline.model, ("a", "b"))
        return "used"

    return outcome


# ---- annotations


def returned(name: str, content: str) -> Callable[[Path], str]:
    """The outcome of a file that comes back from CVAT (.xml) or Label Studio (.json)."""

    def outcome(folder: Path) -> str:
        (folder / name).write_text(content, encoding="utf-8")
        found = list((read_cvat if name.endswith(".xml") else read_label_studio)(folder / name))
        return "; ".join(
            one.problem
            or ", ".join([*map(in_words, one.rectangles), *(f"{shape}: not read" for shape in one.other_shapes)])
            for one in found
        )

    return outcome


def in_words(rectangle: Rectangle) -> str:
    """A rectangle in words."""
    degrees = round(math.degrees(rectangle.angle))
    return f"{rectangle.width:.0f} × {rectangle.height:.0f} at ({rectangle.cx:.0f}, {rectangle.cy:.0f}), {degrees}°"


def cvat(shape: str) -> str:
    """CVAT's file for one image of 240 × 160 pixels with a shape."""
    return f'<annotations><image id="0" name="a.jpg" width="240" height="160">{shape}</image></annotations>'


CASES = [
    Case(
        "Image files",
        "8-bit grey, palette, transparency, CMYK, EXIF rotation",
        with_file("auk/cmyk.jpg", lambda path: Image.new("CMYK", (40, 30)).save(path)),
    ),
    Case("Image files", "12-bit grey in a 16-bit PNG", with_values("deep.png", (RAMP * 4095).astype(np.uint16))),
    Case("Image files", "16-bit colours", with_values("deep.png", (np.dstack([RAMP] * 3) * 65535).astype(np.uint16))),
    Case("Image files", "float TIFF, any range", with_values("float.tif", (RAMP * 1e6).astype(np.float32))),
    Case("Image files", "float TIFF with NaN", with_values("nan.tif", with_nan(RAMP.astype(np.float32)))),
    Case("Image files", "a text file named .jpg", with_file("auk/a.jpg", lambda path: path.write_text("no image"))),
    Case("Image files", "an empty file", with_file("auk/a.png", Path.touch)),
    Case("Image files", "half a file", with_file("auk/a.png", truncate)),
    Case("Folders", "CLASS/image", in_folders("auk", "wren")),
    Case("Folders", "Train/CLASS and Test/CLASS", in_folders("Train/auk", "Train/wren", "Test/auk", "Test/wren")),
    Case(
        "Folders",
        "training, validation, testing",
        in_folders(*(f"{split}/{name}" for split in ("training", "validation", "testing") for name in ("auk", "wren"))),
    ),
    Case("Folders", "CLASS/train and CLASS/test", in_folders("auk/train", "auk/test", "wren/train", "wren/test")),
    Case("Folders", "a class named like a split", in_folders("auk", "wren", "Test")),
    Case(
        "Folders",
        "dev and valid beside train",
        in_folders(*(f"{split}/{name}" for split in ("train", "dev", "valid") for name in ("auk", "wren"))),
    ),
    Case(
        "Folders",
        "@eaDir, __MACOSX, Thumbs.db, ._ files of systems",
        with_file("@eaDir/auk/00.png", lambda path: (paint(path), path.parents[2].joinpath("Thumbs.db").touch())),
    ),
    Case("Folders", "a folder that the card ignores", with_file("drafts/00.png", paint, ignore=["drafts"])),
    Case("Folders", "one class", in_folders("auk")),
    Case("Folders", "an empty class folder", with_file("gull/.keep", Path.touch)),
    Case("Folders", "a class with test images only", only_in_test()),
    Case("Folders", "the same, and `untrained_classes: refuse`", only_in_test(untrained_classes="refuse")),
    Case("Folders", "a link from a class to the root", linked("", "auk/all")),
    Case("Folders", "a link that makes a class a second one", linked("auk", "gull")),
    Case("Folders", "photographs of a phone (.heic)", with_file("auk/a.heic", Path.touch)),
    Case("Paths", "`root: C:\\photos\\birds`", at_root("C:\\photos\\birds")),
    Case("Paths", "`root: https://example.org/birds.zip`", at_root("https://example.org/birds.zip")),
    Case("Paths", "`root: file:///gone/birds`", at_root("file:///gone/birds")),
    Case("Paths", "`root: ~nobody-here/birds`", at_root("~nobody-here/birds")),
    Case("Archives", "a zip without an ending", archive("download", write_zip("birds/a.jpg"))),
    Case("Archives", "a zip with backslashes", archive("a.zip", write_zip("birds\\a.jpg"))),
    Case("Archives", "a link to another member", archive("a.tgz", write_tar("a.jpg"))),
    Case("Archives", "a link that leads outside", archive("a.tgz", write_tar("../../etc/passwd"))),
    Case("Archives", "a path that leads outside", archive("a.zip", write_zip("../a.jpg"))),
    Case("Archives", "a .pth file", archive("a.pth", write_zip("archive/data.pkl"))),
    Case("Manifests", "a box outside of its image", manifest("edge.png,auk,300,200,40,40")),
    Case("Manifests", "a file named twice", manifest("00.png,auk,,,,")),
    Case("Manifests", "a box that reaches past the edge", manifest("edge.png,auk,30,20,40,40")),
    Case("Manifests", "an image that is not there", manifest("gone.png,auk,,,,")),
    Case("Weights", "a state dict", weights("a.pth", lambda state: state)),
    Case("Weights", "{'model_state_dict': …}", weights("a.pth", lambda state: {"model_state_dict": state})),
    Case("Weights", "Lightning, DDP, compiled: prefixes", weights("a.pth", below("model.module._orig_mod."))),
    Case("Weights", "fastai", weights("a.pth", lambda state: {"model": below("0.")(state), "opt": {}})),
    Case("Weights", "an empty dict", weights("a.pth", lambda state: {})),
    Case("Weights", "half of the tensors", weights("a.pth", lambda state: dict(list(state.items())[:30]))),
    Case(
        "Weights",
        "NaN",
        weights("a.pth", lambda state: {n: v * torch.nan if v.is_floating_point() else v for n, v in state.items()}),
    ),
    Case("Settings", "model.backbone=resnet19", set_to("model.backbone=resnet19")),
    Case("Settings", "model.backbone=timm/resnet18.a1_in1k", set_to("model.backbone=timm/resnet18.a1_in1k")),
    Case("Settings", "model.weights=gone.pth", set_to("model.weights=gone.pth")),
    Case("Settings", "model.backbone_args.num_classes=5", set_to("model.backbone_args.num_classes=5")),
    Case("Settings", "seed=4294967296", set_to("seed=4294967296")),
    Case("Settings", "train.epoch=3", set_to("train.epoch=3")),
    Case(
        "Annotations",
        "CVAT: a rotated box",
        returned("a.xml", cvat('<box label="t" xtl="20" ytl="20" xbr="60" ybr="40" rotation="30"/>')),
    ),
    Case("Annotations", "CVAT: a polygon", returned("a.xml", cvat('<polygon points="20,20;60,20;60,40;20,40"/>'))),
    Case("Annotations", "CVAT: an ellipse", returned("a.xml", cvat('<ellipse cx="3"/>'))),
    Case(
        "Annotations",
        "CVAT for video",
        returned("a.xml", '<annotations><track id="0"><box frame="0"/></track></annotations>'),
    ),
]
"""All rows, by topic."""
