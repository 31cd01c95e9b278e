"""A hub that answers wrongly: one message, exit code 2, and the next attempt finds nothing half in the cache."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
from faults.small_run import refusal_in
from hub_stand_in import Answer, client_of, stand_in_hub
from PIL import Image
from programs import Ended, command
from timm.models import save_for_hf

from rsam_app.config import ModelConfig
from rsam_app.model import build_model, save_model

Files = dict[str, bytes | Answer]


def config(**changes: Any) -> Callable[[Files], Files]:
    """Change entries of `config.json`; None removes one."""

    def change(files: Files) -> Files:
        content = json.loads(files["config.json"]) | changes  # type: ignore[arg-type]
        return {"config.json": json.dumps({k: v for k, v in content.items() if v is not None}).encode()}

    return change


def answers(file: str, *, cut: float = 1, **answer: Any) -> Callable[[Files], Files]:
    """Answer so for a file; `cut` is the part of its content that is sent although the whole length is said."""

    def change(files: Files) -> Files:
        whole = files[file]
        assert isinstance(whole, bytes)
        body = whole[: int(len(whole) * cut)]
        headers = {"Content-Length": str(len(whole)), "ETag": '"cut"'} if cut != 1 else {}
        return {file: Answer(**{"body": body, "headers": headers, **answer})}

    return change


CONFIG, WEIGHTS = "config.json", "model.safetensors"
LOOP = {"Location": "/ours/configjsoninaloop/resolve/main/config.json", "Content-Length": "0"}
WRONG: dict[str, Callable[[Files], Files]] = {
    "not JSON": lambda files: {CONFIG: b"<html>captive portal</html>"},
    "a list": lambda files: {CONFIG: b"[]"},
    "deep JSON": lambda files: {CONFIG: b"[" * 100_000},
    "no config.json": lambda files: {CONFIG: Answer(status=404, headers={"X-Error-Code": "EntryNotFound"})},
    "config.json cut": answers(CONFIG, cut=0.5),
    "config.json 500": answers(CONFIG, status=500),
    "config.json refused": answers(CONFIG, status=403),
    "config.json in a loop": answers(CONFIG, body=b"", status=302, headers=LOOP),
    "config.json hangs": answers(CONFIG, hangs=True),
    "no architecture": config(architecture=None),
    "another's architecture": config(architecture="bert"),
    "too many classes": config(num_classes=10**11, label_names=["a"]),
    "model_args is a list": config(model_args=[1]),
    "no weights": lambda files: {WEIGHTS: Answer(status=404, headers={"X-Error-Code": "EntryNotFound"})},
    "weights cut": answers(WEIGHTS, cut=0.5),
    "weights 500": answers(WEIGHTS, status=500),
    "weights longer than said": lambda files: {WEIGHTS: files[WEIGHTS] + b"more"},  # type: ignore[operator]
    "weights of nothing": lambda files: {WEIGHTS: b""},
    "weights hang": answers(WEIGHTS, hangs=True),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Files]:
    """The files of a model of ours, and of a plain one."""
    folder = tmp_path_factory.mktemp("models")
    ours = ModelConfig(backbone="test_resnet", weights="none", image_size=64)
    save_model(build_model(ours, ("a", "b")), folder / "ours")
    plain = timm.create_model("test_resnet", num_classes=2)
    save_for_hf(plain, folder / "plain", {"label_names": ["a", "b"]}, safe_serialization=True)
    return {p.name: {f.name: f.read_bytes() for f in p.iterdir()} for p in folder.iterdir()}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Callable[[str], Ended], dict[str, Files]]]:
    home = tmp_path_factory.mktemp("home")
    patience = {"HF_HUB_ETAG_TIMEOUT": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "1"}
    with stand_in_hub() as (address, repositories), client_of(address, home, **patience) as client:
        yield client, repositories


ADOPTED = ("not JSON", "config.json hangs", "another's architecture", "no weights", "weights cut", "weights of nothing")
"""The wrong answers that are also tried with a plain model and `rsam adopt`."""


@pytest.mark.parametrize(("kind", "wrong"), [("ours", w) for w in WRONG] + [("plain", w) for w in ADOPTED])
def test_a_wrong_answer_is_refused_and_forgotten(
    models: dict[str, Files],
    hub: tuple[Callable[[str], Ended], dict[str, Files]],
    tmp_path: Path,
    kind: str,
    wrong: str,
) -> None:
    client, repositories = hub
    name = f"{kind}/{''.join(c for c in wrong if c.isalnum())}"
    rows = ["path,label,split"]
    for label, split in product("ab", ("train", "val", "test")):
        Image.fromarray(np.full((70, 80, 3), len(rows), np.uint8)).save(tmp_path / f"{label}{split}.png")
        rows.append(f"{label}{split}.png,{label},{split}")
    (tmp_path / "images.csv").write_text("\n".join(rows))
    (tmp_path / "card.yaml").write_text(f"name: birds\nlayout: manifest\nroot: {tmp_path / 'images.csv'}\n")
    words: tuple[object, ...] = ("predict", f"hf-hub:{name}", tmp_path / "atest.png", "--output", tmp_path / "a.csv")
    if kind == "plain":
        words = ("adopt", f"hf-hub:{name}", "--data", tmp_path / "card.yaml", "--run", tmp_path / "run")
    repositories[name] = {**models[kind], **WRONG[wrong](models[kind])}
    refused = client(command(*words))
    assert refused.code == 2, refused.stderr
    assert name in refusal_in(refused.stderr)
    assert not (tmp_path / "a.csv").exists()
    repositories[name] = models[kind]
    again = client(command(*words))
    assert again.code == 0, again.stderr
