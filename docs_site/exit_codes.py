"""Page of the exit codes."""

from __future__ import annotations

import re

from docs_site.tables import plain, table
from rsam_app.cli import exit_codes


def codes() -> list[tuple[int, str]]:
    """Every exit code and its meaning, as `rsam_app.cli.exit_codes.main` describes them; smallest first."""
    listed = " ".join((exit_codes.main.__doc__ or "").split()).partition("Exit codes: ")[2].removesuffix(".")
    return sorted((int(code), meaning) for code, meaning in re.findall(r"(\d+) ([^;]+)(?:; |$)", listed))


def exit_codes_page() -> str:
    """The page."""
    rows = [(f"`{code}`", plain(meaning)) for code, meaning in codes()]
    about = "An error that you can fix is one or two lines on standard error, `rsam: MESSAGE`; `-v` adds the traceback."
    return f"# Exit codes\n\n{about}\n\n{table(('code', 'meaning'), rows)}"
