"""The templates of all report pages, and their filters."""

from __future__ import annotations

import math

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from rsam_app.evaluation.report import headlines


def page_templates() -> Environment:
    """The environment that the pages are rendered in: escaped by default, and an unknown name is an error."""
    environment = Environment(
        loader=PackageLoader("rsam_app.evaluation.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["percent"] = headlines.percent
    environment.filters["degrees"] = lambda radians: f"{math.degrees(radians):.1f}°"
    environment.filters["words"] = lambda name: name.replace("_", " ")
    environment.filters["breakable"] = _breakable
    return environment


def _breakable(name: str) -> Markup:
    """A name, escaped, with optional line breaks after underscores."""
    return escape(name).replace("_", Markup("_<wbr>"))
