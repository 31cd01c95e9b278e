"""Fixtures shared by the tests of several packages."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

LONGEST = (
    "review/app/test_session.py",
    "workflow/test_demo.py",
    "training/test_several_machines.py",
    "workflow/test_whole_loop.py",
    "review/plugin/test_operators.py",
    "review/writing/test_concurrent_writes.py",
    "workflow/test_new_class.py",
    "review/test_own_dataset.py",
    "api/test_same_answers.py",
    "model/export/test_write.py",
    "workflow/test_compare.py",
    "workflow/test_rounds.py",
    "training/test_train.py",
    "model/test_families.py",
    "workflow/test_push.py",
    "workflow/test_adopt.py",
    "workflow/test_calibrate.py",
    "model/test_named_backbone.py",
    "faults/test_tampered_files.py",
    "faults/test_hub_answers.py",
)
"""Test files that take more than half a minute."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest files first: one that starts last keeps a single process busy, alone at the end."""
    places = {Path(__file__).parent.joinpath(name).resolve(strict=True): place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_configure() -> None:
    """Below `nohup`, let the commands that tests start hear the hang-ups that tests send them: what is ignored stays so
    in every child, what has a handler does not. The tests themselves go on."""
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda number, frame: None)


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The folder of real photographs, `RSAM_DATA`; without it the test is skipped, except in CI."""
    root = Path(os.environ.get("RSAM_DATA", "data")).resolve()
    if not (root / "CUB_200_2011" / "images.txt").exists():
        reason = f"no photographs below RSAM_DATA ({root})"
        if os.environ.get("RSAM_REQUIRE_PHOTOGRAPHS"):
            pytest.fail(reason)
        pytest.skip(reason)
    return root


FIFTYONE = pytest.StashKey[ModuleType]()
"""Where `fiftyone_module` leaves what it imported."""


@pytest.fixture(scope="session")
def fiftyone_module(pytestconfig: pytest.Config) -> ModuleType:
    """The real FiftyOne, with its own database and plugins folder for this test session."""
    folder = Path(tempfile.mkdtemp(prefix="rsam-tests-"))
    atexit.register(
        shutil.rmtree, folder, ignore_errors=True
    )  # registered first, so run last, after the server stopped
    for key in ("FIFTYONE_DATABASE_URI", "FIFTYONE_DATABASE_DIR"):
        os.environ.pop(key, None)
    os.environ.update(
        RSAM_DATABASE_DIR=str(folder / "database"),
        FIFTYONE_CONFIG_PATH=str(folder / "config.json"),
        FIFTYONE_DATABASE_NAME=f"rsam-tests-{os.getpid()}",
        FIFTYONE_PLUGINS_DIR=str(folder / "plugins"),
        FIFTYONE_DEFAULT_DATASET_DIR=str(folder / "datasets"),
        FIFTYONE_DO_NOT_TRACK="true",
        FIFTYONE_SHOW_PROGRESS_BARS="false",
    )
    (folder / "plugins").mkdir()
    from rsam_app.system.mongodb.connection import import_fiftyone

    pytestconfig.stash[FIFTYONE] = import_fiftyone()
    return pytestconfig.stash[FIFTYONE]


@pytest.fixture(scope="module", autouse=True)
def _no_dataset_left(pytestconfig: pytest.Config) -> Iterator[None]:
    """Delete what a file's tests leave in FiftyOne: which file is next in this process, and uses the same names, is
    decided by how fast the others run."""
    yield
    if FIFTYONE in pytestconfig.stash:
        pytestconfig.stash[FIFTYONE].delete_datasets("*")
