from __future__ import annotations

import random
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.layouts.official import cells, structures
from scipy.io import loadmat, savemat

from rsam_app.config import Card
from rsam_app.data import load_images
from rsam_app.data.layouts.formats.matlab import read_variables
from rsam_app.data.layouts.formats.matlab_level5 import LARGEST_VARIABLE
from rsam_app.system.errors import UserError

CLASSES = ["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012"]
CORNERS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
SHAPE_OF_STRUCTURES = b"\x05\0\0\0\x08\0\0\0\x01\0\0\0\x03\0\0\0"
"""The element that says 1 x 3."""


def cars(count: int = 3) -> np.ndarray:
    return structures(
        [
            {**dict(zip(CORNERS, (1, 1, 40, 300), strict=True)), "class": 1 + n % 2, "fname": f"{n:05d}.jpg"}
            for n in range(1, count + 1)
        ]
    )


@pytest.fixture
def release(tmp_path: Path, paint: Callable[..., Path]) -> Path:
    savemat(tmp_path / "cars_meta.mat", {"class_names": cells(CLASSES).T})
    for n in range(1, 4):
        paint(tmp_path / "cars_train" / f"{n:05d}.jpg")
    return tmp_path


@pytest.mark.parametrize("compressed", [False, True])
def test_every_kind_of_variable_reads_as_scipy_reads_it(tmp_path, compressed) -> None:
    variables: dict[str, Any] = {
        "labels": np.arange(1, 300, dtype=np.uint16)[None],
        "column": np.arange(5.0)[:, None],
        "one": np.array([[7]], dtype=np.uint8),
        "logical": np.array([[True, False]]),
        "text": "ünïcode and more",
        "names": cells(["n02085620-Chihuahua/a.jpg", "x", "n02085620/b.jpg"]),
        "nothing": np.empty((0, 0)),
    }
    savemat(tmp_path / "a.mat", variables, do_compression=compressed)
    expected = loadmat(tmp_path / "a.mat", squeeze_me=True)
    for name, values in zip(variables, read_variables(tmp_path / "a.mat", *variables), strict=True):
        assert values.tolist() == np.atleast_1d(expected[name]).tolist(), name


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("count", [1, 5])
def test_structures_read_as_scipy_reads_them(tmp_path, compressed, count) -> None:
    savemat(tmp_path / "a.mat", {"annotations": cars(count)}, do_compression=compressed)
    expected = np.atleast_1d(loadmat(tmp_path / "a.mat", squeeze_me=True)["annotations"])
    read = read_variables(tmp_path / "a.mat", "annotations")[0]
    assert len(read) == count
    for car, other in zip(read, expected, strict=True):
        assert car == {name: other[name] for name in other.dtype.names}


def test_the_bytes_of_big_endian_machines_and_utf_16_are_read(tmp_path) -> None:
    matrix = struct.pack(">II", 6, 8) + struct.pack(">II", 4, 0) + struct.pack(">IIii", 5, 8, 1, 2)
    matrix += struct.pack(">HH", 1, 1) + b"t\0\0\0"
    matrix += struct.pack(">II", 17, 4) + "né".encode("utf-16-be") + bytes(4)
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(">H", 0x0100) + b"MI"
    (tmp_path / "a.mat").write_bytes(header + struct.pack(">II", 14, len(matrix)) + matrix)
    assert read_variables(tmp_path / "a.mat", "t")[0].tolist() == ["né"]


def _mutations(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield damaged copies: cut, with flipped bytes, or with a length, type or shape replaced."""
    draws = random.Random(seed)
    for number in range(count):
        damaged = bytearray(content)
        if number % 4 == 0:
            del damaged[draws.randrange(len(damaged)) :]
        elif number % 4 == 1:
            place = draws.randrange(32, len(damaged) // 4) * 4
            damaged[place : place + 4] = struct.pack("<I", draws.choice([0, 1, 7, 255, 1 << 16, 1 << 31, 2**32 - 1]))
        else:
            for _ in range(draws.choice([1, 2, 8])):
                damaged[draws.randrange(len(damaged))] = draws.randrange(256)
        yield bytes(damaged)


def _card(root: Path) -> Card:
    return Card(name="cars", layout="stanford_cars", root=str(root), splits={"train": "train"}, max_broken_share=1)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("file", ["cars_train_annos.mat", "cars_meta.mat"])
def test_no_damage_ends_in_anything_but_a_dataset_or_a_message_that_names_the_file(release, file, compressed) -> None:
    savemat(release / "cars_train_annos.mat", {"annotations": cars()}, do_compression=compressed)
    savemat(release / "cars_meta.mat", {"class_names": cells(CLASSES).T}, do_compression=compressed)
    whole = (release / file).read_bytes()
    refused = 0
    for damaged in _mutations(whole, 100, seed=17):
        (release / file).write_bytes(damaged)
        try:
            load_images(_card(release))
        except UserError as error:
            refused += 1
            assert str(release) in str(error)
    assert refused > 50


def test_lengths_that_no_file_can_have_are_refused(release) -> None:
    path = release / "cars_train_annos.mat"
    savemat(path, {"annotations": cars()})
    whole = path.read_bytes()
    at = whole.index(SHAPE_OF_STRUCTURES)
    for shape in ((1, 2**31 - 1), (2**31 - 1, 2**31 - 1), (-1, -3), (0, 3)):
        path.write_bytes(whole[: at + 8] + struct.pack("<ii", *shape) + whole[at + 16 :])
        with pytest.raises(UserError, match=r"cars_train_annos\.mat: is not a whole MATLAB file"):
            load_images(_card(release))


def test_a_variable_that_unpacks_without_bound_is_refused(tmp_path) -> None:
    savemat(tmp_path / "a.mat", {"a": np.zeros((1, LARGEST_VARIABLE + 1), np.uint8)}, do_compression=True)
    assert (tmp_path / "a.mat").stat().st_size < LARGEST_VARIABLE >> 8
    with pytest.raises(UserError, match="more than 256 MiB"):
        read_variables(tmp_path / "a.mat", "a")


def test_matlab_7_3_is_named(tmp_path) -> None:
    (tmp_path / "a.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(400))
    with pytest.raises(UserError, match=r"a\.mat: is a MATLAB 7\.3 file"):
        read_variables(tmp_path / "a.mat", "a")


def test_the_command_ends_with_exit_code_2(release, tmp_path) -> None:
    """Also for the type that made SciPy's compiled reader crash: structures of a type that is none."""
    path = release / "cars_train_annos.mat"
    savemat(path, {"annotations": np.zeros((1, 3))})
    whole = path.read_bytes()
    flags = whole.index(struct.pack("<II", 6, 8)) + 8
    path.write_bytes(whole[:flags] + b"\xa3" + whole[flags + 1 :])
    (tmp_path / "card.yaml").write_text(
        f"name: cars\nlayout: stanford_cars\nroot: {release}\nsplits: {{train: train}}\nlicence: x\n"
    )
    (tmp_path / "p.yaml").write_text(
        f"dataset: {tmp_path / 'card.yaml'}\nmodel: {{backbone: resnet10t, weights: none, image_size: 32}}\n"
    )
    command = [sys.executable, "-m", "rsam_app", "train", str(tmp_path / "p.yaml"), "--run", str(tmp_path / "run")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "cars_train_annos.mat: is not a whole MATLAB file of level 5" in ended.stderr
    assert "Traceback" not in ended.stderr
