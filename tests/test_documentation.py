"""The documentation names what the code has."""

from __future__ import annotations

import re

from rsam_app.config import REPOSITORY

VARIABLE = re.compile(r"\bRSAM_[A-Z][A-Z_]*[A-Z]\b")


def test_every_environment_variable_is_on_one_page():
    code = [
        *(REPOSITORY / "rsam_app").rglob("*.py"), *(REPOSITORY / "tests").rglob("*.py"),
        *(REPOSITORY / "benchmarks").rglob("*.py"), *(REPOSITORY / ".ci").iterdir(), REPOSITORY / "Makefile",
    ]  # fmt: skip
    used = {name for file in code for name in VARIABLE.findall(file.read_text(encoding="utf-8"))}
    page = (REPOSITORY / "docs" / "environment.md").read_text(encoding="utf-8")
    assert set(VARIABLE.findall(page)) == used
    assert {"RSAM_DATA", "RSAM_CACHE_GIB", "RSAM_WHO"} <= used


def test_every_page_is_reachable_from_the_readme_or_another_page():
    pages = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *(REPOSITORY / "docs").glob("*.md")]
    linked = {
        (page.parent / target).resolve()
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+\.md)", page.read_text(encoding="utf-8"))
    }
    assert {page for page in pages[2:] if page.resolve() not in linked} == set()
    assert {target for target in linked if not target.exists()} == set()
