"""Progress bars in a terminal, and none without one."""

from __future__ import annotations

import io

from rich.console import Console

from rsam_app.system.progress import Reporter


def test_each_step_has_a_bar_of_its_own() -> None:
    reporter, shown = Reporter(), io.StringIO()
    reporter.console = Console(file=shown, force_terminal=True, width=100)
    with reporter.bars() as advance:
        advance("reading images", 3, 7)
        advance("comparing", 0, 0)
        advance("reading images", 7, 7)
    text = shown.getvalue()
    assert "reading images" in text and "7/7" in text and "comparing" in text


def test_without_a_terminal_there_are_no_bars() -> None:
    reporter, shown = Reporter(), io.StringIO()
    reporter.console = Console(file=shown, force_terminal=False)
    with reporter.bars() as advance:
        advance("reading images", 3, 7)
    assert "reading" not in shown.getvalue()


def test_a_file_name_cannot_command_the_terminal() -> None:
    reporter, shown = Reporter(), io.StringIO()
    reporter.console = Console(file=shown, force_terminal=True, width=100, highlight=False)
    reporter.say("a\x1b[2Jb\x1b]0;title\x07c\x9b31md\x7fe\rf grün [bold]日本\nsecond line")
    assert shown.getvalue() == "a�[2Jb�]0;title�c�31md�e�f grün [bold]日本\nsecond line\n"
