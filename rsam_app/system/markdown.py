"""Names of others in Markdown that we write: text, never HTML, a link or a picture."""

from __future__ import annotations

import html
import re


def as_text(value: object) -> str:
    """One line of Markdown that shows the value itself."""
    return re.sub(r"([\\`\[\]])", r"\\\1", html.escape(" ".join(str(value).split()), quote=False))


def as_code(value: object) -> str:
    """A span of code that shows the value, on one line, its backticks as `'`."""
    return f"`{' '.join(str(value).replace('`', chr(39)).split()) or ' '}`"
