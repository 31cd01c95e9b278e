from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.download.serving import Site, make_server
from PIL import Image

from rsam_app.config import Card


@pytest.fixture
def site() -> Iterator[Site]:
    """An empty site, served while the test runs."""
    served = Site()
    server = make_server(served)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder and a cache for this test alone."""
    monkeypatch.setenv("RSAM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "data"


def tar_of(files: dict[str, bytes], mode: str = "w:gz", members: list[tarfile.TarInfo] | None = None) -> bytes:
    """Return a tar archive of files by name, then of further members without content."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in members or []:
            tar.addfile(info)
    return stream.getvalue()


@pytest.fixture
def photographs_archive() -> bytes:
    """`birds/CLASS/N.jpg` of two classes in a `.tar.gz`, and a file outside that folder."""
    files = {"notes.txt": b"not of the dataset"}
    for label in ("auk", "wren"):
        for number in range(4):
            stream = io.BytesIO()
            noise = np.random.default_rng(number).integers(0, 255, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(noise).save(stream, "JPEG")
            files[f"birds/{label}/{number}.jpg"] = stream.getvalue()
    return tar_of(files)


@pytest.fixture
def card_of() -> Callable[..., Card]:
    """`card_of(*downloads, **keys)`: a card of class folders."""

    def make(*downloads: dict[str, Any], **keys: Any) -> Card:
        written = {"name": "birds", "layout": "folder", "root": "birds", "licence": "ours", **keys}
        return Card.model_validate({**written, "download": list(downloads)})

    return make
