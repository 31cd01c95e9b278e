"""The extras of this package: which installs what, and the message for one that is missing."""

from __future__ import annotations

import importlib.util

from rsam_app.system.errors import UserError

MODULES = {
    "train": ("accelerate", "albumentations", "sklearn", "matplotlib", "jinja2", "tensorboard"),
    "review": ("fiftyone", "pymongo", "bson", "hypercorn", "requests", "starlette"),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
}
"""Modules by the extra that installs them; those that every installation has are not listed."""

COMMANDS = {
    "review": ("demo", "run", "label", "review", "apply", "annotate", "export", "import-fiftyone"),
    "train": ("train", "evaluate", "compare", "simulate", "select", "select-first", "label", "locate"),
}
"""Commands by the extra that they cannot do without; others ask for one when they come to need it."""

_EXTRA_OF = {module: extra for extra, modules in MODULES.items() for module in modules}


def require_for_command(command: str) -> None:
    """Raise `UserError` if the extra that a command of `rsam` cannot do without is not installed."""
    for extra, commands in COMMANDS.items():
        if command in commands:
            require_extra(extra, f"`rsam {command}`")


def is_installed(extra: str) -> bool:
    """Whether the extra's main packages are there; imports none of them."""
    return all(importlib.util.find_spec(module) is not None for module in MODULES[extra])


def require_extra(extra: str, what: str) -> None:
    """Raise `UserError` if the extra that `what`, such as a command, needs is not installed."""
    if not is_installed(extra):
        raise missing_extra(extra, what)


def missing_extra(extra: str, what: str) -> UserError:
    """Return the error for an extra that `what` needs and that is not installed."""
    return UserError(f"{what} needs the extra `{extra}`, which is not installed.\nRun: pip install 'rsam-app[{extra}]'")


def extra_of(error: ImportError) -> str | None:
    """Return the extra that would install the module that an import did not find; None if none does."""
    return _EXTRA_OF.get((error.name or "").partition(".")[0])
