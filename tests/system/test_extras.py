"""Extras: each import of the package is declared, and a missing extra is named."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from typer.main import get_command

from rsam_app.cli import app
from rsam_app.config import REPOSITORY
from rsam_app.system.extras import COMMANDS, MODULES

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WITH_OTHERS = {"pymongo", "bson", "hypercorn", "markupsafe", "requests", "starlette"}
"""Requirements of FiftyOne and Jinja that we use with them."""


def names(requirements: list[str]) -> set[str]:
    return {re.sub(r"[-_.]+", "-", Requirement(text).name.lower()) for text in requirements} - {"rsam-app"}


def third_party(file: Path) -> set[str]:
    """The top modules that a file imports from elsewhere."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"rsam_app"}


def test_every_import_is_declared_in_the_core_or_in_an_extra():
    imported = {module for file in (REPOSITORY / "rsam_app").rglob("*.py") for module in third_party(file)}
    core, extras = names(PROJECT["dependencies"]), PROJECT["optional-dependencies"]
    providers = metadata.packages_distributions()
    undeclared = {}
    for module in imported - WITH_OTHERS:
        given_by = {re.sub(r"[-_.]+", "-", name.lower()) for name in providers.get(module, [module])}
        extra = next((extra for extra, modules in MODULES.items() if module in modules), None)
        if not given_by & (names(extras[extra]) if extra else core):
            undeclared[module] = extra or "core"
    assert undeclared == {}


def test_each_extra_installs_its_modules():
    providers = metadata.packages_distributions()
    for extra, modules in MODULES.items():
        asked = names(PROJECT["optional-dependencies"][extra])
        assert {m for m in modules if not {n.lower() for n in providers[m]} & asked} <= WITH_OTHERS


def test_all_has_every_extra():
    assert PROJECT["optional-dependencies"]["all"] == [f"rsam-app[{','.join(MODULES)}]"]


def test_commands_that_need_an_extra_exist():
    assert {command for commands in COMMANDS.values() for command in commands} <= set(get_command(app).commands)


def without_extras(program: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a Python in which no extra can be imported."""
    absent = [module for modules in MODULES.values() for module in modules]
    hidden = f"import sys\nsys.modules.update(dict.fromkeys({absent!r}))\n"  # None: cannot be imported
    return subprocess.run(
        [sys.executable, "-c", hidden + program, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


COMMAND = "from rsam_app.cli import main\nmain()"


def test_the_module_and_models_need_no_extra(tmp_path):
    done = without_extras(
        "import torch, timm, rsam_app\n"
        "from rsam_app.model.attention import RSAM\n"
        "from rsam_app.config import ModelConfig\n"
        "from rsam_app.model import build_model, load_model, save_model\n"
        "from pathlib import Path\n"
        "model = build_model(ModelConfig(backbone='resnet10t', weights='none', image_size=64), ('a', 'b')).eval()\n"
        "assert isinstance(model.attention_module, RSAM)\n"
        "save_model(model, Path('model'))\n"
        "images = torch.rand(2, 3, 64, 64)\n"
        "assert torch.equal(timm.create_model('local-dir:model').eval()(images), model(images))\n"
        "import rsam_app.evaluation.inference.model_runner\n",
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_commands_of_the_core_work_without_extras(tmp_path):
    for arguments in (["-h"], ["config", "show", "pet_mobilenetv2"], ["export-model", "-h"]):
        assert without_extras(COMMAND, *arguments, folder=tmp_path).returncode == 0
    for label in ("a", "b"):
        (tmp_path / "parts" / label).mkdir(parents=True)
        (tmp_path / "parts" / label / "1.jpg").touch()
    assert "next: rsam check parts" in without_extras(COMMAND, "init", "parts", folder=tmp_path).stdout
    checks = without_extras(COMMAND, "doctor", folder=tmp_path).stdout
    assert "the extra `review` is not installed" in checks


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["review", "runs/x"], "review"),
        (["demo"], "review"),
        (["run", "pet_mobilenetv2"], "review"),
        (["train", "pet_mobilenetv2"], "train"),
        (["select-first", "pet_mobilenetv2"], "train"),
    ],
)
def test_a_missing_extra_is_named_before_anything_is_done(tmp_path, arguments, extra):
    done = without_extras(COMMAND, *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        f"rsam: `rsam {arguments[0]}` needs the extra `{extra}`, which is not installed.\n"
        f"Run: pip install 'rsam-app[{extra}]'\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_import_that_fails_later_names_the_extra_too(tmp_path):
    assert not any("check" in commands for commands in COMMANDS.values())
    done = without_extras(COMMAND, "check", "pet_mobilenetv2", "--set", "model.weights=none", folder=tmp_path)
    assert done.returncode == 2 and "rsam: `rsam check` needs the extra `train`" in done.stderr


def test_another_missing_module_stays_a_bug(tmp_path):
    hidden = "import sys\nsys.modules['yaml'] = None\n" + COMMAND
    done = without_extras(hidden, "config", "show", "pet_mobilenetv2", folder=tmp_path)
    assert done.returncode == 1 and "ModuleNotFoundError" in done.stderr
