"""The folder that MkDocs reads: the repository's pages at their place in the site, and the generated reference."""

from __future__ import annotations

import shutil
from pathlib import Path

from docs_site.commands import command_pages
from docs_site.exit_codes import exit_codes_page
from docs_site.keys import card_page, pipeline_page
from docs_site.links import REPOSITORY, with_linked_pages, with_site_links
from docs_site.lists import with_wide_lists
from docs_site.predictions import predictions_page
from docs_site.python_api import python_page

AT_THE_ROOT = {
    "README.md": "overview.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages beside the folder `docs`, and their place in the site."""
FOLDERS = {"docs": "", "benchmarks/results": "results/"}
"""Folders of pages and pictures, and their place in the site."""

STYLE = "tables.css"


def assemble(folder: Path) -> list[str]:
    """Write every page into `folder`, which is emptied first; returns the paths of the pages inside it, sorted."""
    shutil.rmtree(folder, ignore_errors=True)
    places = site_places()
    for source, place in places.items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if place.endswith(".md"):
            text = (REPOSITORY / source).read_text(encoding="utf-8")
            target.write_text(with_wide_lists(with_site_links(text, source, places)), encoding="utf-8")
        else:
            shutil.copyfile(REPOSITORY / source, target)
    shutil.copyfile(REPOSITORY / "docs_site" / STYLE, folder / STYLE)
    for place, text in generated_pages().items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(with_linked_pages(text, place, places), encoding="utf-8")
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.md"))


def site_places() -> dict[str, str]:
    """The place in the site of every page and picture of the repository, both as relative paths."""
    places = dict(AT_THE_ROOT)
    for folder, place in FOLDERS.items():
        for file in sorted((REPOSITORY / folder).rglob("*")):
            if file.suffix in (".md", ".png", ".gif", ".svg"):
                places[file.relative_to(REPOSITORY).as_posix()] = (
                    place + file.relative_to(REPOSITORY / folder).as_posix()
                )
    return places


def generated_pages() -> dict[str, str]:
    """The pages that the code describes itself in, by their place in the site."""
    return {
        **command_pages(),
        "reference/pipeline.md": pipeline_page(),
        "reference/card.md": card_page(),
        "reference/predictions.md": predictions_page(),
        "reference/exit-codes.md": exit_codes_page(),
        "reference/python.md": python_page(),
    }
