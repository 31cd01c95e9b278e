from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import timm

from rsam_app.model.hub import require_known
from rsam_app.system.errors import UserError


@pytest.mark.parametrize("name", ["resnet18", "resnet18.a1_in1k", "resnet10t", "mobilenetv2_100"])
def test_names_of_timm_are_known(name) -> None:
    require_known(name)
    assert timm.is_model(name.partition(".")[0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("timm/resnet18.a1_in1k", "timm's own name is 'resnet18.a1_in1k'"),
        ("hub:timm/resnet18", "timm's own name is 'resnet18'"),
        ("resnet18.a1_in2k", "no weights 'a1_in2k' of resnet18. Did you mean 'resnet18.a1_in1k'?"),
        ("timm/resnt18.a1_in1k", "Did you mean 'resnet18'?"),
        ("mobilenet_v2_100", "Did you mean 'mobilenetv2_100'?"),
    ],
)
def test_another_name_is_refused_with_the_nearest_of_timm(name, expected) -> None:
    with pytest.raises(UserError) as raised:
        require_known(name)
    assert expected in str(raised.value)


OFFLINE = """
from rsam_app.config import ModelConfig
from rsam_app.model import build_model
from rsam_app.system.errors import UserError
try:
    build_model(ModelConfig(backbone="resnet10t", weights="timm"), ("a", "b"))
except UserError as error:
    print(error)
"""


def test_a_hub_that_cannot_be_reached_is_asked_once_and_named(tmp_path: Path) -> None:
    """A closed port of this machine stands for it; timm would retry for half a minute, with a line for each try."""
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", OFFLINE], capture_output=True, text=True, check=True, env=environment)
    first, remedy = ended.stdout.strip().splitlines()
    assert first.startswith("model.weights: timm's hub, which has the weights of resnet10t, cannot be reached (")
    assert remedy.startswith("Put resnet10t.safetensors into a folder and set RSAM_WEIGHTS to it")
    assert "Retry" not in ended.stderr


def test_a_folder_without_the_file_is_named(tmp_path: Path) -> None:
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "RSAM_WEIGHTS": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", OFFLINE],
        capture_output=True,
        text=True,
        check=True,
        env={**environment, "PYTHONPATH": ":".join(sys.path)},
    )
    assert f"RSAM_WEIGHTS ({tmp_path}) has no resnet10t.safetensors, and timm's hub" in ended.stdout
