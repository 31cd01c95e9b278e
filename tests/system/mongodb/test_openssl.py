"""Reading the machine's package sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from rsam_app.system.errors import UserError
from rsam_app.system.mongodb.openssl import Source, apt_sources, archives, fetch_libraries

ONE_LINE = """
# deb https://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/other.gpg] https://third.example/apt bookworm main # a comment
deb-src https://mirror.example/debian bookworm main
deb https://mirror.example/debian bookworm main contrib
deb\thttps://mirror.example/debian-security bookworm-security main
"""

DEB822 = """# a comment
Types: deb deb-src
URIs: https://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/archive.gpg

Enabled: no
Types: deb
URIs: https://off.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: mirror+file:/etc/apt/mirrors/list
Suites: bookworm
Components:
 main
 contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
"""


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_one_line_sources(etc: Path) -> None:
    (etc / "sources.list").write_text(ONE_LINE)
    (etc / "sources.list.d" / "old.list.disabled").write_text("deb https://gone.example/debian bookworm main\n")
    third = Source("https://third.example/apt", "bookworm", ("main", ""), "/usr/share/keyrings/other.gpg")
    found = apt_sources(etc)
    assert found[0] == third
    assert [(s.uri, s.suite) for s in found[1:]] == [
        ("https://mirror.example/debian", "bookworm"),
        ("https://mirror.example/debian-security", "bookworm-security"),
    ]
    own = archives(found, "bookworm")
    assert own[0].uri == "https://mirror.example/debian", "the distribution's own archive comes before third parties"
    assert own[0].line("bullseye") == "deb https://mirror.example/debian bullseye main\n"


def test_deb822_sources(etc: Path) -> None:
    (etc / "sources.list.d" / "debian.sources").write_text(DEB822)
    own = archives(apt_sources(etc), "bookworm")
    assert [(s.uri, s.signed_by) for s in own] == [
        ("https://mirror.example/debian", "/usr/share/keyrings/archive.gpg"),
        ("mirror+file:/etc/apt/mirrors/list", None),
    ]
    expected = "deb [signed-by=/usr/share/keyrings/archive.gpg] https://mirror.example/debian bullseye main\n"
    assert own[0].line("bullseye") == expected


def test_an_unknown_library_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"libmystery\.so\.3.*\n.*FIFTYONE_DATABASE_URI"):
        fetch_libraries(["libmystery.so.3"], tmp_path / "lib")
