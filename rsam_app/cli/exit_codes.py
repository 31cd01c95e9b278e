"""Exit codes of the commands, their error messages, and the end of the launch's other processes."""

from __future__ import annotations

import os
import sys
import traceback

from rsam_app.cli.application import Output, app
from rsam_app.cli.placeholders import fill_placeholders
from rsam_app.cli.streams import prepare_streams
from rsam_app.cli.system_refusals import refusal
from rsam_app.cli.utf8 import print_any_text, use_utf8
from rsam_app.system.distributed import end_launch, leave_launch, resume_command
from rsam_app.system.errors import UserError
from rsam_app.system.extras import extra_of, missing_extra
from rsam_app.system.stop_signals import stop_as_by_ctrl_c

BEYOND_LIMIT = 3
"""The command is done, and what it measured is beyond a limit that the user set."""


def main() -> None:
    """Run a command. Exit codes: 0 done; 2 the user must change something; 3 done, and the result is beyond a limit
    that the user set; 130 stopped by Ctrl-C, SIGTERM or SIGHUP; 1 a bug, or a process of the launch was killed."""
    stop_as_by_ctrl_c()
    prepare_streams()
    use_utf8()
    print_any_text()
    try:
        _run_command()
    except UserError as error:
        if Output.verbose:
            traceback.print_exc()
        _fail(fill_placeholders(str(error), Output.arguments), 2)
    except ModuleNotFoundError as error:
        extra = extra_of(error)
        if extra is None:
            end_launch(traceback.format_exc(), 1, patience=3)
            raise
        _fail(str(missing_extra(extra, f"`rsam {' '.join(sys.argv[1:2])}`")), 2)
    except KeyboardInterrupt:
        _fail("stopped", 130)
    except Exception as error:
        if type(error).__name__ == "Interrupted":
            _fail(f"stopped, with a checkpoint; resume with `{resume_command()}`", 130)
        if message := refusal(error):
            _fail(message, 2)
        if _lost_database(error):
            reason = str(error).split(", Timeout:")[0]
            _fail(f"the database ended or is out of reach ({reason}).\nRerun: it continues where it stopped.", 2)
        end_launch(traceback.format_exc(), 1, patience=3)
        raise


def _lost_database(error: Exception) -> bool:
    pymongo = sys.modules.get("pymongo.errors")
    return pymongo is not None and isinstance(error, pymongo.ConnectionFailure)


def _run_command() -> None:
    try:
        app(standalone_mode=True)
    except SystemExit as end:
        if not end.code:
            leave_launch()
        # typer turns Ctrl-C into an exit code, which would end this process without notice to the others
        if end.__context__ is not None and isinstance(end.__context__.__cause__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise


def _fail(message: str, code: int) -> None:
    end_launch(f"rsam: {message}", code, patience=1)
    if int(os.environ.get("RANK", "0")) == 0:
        print(f"rsam: {message}", file=sys.stderr)
    sys.stderr.flush()
    sys.exit(code)
