"""The code of docs/python.md runs as it stands, on photographs of our own."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from colours import write_two_colours

import rsam_app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"


def test_the_pages_code_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_two_colours(tmp_path / "photographs")
    shutil.copy(tmp_path / "photographs" / "red" / "0.jpg", tmp_path / "photograph.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"junk")
    settings = {"model": {"backbone": "resnet10t", "weights": "none", "image_size": 32}}
    rsam_app.fit("photographs", "runs/birds", **settings, train={"epochs": 1, "trackers": [], "workers": 0})

    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        exec(compile(block.replace("runs/colours", "runs/of_the_page"), str(PAGE), "exec"), names)
    assert "not an image" in names["answer"].reason  # type: ignore[attr-defined]
    assert names["metrics"]["n"] > 0  # type: ignore[index]
    assert len(set(names["rows"].tolist())) == 10  # type: ignore[attr-defined]
    assert names["logits"].shape == (2, 10)  # type: ignore[attr-defined]
