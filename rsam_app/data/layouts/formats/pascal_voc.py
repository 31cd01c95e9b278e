"""Pascal VOC annotation files: XML with one `object` for each object in an image."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from rsam_app.data.layouts.listing import inclusive_box
from rsam_app.geometry.types import Box
from rsam_app.system.errors import UserError

LARGEST_ANNOTATION = 1_000_000
"""Bytes; the releases' files have about a thousand."""


def voc_boxes(path: Path) -> tuple[Box, ...]:
    """Read the boxes of one Pascal VOC file, in continuous pixels; VOC counts pixels from 1 and includes the last.

    Raises `UserError` for malformed XML, a DOCTYPE (it could define entities that grow without bound), or an empty box.
    """
    try:
        if path.stat().st_size > LARGEST_ANNOTATION:
            raise UserError(f"{path}: larger than {LARGEST_ANNOTATION:,} bytes, too much for boxes. Restore the file.")
        # As text, so that no other encoding can hide a DOCTYPE from the check.
        text = path.read_text(encoding="utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise UserError(f"{path}: has a document type declaration, which annotations do not need. Remove it.")
        objects = ElementTree.fromstring(text).findall("object")
        return tuple(_edges(o) for o in objects)
    except (OSError, ValueError, TypeError, ElementTree.ParseError) as error:
        raise UserError(f"{path}: is not a Pascal VOC annotation ({error}). Restore the file, or remove it.") from error


def _edges(annotated: ElementTree.Element) -> Box:
    corners = (annotated.findtext(f"bndbox/{name}", default="") for name in ("xmin", "ymin", "xmax", "ymax"))
    return inclusive_box(*map(float, corners))
