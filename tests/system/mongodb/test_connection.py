"""The choice of the database, and FiftyOne connected to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from rsam_app.system.errors import UserError
from rsam_app.system.mongodb.connection import Database, configured_uri, import_fiftyone, provide, without_password

REPORT = "from rsam_app.system.mongodb.connection import provide; print(provide().kind, provide().uri)"


def report(tmp_path: Path, code: str = REPORT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new process with its own database folder."""
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith("FIFTYONE_") and k != "RSAM_PRIVATE_DATABASE_URI"
    }
    own = {"RSAM_DATABASE_DIR": str(tmp_path / "database"), "FIFTYONE_CONFIG_PATH": str(tmp_path / "config.json")}
    return subprocess.run(
        [sys.executable, "-c", code], env={**inherited, **own, **variables}, capture_output=True, text=True, check=False
    )


def test_a_configured_database_comes_first(fiftyone_module: ModuleType, tmp_path: Path) -> None:
    uri = provide().uri
    if uri is None:
        pytest.skip("FiftyOne runs a server of its own here: there is no address to configure")
    (tmp_path / "config.json").write_text(json.dumps({"database_uri": "mongodb://nobody.invalid"}))
    assert report(tmp_path, FIFTYONE_DATABASE_URI=uri).stdout.split() == ["configured", uri]
    (tmp_path / "config.json").write_text(json.dumps({"database_uri": uri}))
    assert report(tmp_path).stdout.split() == ["configured", uri]
    patient = f"{uri.partition('/?')[0]}/?serverSelectionTimeoutMS=4000"
    assert report(tmp_path, FIFTYONE_DATABASE_URI=patient).stdout.split() == ["configured", patient]
    assert not (tmp_path / "database").exists(), "a server was started though one is configured"


def test_the_database_is_asked_without_importing_fiftyone(fiftyone_module: ModuleType, tmp_path: Path) -> None:
    if (uri := provide().uri) is None:
        pytest.skip("FiftyOne runs a server of its own here")
    dataset = fiftyone_module.Dataset()
    code = (
        "import sys; from rsam_app.system.mongodb.connection import opened\n"
        f"with opened() as database: print(database['datasets'].count_documents({{'name': {dataset.name!r}}}))\n"
        "print('fiftyone' in sys.modules)"
    )
    named = {"FIFTYONE_DATABASE_NAME": os.environ["FIFTYONE_DATABASE_NAME"]}
    try:
        assert report(tmp_path, code, FIFTYONE_DATABASE_URI=uri, **named).stdout.split() == ["1", "False"]
        (tmp_path / "config.json").write_text(json.dumps({"database_name": "another"}))
        assert report(tmp_path, code, FIFTYONE_DATABASE_URI=uri).stdout.split() == ["0", "False"]
    finally:
        dataset.delete()


def test_our_own_address_is_not_mistaken_for_the_users(fiftyone_module: ModuleType) -> None:
    if provide().kind == "private":
        assert os.environ["FIFTYONE_DATABASE_URI"] == provide().uri
        assert configured_uri()[0] is None


def test_a_configured_database_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    uri = "mongodb://ann:secret@127.0.0.1:1/?serverSelectionTimeoutMS=200"
    code = "from rsam_app.system.mongodb.connection import provide\nprovide()"
    run = report(tmp_path, code, FIFTYONE_DATABASE_URI=uri)
    assert "UserError: FIFTYONE_DATABASE_URI=mongodb://…@127.0.0.1" in run.stderr
    assert "secret" not in run.stderr.split("UserError")[-1] and "cannot be None" not in run.stderr


@pytest.mark.parametrize("content", ["{broken", "[]"])
def test_a_broken_configuration_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.delenv("FIFTYONE_DATABASE_URI", raising=False)
    monkeypatch.setenv("FIFTYONE_CONFIG_PATH", str(tmp_path / "config.json"))
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json"):
        configured_uri()


def test_fiftyone_is_connected_and_does_not_track(fiftyone_module: ModuleType) -> None:
    dataset = fiftyone_module.Dataset("Vögel, 2 Arten", overwrite=True)
    dataset.add_samples([fiftyone_module.Sample(filepath="/ein Bild.jpg")])
    assert fiftyone_module.load_dataset("Vögel, 2 Arten").count() == 1
    dataset.delete()
    assert fiftyone_module.config.do_not_track
    assert fiftyone_module.config.database_name.startswith("rsam-tests-")
    assert import_fiftyone() is fiftyone_module


def test_only_the_main_process_may_import_fiftyone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(RuntimeError, match="main process"):
        import_fiftyone()


def test_passwords_are_not_printed() -> None:
    assert without_password("mongodb+srv://ann:p%40ss@host/db?x=a@b") == "mongodb+srv://…@host/db?x=a@b"
    assert without_password("mongodb://host:1") == "mongodb://host:1"
    assert "p%40ss" not in str(Database("configured", "7.0.1", uri="mongodb://ann:p%40ss@host"))
