"""A machine-learning backend for Label Studio: the class of an image, and the rectangle where the model looked.

Set MODEL to a run folder or to a model of the hub, e.g. `hf-hub:ORGANISATION/NAME`.
"""

from __future__ import annotations

import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import rsam_app as rsam
from rsam_app.review.annotation_formats import to_label_studio

RECTANGLE, CLASS = "attention_target", "ground_truth"
"""Names of the controls in the labeling interface that `rsam annotate RUN FILE --to label-studio` prints."""


def place_of(task: dict[str, Any]) -> str:
    """The address of a task's image, or its path if Label Studio serves it from this machine's disk."""
    address = str(task["data"]["image"])
    local = parse_qs(urlsplit(address).query).get("d") if "/local-files/" in address else None
    return "/" + local[0] if local else address


def prediction(model: rsam.TrainedModel, task: dict[str, Any]) -> dict[str, Any]:
    """The model's answer to a task, as Label Studio shows it."""
    answer = model.predict(place_of(task))
    regions = [_region(CLASS, "choices", {"choices": [answer.label]})]
    if answer.rectangle:
        value = {**to_label_studio(answer.rectangle, answer.size), "rectanglelabels": ["target"]}
        size = {"original_width": answer.size[0], "original_height": answer.size[1], "image_rotation": 0}
        regions.append({**_region(RECTANGLE, "rectanglelabels", value), **size})
    return {"result": regions, "score": answer.probability}


def _region(control: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"from_name": control, "to_name": "image", "type": kind, "value": value}


class Backend(BaseHTTPRequestHandler):
    """What Label Studio asks of a backend: `/health`, `/setup`, `/predict`; everything else is acknowledged."""

    model: ClassVar[rsam.TrainedModel]
    version: ClassVar[str]

    def do_GET(self) -> None:
        """Report that the backend is there."""
        self._answer({"status": "UP", "model_class": "RSAM"})

    def do_POST(self) -> None:
        """Answer about the tasks of a request."""
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        if self.path != "/predict":
            self._answer({"model_version": self.version})
            return
        try:
            found = [{**prediction(self.model, task), "model_version": self.version} for task in asked["tasks"]]
        except (rsam.UserError, LookupError, TypeError) as error:
            self._answer({"detail": str(error)}, 400)
            return
        self._answer({"results": found, "model_version": self.version})

    def _answer(self, content: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(model: str, port: int = 9090) -> HTTPServer:
    """A server for this machine with the model loaded; `serve_forever` starts it."""
    loaded = {"model": rsam.load(model), "version": model}
    return HTTPServer(("127.0.0.1", port), type("LoadedBackend", (Backend,), loaded))


if __name__ == "__main__":
    serve(os.environ["MODEL"]).serve_forever()
