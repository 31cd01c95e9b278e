"""`rsam doctor` on good and bad machines."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from rsam_app.workflow import doctor
from rsam_app.workflow.doctor import Check, run_checks


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_a_machine_that_runs_the_tests_passes(fiftyone_module: ModuleType, tmp_path: Path) -> None:
    checks = run_checks(tmp_path / "not" / "there" / "yet")
    assert [check for check in checks if not check.ok] == []
    found = by_name(checks)
    assert list(found) == [
        "Python",
        "packages",
        "torch",
        "accelerator",
        "machine",
        "disk for runs",
        "disk for the database",
        "database",
        "RSAM_DATA",
    ]
    assert sys.executable in found["Python"].detail
    assert metadata.version("torch") in found["packages"].detail
    assert "bfloat16" in found["accelerator"].detail
    assert found["database"].detail.endswith("responds")


def test_a_missing_database_and_missing_data_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = "from rsam_app.workflow import doctor\nfor c in (doctor._database(), doctor._data_folder()): print(c)"
    monkeypatch.setenv("RSAM_DATA", str(tmp_path / "no such folder"))
    uri = "mongodb://ann:secret@127.0.0.1:1/?serverSelectionTimeoutMS=200"
    monkeypatch.setenv("FIFTYONE_DATABASE_URI", uri)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    database, data = run.stdout.splitlines()
    assert "ok=False" in database and "FIFTYONE_DATABASE_URI=mongodb://…@127.0.0.1" in database
    assert "secret" not in run.stdout
    assert "ok=False" in data and "no such folder" in data and "Set RSAM_DATA" in data


def test_a_full_disk_fails_with_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "MIN_DISK", 10**9)
    disks = list(doctor._disks(tmp_path))
    assert [check.ok for check in disks] == [False, False]
    assert "--run" in disks[0].remedy and "RSAM_DATABASE_DIR" in disks[1].remedy


def test_a_package_out_of_range_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["numpy>=999", "no-such-package-of-ours>=1", "pytest<1 ; extra == 'dev'"]
    monkeypatch.setattr(metadata, "requires", lambda _: asked)
    check = doctor._packages()
    assert not check.ok and "make setup" in check.remedy
    assert f"numpy {metadata.version('numpy')} is not >=999" in check.detail
    assert "no-such-package-of-ours is not installed" in check.detail
    assert "pytest" not in check.detail


def test_a_torchvision_that_does_not_match_torch_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    check = doctor._torch()
    assert not check.ok and "nms does not exist" in check.detail and "make setup" in check.remedy


@pytest.mark.parametrize(("ok", "remedy"), [(True, "do this"), (False, "")])
def test_only_a_failed_check_has_a_remedy(ok: bool, remedy: str) -> None:
    with pytest.raises(ValueError, match="remedy"):
        Check("x", ok, "", remedy)
