from __future__ import annotations

from pathlib import Path

import pytest

from rsam_app.config import Card, ModelConfig
from rsam_app.config.load import find_pipeline
from rsam_app.data.layouts import read_listing
from rsam_app.model.pretrained import pretrained_weights
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError
from rsam_app.system.paths import misread

GIVEN = [
    ("C:\\photos\\birds", "write it as this system names it, e.g. /mnt/c/photos/birds in WSL."),
    ("D:/photos", "e.g. /mnt/d/photos in WSL."),
    ("photos\\birds", "Paths here have slashes: write photos/birds."),
    ("file:///photos/birds", "A file is given without `file://`: write /photos/birds."),
    ("https://example.org/birds", "It is an address: download it first"),
    ("s3://bucket/birds", "It is an address: download it first"),
    ("~nobody-of-that-name/birds", "There is no user 'nobody-of-that-name': write the whole path."),
]


@pytest.mark.parametrize(("given", "expected"), GIVEN)
def test_what_is_no_path_here_is_explained_wherever_it_is_missing(given, expected, monkeypatch) -> None:
    card = Card(name="birds", layout="folder", root=given)
    for missing in (
        lambda: read_listing(card),
        lambda: pretrained_weights(ModelConfig(weights=given), 2),
        lambda: find_pipeline(given),
        lambda: find_pipeline(f"{given}/birds.yaml"),
        lambda: RunFolder(Path(given)).load_pipeline(),
        lambda: RunFolder(Path(given))._create(),
    ):
        with pytest.raises(UserError) as raised:
            missing()
        assert expected.removesuffix(".").removesuffix(" in WSL") in str(raised.value)
    monkeypatch.setenv("RSAM_DATA", given)
    with pytest.raises(UserError) as raised:
        read_listing(Card(name="birds", layout="folder", root="birds"))
    assert expected in str(raised.value)


@pytest.mark.parametrize("given", ["photos/birds", "/photos", "~/photos", "./a b", "a:b"])
def test_paths_are_not_explained(given) -> None:
    assert misread(given) == ""


def test_the_home_folder_is_meant_by_a_tilde(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunFolder(Path("~/runs/a")).path == tmp_path / "runs" / "a"
    assert Card(name="a", layout="folder", root="~/photos").root_path == tmp_path / "photos"
    assert ModelConfig(weights="~/a.pth").weights_file == tmp_path / "a.pth"
    (tmp_path / "p.yaml").write_text("dataset: birds\n")
    assert find_pipeline("~/p.yaml") == (tmp_path / "p.yaml").resolve()


def test_a_link_to_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    assert misread(tmp_path / "link") == f" It is a link to {tmp_path / 'gone'}, which does not exist."
    assert misread(tmp_path / "missing") == ""
