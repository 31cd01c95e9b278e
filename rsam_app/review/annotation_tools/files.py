"""Files of annotation tools: Label Studio's tasks and exports, and CVAT's `CVAT for images 1.1`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

from rsam_app.geometry.types import Rectangle
from rsam_app.review.annotation_tools.formats import (
    Extent,
    from_cvat,
    from_cvat_polygon,
    from_label_studio,
    from_label_studio_polygon,
    to_cvat,
    to_label_studio,
)
from rsam_app.system.errors import UserError
from rsam_app.system.json_files import read_json

CONTROL, LABEL_CONTROL, TARGET = "attention_target", "ground_truth", "target"


def labeling_interface(classes: Sequence[str]) -> str:
    """The labeling interface that a Label Studio project needs for these tasks: one rectangle, and one of `classes`."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", value="$image")
    rectangles = ElementTree.SubElement(view, "RectangleLabels", name=CONTROL, toName="image", canRotate="true")
    ElementTree.SubElement(rectangles, "Label", value=TARGET)
    choices = {"name": LABEL_CONTROL, "toName": "image", "choice": "single", "layout": "select"}
    choice = ElementTree.SubElement(view, "Choices", choices)
    for name in classes:
        ElementTree.SubElement(choice, "Choice", value=name)
    return ElementTree.tostring(view, encoding="unicode")


def cvat_labels(classes: Sequence[str]) -> str:
    """The labels that a CVAT task needs for these annotations, as JSON for the constructor's *Raw* tab."""
    boxes = {"name": TARGET, "type": "rectangle", "attributes": []}
    return json.dumps(
        [boxes, *({"name": name, "type": "tag", "attributes": []} for name in classes)], ensure_ascii=False
    )


LABEL_STUDIO_SHAPES: dict[str, Callable[[Mapping[str, Any], Extent], Rectangle]] = {
    "rectanglelabels": from_label_studio,
    "rectangle": from_label_studio,
    "polygonlabels": from_label_studio_polygon,
    "polygon": from_label_studio_polygon,
}
"""By type of a region, what reads it. A control tag without labels, such as `<Rectangle>`, has a type of its own."""
LABEL_STUDIO_WITHOUT_SHAPE = ("choices", "datetime", "labels", "number", "rating", "relation", "taxonomy", "textarea")
"""Types of a region that say something about a shape or the image; `labels` repeats the shape that it names."""
CVAT_SHAPES: dict[str, Callable[[Mapping[str, Any]], Rectangle]] = {"box": from_cvat, "polygon": from_cvat_polygon}
CVAT_WITHOUT_SHAPE = ("tag",)


class SentImage(NamedTuple):
    """An image to annotate, and the rectangle and the label shown first, if any."""

    record_id: str
    path: Path
    extent: Extent
    rectangle: Rectangle | None
    label: str | None


class ReturnedImage(NamedTuple):
    """An image's rectangles from an export, and what could not be read."""

    record_id: str
    rectangles: tuple[Rectangle, ...]
    problem: str = ""
    extent: Extent | None = None
    """Size of the image that they were drawn on, if the file gives it."""
    other_shapes: tuple[str, ...] = ()
    """Names of shapes that are neither a rectangle nor a polygon."""
    labels: tuple[str, ...] = ()
    """What the image was labelled; of a CVAT image, all its tags."""


def label_studio_tasks(images: Sequence[SentImage]) -> str:
    """Return tasks to import into Label Studio; rectangles are predictions.

    Label Studio's server reads the images from this machine's disk: it must serve local files with the document root
    `/`.
    """
    tasks = []
    for image in images:
        url = f"/data/local-files/?d={quote(str(image.path.resolve()).lstrip('/'))}"
        task: dict[str, Any] = {"data": {"image": url, "record_id": image.record_id}}
        if shown := _regions(image):
            task["predictions"] = [{"model_version": "rsam", "result": shown}]
        tasks.append(task)
    return json.dumps(tasks, indent=1, ensure_ascii=False) + "\n"


def _regions(image: SentImage) -> list[dict[str, Any]]:
    """What Label Studio shows first of an image: its rectangle and its label."""
    regions: list[dict[str, Any]] = []
    if image.rectangle:
        value = {**to_label_studio(image.rectangle, image.extent), "rectanglelabels": [TARGET]}
        region = {"type": "rectanglelabels", "from_name": CONTROL, "to_name": "image", "value": value}
        size = {"original_width": image.extent[0], "original_height": image.extent[1], "image_rotation": 0}
        regions.append({**region, **size})
    if image.label:
        value = {"choices": [image.label]}
        regions.append({"type": "choices", "from_name": LABEL_CONTROL, "to_name": "image", "value": value})
    return regions


def read_label_studio(path: Path) -> Iterator[ReturnedImage]:
    """Yield the submitted images of a JSON export; of several annotations of a task, the latest one.

    Polygons become the smallest rectangle around them. Raises `UserError` if the file is not an export.
    """
    try:
        tasks = read_json(path)
        annotated = [(_record_id(task["data"]), _latest(task["annotations"])) for task in tasks]
        returned = [_read_regions(record_id, annotation) for record_id, annotation in annotated if annotation]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: is not a JSON export of Label Studio ({error!r}). Export the project as JSON."
        ) from error
    yield from returned


def _record_id(data: dict[str, Any]) -> str:
    return str(data.get("record_id", data.get("image", "?")))


def _latest(annotations: list[dict[str, Any]]) -> dict[str, Any] | None:
    submitted = [a for a in annotations if not a.get("was_cancelled")]
    return max(submitted, key=lambda a: str(a.get("updated_at", "")), default=None)


def _read_regions(record_id: str, annotation: dict[str, Any]) -> ReturnedImage:
    rectangles: list[Rectangle] = []
    extent, others, labels = None, [], []
    for region in annotation.get("result") or []:
        kind = str(region.get("type"))
        if kind == "choices" and region.get("from_name") == LABEL_CONTROL:
            labels += [str(name) for name in (region.get("value") or {}).get("choices") or ()]
        if kind not in LABEL_STUDIO_SHAPES:
            others += [] if kind in LABEL_STUDIO_WITHOUT_SHAPE else [kind]
            continue
        try:
            if region.get("image_rotation"):
                raise ValueError(f"the image is turned by {region['image_rotation']}° there; turn it back")
            extent = (int(region["original_width"]), int(region["original_height"]))
            rectangles.append(LABEL_STUDIO_SHAPES[kind](region["value"], extent))
        except KeyError as error:
            return ReturnedImage(record_id, (), f"its {kind} cannot be read ({error} is missing)")
        except (ValueError, TypeError, OverflowError, AttributeError) as error:
            return ReturnedImage(record_id, (), f"its {kind} cannot be read ({error})")
    return ReturnedImage(record_id, tuple(rectangles), "", extent, tuple(others), tuple(labels))


def cvat_annotations(images: Sequence[SentImage]) -> str:
    """Return annotations to upload to a CVAT task of the same images, which are named by their record ids."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    for number, image in enumerate(images):
        size = {"width": str(image.extent[0]), "height": str(image.extent[1])}
        element = ElementTree.SubElement(root, "image", {"id": str(number), "name": image.record_id, **size})
        if image.rectangle:
            numbers = {name: f"{value:.4f}" for name, value in to_cvat(image.rectangle).items()}
            fixed = {"label": TARGET, "source": "auto", "occluded": "0", "z_order": "0"}
            ElementTree.SubElement(element, "box", {**fixed, **numbers})
        if image.label:
            ElementTree.SubElement(element, "tag", {"label": image.label, "source": "auto"})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def read_cvat(path: Path) -> Iterator[ReturnedImage]:
    """Yield the images of a `CVAT for images 1.1` export; polygons become the smallest rectangle around them.

    Raises `UserError` if the file is not one.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise UserError(f"{path}: is not a CVAT export ({error}). Export the task as `CVAT for images 1.1`.") from error
    if root.tag != "annotations":
        raise UserError(f"{path}: begins with <{root.tag}>. Export the task as `CVAT for images 1.1`.")
    if tracks := sum(1 for _ in root.iter("track")):
        raise UserError(
            f"{path}: has {tracks} tracks, whose frames have numbers instead of the images' names.\n"
            "Export the task as `CVAT for images 1.1` instead of `CVAT for video 1.1`."
        )
    for image in root.iter("image"):
        yield _read_cvat_image(image)


def _read_cvat_image(image: ElementTree.Element) -> ReturnedImage:
    name = image.get("name", "?")
    others = tuple(shape.tag for shape in image if shape.tag not in (*CVAT_SHAPES, *CVAT_WITHOUT_SHAPE))
    rectangles = []
    for shape in image:
        if shape.tag in CVAT_SHAPES:
            try:
                rectangles.append(CVAT_SHAPES[shape.tag](shape.attrib))
            except ValueError as error:
                return ReturnedImage(name, (), f"its {shape.tag} cannot be read ({error})")
    try:
        extent = (int(image.attrib["width"]), int(image.attrib["height"]))
    except KeyError:
        extent = None
    except ValueError as error:
        return ReturnedImage(name, (), f"its width and height cannot be read ({error})")
    tags = tuple(tag.get("label", "") for tag in image.iter("tag"))
    return ReturnedImage(name, tuple(rectangles), "", extent, others, tags)
