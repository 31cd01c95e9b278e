"""The wheel is the product: what it holds, and its commands in an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rsam_app.config import REPOSITORY

SOURCES = ("rsam_app", "datasets", "pipelines", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (REPOSITORY / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPOSITORY / name, source / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(REPOSITORY / name, source)
    pip(["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(source)])
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel is installed in, without its dependencies."""
    folder = tmp_path_factory.mktemp("site")
    pip(["install", "--no-deps", "--no-index", "--target", str(folder), str(wheel)])
    return folder


def pip(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def rsam(installed: Path, folder: Path, *arguments: str, check: int = 0) -> str:
    """Run the installed command in a folder; return all that it prints."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RSAM_")} | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-P", "-m", "rsam_app", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == check, done.stderr
    return done.stdout + done.stderr


def test_it_holds_every_card_and_pipeline_and_all_other_files_of_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    shipped = {
        f"rsam_app/config/shipped/{folder}/{file.name}"
        for folder in ("datasets", "pipelines")
        for file in (REPOSITORY / folder).glob("*.yaml")
    }
    assert len(shipped) > 10 and shipped <= held
    package = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "rsam_app").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert package <= held
    assert not [name for name in held if name.startswith(("tests", "benchmarks", "docs"))]


def test_an_installed_command_finds_cards_and_pipelines_from_any_folder(installed, tmp_path):
    for named in ("pet_mobilenetv2", "pipelines/pet_mobilenetv2.yaml"):
        said = rsam(installed, tmp_path, "config", "show", named)
        assert f"dataset: {installed}/rsam_app/config/shipped/datasets/oxford_iiit_pet.yaml\n" in said
    said = rsam(installed, tmp_path, "check", "pet_mobilenetv2", "--set", "model.weights=none", check=2)
    assert "card oxford_iiit_pet: root data/oxford-iiit-pet does not exist" in said
    assert "rsam download oxford_iiit_pet" in said
    assert "Did you mean 'cub_mobilenetv2'" in rsam(installed, tmp_path, "config", "show", "cub_mobilenet", check=2)


def test_own_files_in_the_working_folder_come_first(installed, tmp_path):
    (tmp_path / "datasets").mkdir()
    own = tmp_path / "datasets" / "oxford_iiit_pet.yaml"
    own.write_text("name: mine\nlayout: folder\nroot: pets\n")
    assert f"dataset: {own.resolve()}\n" in rsam(installed, tmp_path, "config", "show", "pet_mobilenetv2")
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "pet_mobilenetv2.yaml").write_text("dataset: oxford_iiit_pet\ntrain: {epochs: 77}\n")
    for named in ("pet_mobilenetv2", "pipelines/pet_mobilenetv2.yaml"):
        assert "train.epochs: 77 " in rsam(installed, tmp_path, "config", "show", named)


def test_an_own_folder_is_initialised_and_checked_from_the_wheel(installed, tmp_path):
    from PIL import Image

    for label in ("bolt", "nut"):
        (tmp_path / "parts" / label).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (40, 40), (10 * i, len(label), 9)).save(tmp_path / "parts" / label / f"{i}.png")
    assert "next: rsam check parts" in rsam(installed, tmp_path, "init", "parts")
    assert "24" in rsam(installed, tmp_path, "check", "parts", "--set", "model.weights=none")
