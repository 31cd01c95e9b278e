"""Names that are valid on every file system."""

from __future__ import annotations

import string
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rsam_app.export.names import RESERVED, UniqueNames, class_folders, file_name

hostile = st.text(alphabet=st.characters(), max_size=300) | st.sampled_from(
    ["", ".", "..", "../..", "a/b", "a\\b", "CON", "con.txt", "x.", " x ", "NUL ", "cafe\u0301", "caf\u00e9", "\ud800"]
)


def allowed_everywhere(name: str) -> bool:
    """Whether a name is valid on Windows, macOS and Linux, by Microsoft's rules and POSIX."""
    return (
        0 < len(name.encode()) <= 255
        and not set(name) & set('<>:"/\\|?*')
        and not any(ord(c) < 32 for c in name)
        and name[-1] not in ". "
        and not name.startswith(".")
        and name.split(".")[0].strip().upper() not in RESERVED
    )


@settings(deadline=None)
@given(st.lists(hostile, max_size=12))
def test_class_folders_are_allowed_and_differ_ignoring_case(labels: list[str]) -> None:
    folders = class_folders(labels)
    assert set(folders) == set(labels)
    assert all(allowed_everywhere(name) for name in folders.values())
    assert len({unicodedata.normalize("NFC", name).lower() for name in folders.values()}) == len(folders)


@settings(deadline=None)
@given(st.lists(hostile.filter(bool), max_size=12))
def test_file_names_are_plain_and_differ_ignoring_case(stems: list[str]) -> None:
    names = UniqueNames()
    made = [file_name(Path("somewhere") / f"{stem.replace('/', '-')}.jpg", names) for stem in stems]
    assert all(allowed_everywhere(name) for name in made)
    assert all(set(name) <= set(string.ascii_letters + string.digits + "._-") for name in made)
    assert len({name.lower() for name in made}) == len(made)


def test_valid_class_names_are_unchanged() -> None:
    plain = ["001.Black_footed_Albatross", "Grünfink", "chat à poil", "日本", "a-b (c) & d's"]
    assert class_folders(plain) == {name: name for name in plain}
    assert class_folders(["a_b", "a/b", "A_b"]) == {"A_b": "A_b", "a_b": "a_b-2", "a/b": "a_b-3"}


def test_many_equal_names_stay_unique_and_quick() -> None:
    names = UniqueNames()
    made = [names.take("image", ".jpg") for _ in range(20_000)]
    assert made[:3] == ["image.jpg", "image-2.jpg", "image-3.jpg"]
    assert len(set(made)) == 20_000
    assert names.take("image-3", ".jpg") != "image-3.jpg"


def test_an_image_without_an_image_suffix_gets_that_of_its_content(tmp_path: Path) -> None:
    path = tmp_path / "photo.data"
    Image.new("RGB", (4, 4)).save(path, format="PNG")
    assert file_name(path, UniqueNames()) == "photo.png"
    assert file_name(Path("photo.JPG"), UniqueNames()) == "photo.JPG"


@pytest.mark.parametrize(
    ("stem", "name"),
    [("héron cendré", "heron_cendre.jpg"), ("日本", "image.jpg"), ("CON", "_CON.jpg"), (".x", "x.jpg")],
)
def test_file_names_stay_near_the_original(stem: str, name: str) -> None:
    assert file_name(Path(f"{stem}.jpg"), UniqueNames()) == name
