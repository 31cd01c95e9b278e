"""Files that annotation tools take in and give out: Label Studio's tasks, CVAT's `CVAT for images 1.1`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

from rsam_app.geometry.types import Rectangle
from rsam_app.review.annotation_tools.formats import Extent, from_cvat, from_label_studio, to_cvat, to_label_studio
from rsam_app.system.errors import UserError

CONTROL = "attention_target"
LABELING = (
    '<View><Image name="image" value="$image"/>'
    f'<RectangleLabels name="{CONTROL}" toName="image" canRotate="true"><Label value="target"/></RectangleLabels>'
    "</View>"
)
"""The labeling interface that a Label Studio project for these tasks needs."""


class Sent(NamedTuple):
    """An image to be annotated, with the rectangle that is shown first, if there is one."""

    record_id: str
    path: Path
    extent: Extent
    rectangle: Rectangle | None


class Returned(NamedTuple):
    """What came back for an image: the rectangles drawn there, and what could not be read."""

    record_id: str
    rectangles: tuple[Rectangle, ...]
    problem: str = ""


def label_studio_tasks(sent: Sequence[Sent]) -> str:
    """Tasks to import, their rectangles as predictions. The images are read by Label Studio's own server from this
    machine's disk, where it is started with local files on and the document root `/`."""
    tasks = []
    for item in sent:
        address = f"/data/local-files/?d={quote(str(item.path.resolve()).lstrip('/'))}"
        task: dict[str, Any] = {"data": {"image": address, "record_id": item.record_id}}
        if item.rectangle:
            value = {**to_label_studio(item.rectangle, item.extent), "rectanglelabels": ["target"]}
            region = {"type": "rectanglelabels", "from_name": CONTROL, "to_name": "image", "value": value}
            size = {"original_width": item.extent[0], "original_height": item.extent[1], "image_rotation": 0}
            task["predictions"] = [{"model_version": "rsam", "result": [{**region, **size}]}]
        tasks.append(task)
    return json.dumps(tasks, indent=1, ensure_ascii=False) + "\n"


def read_label_studio(path: Path) -> Iterator[Returned]:
    """What people submitted in a JSON export. Tasks that nobody submitted are left out; of several annotations of one
    the latest counts. Raises `UserError` where the file is no export."""
    try:
        tasks = json.loads(path.read_text(encoding="utf-8"))
        submitted = [(task["data"], _latest(task["annotations"])) for task in tasks]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: is no JSON export of Label Studio ({error!r}). Export the project as JSON."
        ) from error
    for data, annotation in submitted:
        if annotation is not None:
            yield _regions(str(data.get("record_id", data.get("image", "?"))), annotation)


def _latest(annotations: list[dict[str, Any]]) -> dict[str, Any] | None:
    kept = [a for a in annotations if not a.get("was_cancelled")]
    return max(kept, key=lambda a: str(a.get("updated_at", ""))) if kept else None


def _regions(record_id: str, annotation: dict[str, Any]) -> Returned:
    found: list[Rectangle] = []
    for region in annotation.get("result", []):
        if region.get("type") == "rectanglelabels":
            try:
                extent = (int(region["original_width"]), int(region["original_height"]))
                found.append(from_label_studio(region["value"], extent))
            except (ValueError, KeyError, TypeError) as error:
                return Returned(record_id, (), f"its rectangle cannot be read ({error})")
    return Returned(record_id, tuple(found))


def cvat_annotations(sent: Sequence[Sent]) -> str:
    """Annotations to upload to a CVAT task that holds the same images, named by their record ids."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    for number, item in enumerate(sent):
        size = {"width": str(item.extent[0]), "height": str(item.extent[1])}
        image = ElementTree.SubElement(root, "image", {"id": str(number), "name": item.record_id, **size})
        if item.rectangle:
            numbers = {name: f"{value:.4f}" for name, value in to_cvat(item.rectangle).items()}
            fixed = {"label": "target", "source": "auto", "occluded": "0", "z_order": "0"}
            ElementTree.SubElement(image, "box", {**fixed, **numbers})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def read_cvat(path: Path) -> Iterator[Returned]:
    """The boxes of each image in a `CVAT for images 1.1` export. Raises `UserError` where the file is none."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise UserError(f"{path}: is no CVAT export ({error}). Export the task as `CVAT for images 1.1`.") from error
    if root.tag != "annotations":
        raise UserError(f"{path}: begins with <{root.tag}>. Export the task as `CVAT for images 1.1`.")
    for image in root.iter("image"):
        name = image.get("name", "?")
        try:
            yield Returned(name, tuple(from_cvat(box.attrib) for box in image.iter("box")))
        except ValueError as error:
            yield Returned(name, (), f"its box cannot be read ({error})")
