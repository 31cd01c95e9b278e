"""A run published on a stand-in of the hub loads from there and gives the same answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from colours import write_two_colours
from command import rsam
from hub_stand_in import TOKEN, stand_in_hub

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


def in_process(program: str, hub: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a program whose hub is the stand-in: the client reads its address when it is imported."""
    paths = {"PYTHONPATH": os.pathsep.join(sys.path), "HF_HOME": str(home), "HOME": str(home)}
    environment = {"PATH": os.environ["PATH"], "HF_ENDPOINT": hub, **paths}
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)


PUSH = "import os, sys; os.environ['HF_TOKEN'] = {token!r}; sys.argv = {argv!r}; from rsam_app.cli import main; main()"
LOAD = """
import rsam_app, timm
print(rsam_app.load("hf-hub:" + {name!r}).predict({photograph!r}).logits.tolist())
print(type(timm.create_model("hf-hub:" + {name!r}, pretrained=True)).__name__)
"""


def test_a_published_run_loads_from_the_hub(run: Path, tmp_path: Path) -> None:
    photograph = str(next((run.parent.parent / "photographs" / "red").glob("*.jpg")))
    with stand_in_hub() as (address, repositories):
        pushed = in_process(
            PUSH.format(token=TOKEN, argv=["rsam", "push", str(run), "ours/colours"]), address, tmp_path
        )
        assert pushed.returncode == 0, pushed.stderr
        assert pushed.stdout.strip() == f"{address}/ours/colours"
        files = repositories["ours/colours"]
        loaded = in_process(LOAD.format(name="ours/colours", photograph=photograph), address, tmp_path)
    assert loaded.returncode == 0, loaded.stderr
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
def test_a_refused_upload_is_explained(
    run: Path, tmp_path: Path, arguments: list[str], token: str, message: str
) -> None:
    with stand_in_hub() as (address, _):
        done = in_process(PUSH.format(token=token, argv=["rsam", "push", str(run), *arguments]), address, tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_hub_out_of_reach_is_named(run: Path, tmp_path: Path) -> None:
    argv = ["rsam", "push", str(run), "ours/colours", "--no-picture"]
    done = in_process(PUSH.format(token=TOKEN, argv=argv), "http://127.0.0.1:9", tmp_path)
    assert (done.returncode, "cannot be reached" in done.stderr) == (2, True), done.stderr
    assert not (run / "model" / "example.jpg").exists()
    program = "import rsam_app\ntry: rsam_app.load('hf-hub:ours/colours')\nexcept rsam_app.UserError as e: print(e)"
    assert (
        "hf-hub:ours/colours: the hub cannot be reached" in in_process(program, "http://127.0.0.1:9", tmp_path).stdout
    )


def test_a_run_without_evaluation_is_refused(run: Path, tmp_path: Path) -> None:
    metrics = run / "evaluation" / "metrics.json"
    moved = metrics.rename(tmp_path / "metrics.json")
    try:
        assert "was not evaluated" in rsam("push", run, "ours/colours", check=2).stderr
    finally:
        moved.rename(metrics)
