"""Lists, which Python-Markdown indents by four columns and CommonMark by the width of the marker."""

from __future__ import annotations

import re

ITEM = re.compile(r"(?:[-*]|\d+\.) +")


def with_wide_lists(text: str) -> str:
    """The page with everything inside a list item indented by four columns, and an empty line after an item of several
    paragraphs."""
    lines: list[str] = []
    width, fenced, several = 0, False, False
    for line in text.split("\n"):
        if line.startswith("```"):
            fenced, width = not fenced, 0
        elif not fenced and (item := ITEM.match(line)):
            if several and lines[-1]:
                lines.append("")
            width, several = len(item[0]), False
        elif width and line.startswith(" " * width):
            several = several or not lines[-1]
            line = " " * 4 + line[width:]
        elif line and lines and not lines[-1]:
            width, several = 0, False  # a paragraph after the list
        lines.append(line)
    return "\n".join(lines)
