"""Page of the Python API: every public name, whose signature and docstring MkDocs reads from the source."""

from __future__ import annotations

import rsam_app


def names() -> dict[str, str]:
    """The module that defines each public name but the version."""
    return {
        name: "rsam_app.system.errors" if name == "UserError" else getattr(rsam_app, name).__module__
        for name in rsam_app.__all__
        if name != "__version__"
    }


def python_page() -> str:
    """The page."""
    sections = [
        f"::: {module}.{name}\n    options:\n      heading: rsam_app.{name}\n" for name, module in names().items()
    ]
    about = (
        "`import rsam_app as rsam` gives these names, and `rsam_app.__version__`; other modules may change. With"
        " examples: [From Python](../python.md)."
    )
    return "\n".join([f"# Python API\n\n{about}\n", *sections])
