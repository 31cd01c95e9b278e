"""The table of accepted input holds: each case does what docs/accepted-input.md says."""

from __future__ import annotations

import pytest

from tests.accepted.cases import CASES
from tests.accepted.table import DOCUMENT, row

LINES = DOCUMENT.read_text(encoding="utf-8").splitlines()


@pytest.fixture(autouse=True)
def restored_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cases choose a cache folder of their own, and start from no data folder; afterwards the old ones hold."""
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.delenv("RSAM_DATA", raising=False)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.topic}: {case.given}")
def test_the_outcome_is_the_documented_one(case):
    assert row(case) in LINES


def test_the_page_has_no_other_rows():
    documented = [line for line in LINES if line.startswith("| ") and not line.startswith("| given")]
    assert len(documented) == len(CASES)
