"""A run published on a stand-in of the hub loads from there and gives the same answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from colours import write_two_colours
from command import rsam
from hub_stand_in import TOKEN, Ended, client_of, stand_in_hub

import rsam_app
from rsam_app.run.job import Job
from rsam_app.system.markdown import as_code
from rsam_app.system.progress import Reporter
from rsam_app.workflow.model_card import card_text


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("push")
    write_two_colours(root / "photographs")
    settings = {"model": {"backbone": "resnet10t", "weights": "none", "image_size": 32}}
    training = {"epochs": 2, "trackers": [], "workers": 0, "batch_size": 8}
    rsam_app.fit(root / "photographs", root / "runs" / "colours", **settings, train=training)
    return root / "runs" / "colours"


Hub = tuple[str, dict[str, dict[str, bytes]]]
Push = Callable[..., Ended]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """The address of a stand-in of the hub, and its repositories."""
    with stand_in_hub() as opened:
        yield opened


@pytest.fixture(scope="module")
def push(run: Path, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Push]:
    """`push(*arguments, token)`: `rsam push RUN ARGUMENTS`, always in the same process."""
    with client_of(hub[0], tmp_path_factory.mktemp("home")) as client:
        yield lambda *arguments, token=TOKEN: client(pushing(run, *arguments, token=token))


def pushing(run: Path, *arguments: str, token: str = TOKEN) -> str:
    """The program of `rsam push RUN ARGUMENTS`."""
    argv = ["rsam", "push", str(run), *arguments]
    given = f"os.environ['HF_TOKEN'], sys.argv = {token!r}, {argv!r}"
    return f"import os, sys; {given}; from rsam_app.cli import main; main()"


LOAD = """
import rsam_app, timm
print(rsam_app.load("hf-hub:" + {name!r}).predict({photograph!r}).logits.tolist())
print(type(timm.create_model("hf-hub:" + {name!r}, pretrained=True)).__name__)
"""


def test_a_published_run_loads_from_the_hub(run: Path, push: Push, hub: Hub, tmp_path: Path) -> None:
    photograph = str(next((run.parent.parent / "photographs" / "red").glob("*.jpg")))
    address, repositories = hub
    pushed = push("ours/colours")
    assert pushed.code == 0, pushed.stderr
    assert pushed.stdout.strip() == f"{address}/ours/colours"
    files = repositories["ours/colours"]
    with client_of(address, tmp_path) as another:
        loaded = another(LOAD.format(name="ours/colours", photograph=photograph))
    assert loaded.code == 0, loaded.stderr
    logits, kind = loaded.stdout.strip().splitlines()
    assert np.allclose(eval(logits), rsam_app.load(run).predict(photograph).logits, atol=1e-5)
    assert kind == "AttentiveClassifier"
    assert set(files) == {"config.json", "model.safetensors", "README.md", "example.jpg", "known_classes.safetensors"}
    _, metadata, text = files["README.md"].decode().split("---\n", 2)
    assert yaml.safe_load(metadata)["library_name"] == "timm"
    assert yaml.safe_load(metadata)["pipeline_tag"] == "image-classification"
    assert 'rsam.load("hf-hub:ours/colours")' in text
    assert "95 % interval" in text
    assert "ORGANISATION" not in text


def test_names_on_the_card_are_text_only(run: Path) -> None:
    job = Job.of_run(run, [], Reporter())
    metrics = job.run.read_metrics()
    assert metrics is not None
    hostile = "<img src=x onerror=alert(1)> [click](http://evil.example) `a` \\[b]"
    worst = {**metrics["per_class"][0], "class": hostile, "recall": 0.0, "n": 3}
    pair = {"label": hostile, "predicted": "<script>", "count": 2}
    text = card_text(job, "ours/colours", {**metrics, "per_class": [worst], "confusion_pairs": [pair]}, False)
    assert "<img" not in text and "<script" not in text
    shown = r"&lt;img src=x onerror=alert(1)&gt; \[click\](http://evil.example) \`a\` \\\[b\]"
    assert f"- The worst class is {shown}: 0% of its 3 images are right." in text
    assert as_code("a `b`\n<c>") == "`a 'b' <c>`"


@pytest.mark.parametrize(
    ("arguments", "token", "message"),
    [
        (["colours"], TOKEN, "colours: is not a valid model name. Give ORGANISATION/NAME."),
        (["ours/colours"], "wrong", "the hub refuses the upload"),
        (["ours/deep", "--no-picture"], TOKEN, "ours/deep: the hub's answer cannot be read"),
    ],
)
def test_a_refused_upload_is_explained(push: Push, arguments: list[str], token: str, message: str) -> None:
    done = push(*arguments, token=token)
    assert done.code == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_hub_out_of_reach_is_named(run: Path, tmp_path: Path) -> None:
    with client_of("http://127.0.0.1:9", tmp_path) as client:
        done = client(pushing(run, "ours/colours", "--no-picture"))
        assert (done.code, "cannot be reached" in done.stderr) == (2, True), done.stderr
        assert not (run / "model" / "example.jpg").exists()
        program = "import rsam_app\ntry: rsam_app.load('hf-hub:ours/colours')\nexcept rsam_app.UserError as e: print(e)"
        assert (
            "hf-hub:ours/colours is not in the hub's local cache; the hub cannot be reached" in client(program).stdout
        )


def test_a_run_without_evaluation_is_refused(run: Path, tmp_path: Path) -> None:
    metrics = run / "evaluation" / "metrics.json"
    moved = metrics.rename(tmp_path / "metrics.json")
    try:
        assert "was not evaluated" in rsam("push", run, "ours/colours", check=2).stderr
    finally:
        moved.rename(metrics)
