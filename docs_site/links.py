"""Links of a page of the repository, at that page's place in the site."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]

CODE_OR_LINK = re.compile(
    r"(?P<code>^```.*?^```|`[^`\n]+`)|(?P<open>!?\[(?P<label>[^\]]*)\]\()(?P<url>[^)\s]+)\)", re.M | re.S
)

NAMED_PAGE = re.compile(r"\bdocs/[\w-]+\.md\b|\bREADME(?:\.md)?\b")


def with_site_links(text: str, source: str, places: Mapping[str, str]) -> str:
    """The page with every relative link pointing to the target's place in the site.

    `source` is the page's path in the repository, and a key of `places`. A link to a file that is not in the site
    becomes its text; a link to no file stays, so that MkDocs reports it.
    """

    def replaced(match: re.Match[str]) -> str:
        url = match["url"]
        if match["code"] or url.startswith("#") or ":" in url:
            return match[0]
        path, hash_, anchor = url.partition("#")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if target not in places:
            return match["label"] if (REPOSITORY / target).exists() else match[0]
        here = posixpath.dirname(places[source])
        return f"{match['open']}{posixpath.relpath(places[target], here or '.')}{hash_}{anchor})"

    return CODE_OR_LINK.sub(replaced, text)


def with_linked_pages(text: str, place: str, places: Mapping[str, str]) -> str:
    """A generated page at `place` in the site, with a link on every name of a page: `docs/NAME.md`, or README."""

    def linked(match: re.Match[str]) -> str:
        target = places["README.md" if match[0].startswith("README") else match[0]]
        return f"[{match[0]}]({posixpath.relpath(target, posixpath.dirname(place))})"

    return NAMED_PAGE.sub(linked, text)
