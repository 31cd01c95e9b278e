"""The plugin's link in FiftyOne's plugins folder: created, kept, repaired, and never in place of another plugin."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType

import numpy as np
import pytest

from rsam_app.config import ModelConfig, Pipeline
from rsam_app.model import build_model, save_model
from rsam_app.review.app.install_plugin import PLUGIN, link_plugin
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError


@pytest.fixture
def plugins(tmp_path: Path, fiftyone_module: ModuleType) -> Iterator[Path]:
    """This test's plugins folder, which does not exist yet."""
    before, fiftyone_module.config.plugins_dir = fiftyone_module.config.plugins_dir, str(tmp_path / "my plugins")
    yield tmp_path / "my plugins"
    fiftyone_module.config.plugins_dir = before


def test_fiftyone_finds_the_linked_plugin_with_all_it_declares(plugins: Path) -> None:
    import fiftyone.operators as foo
    import fiftyone.plugins as fop

    link = link_plugin()
    assert link.resolve() == PLUGIN.resolve()
    (found,) = fop.list_plugins()
    assert (found.name, found.has_py, found.has_js) == ("@rsam/review", True, True)
    registered = {operator.name for operator in foo.list_operators(builtin=False)}
    assert registered == set(found.operators)


def test_linking_twice_changes_nothing(plugins: Path) -> None:
    link = link_plugin()
    before = link.lstat()
    assert link_plugin() == link
    assert (link.lstat().st_ino, link.lstat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [p.name for p in link.parent.iterdir()] == ["review"]


def test_a_link_whose_target_moved_is_repaired(plugins: Path, tmp_path: Path) -> None:
    link = plugins / "@rsam" / "review"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "old" / "rsam_app" / "review" / "plugin")
    assert link_plugin().resolve() == PLUGIN.resolve()


def test_somebody_elses_plugin_of_that_name_stays(plugins: Path, tmp_path: Path) -> None:
    theirs = plugins / "@rsam" / "review"
    theirs.mkdir(parents=True)
    (theirs / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=r"@rsam/review: is not the plugin.*left unchanged"):
        link_plugin()
    assert (theirs / "mine.txt").read_text() == "mine"
    (theirs / "mine.txt").unlink()
    theirs.rmdir()
    theirs.symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(UserError, match="left unchanged"):
        link_plugin()
    assert theirs.resolve() == tmp_path


def test_a_folder_that_cannot_be_created_is_reported(plugins: Path) -> None:
    plugins.write_text("a file")
    with pytest.raises(UserError, match="plugins folder cannot be written"):
        link_plugin()


def test_everything_the_plugin_needs_is_package_data() -> None:
    import tomllib

    settings = tomllib.loads((PLUGIN.parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["rsam_app"]
    packed = {p.name for pattern in patterns for p in PLUGIN.parent.parent.glob(pattern)}
    assert {"fiftyone.yml", "__init__.py", "keys.js", "README.md", "manifest.json"} <= packed


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[str]:
    """The address of an archive of this repository's review room, as FiftyOne downloads repositories."""
    served = tmp_path / "served"
    served.mkdir()
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PLUGIN.parent, tmp_path / "repository" / "rsam_app" / "review", ignore=skipped)
    shutil.make_archive(str(served / "rsam"), "zip", tmp_path / "repository")
    handler = partial(SimpleHTTPRequestHandler, directory=served)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/rsam.zip"
        server.shutdown()


def test_a_plugin_that_fiftyone_downloaded_is_used_unless_it_is_of_another_version(
    plugins: Path, repository: str
) -> None:
    import fiftyone.operators as foo
    import fiftyone.plugins as fop

    plugins.mkdir()
    (folder,) = fop.download_plugin(repository).values()
    assert Path(folder) == plugins / "@rsam" / "review" == link_plugin()
    assert not link_plugin().is_symlink()
    (found,) = fop.list_plugins()
    assert {operator.name for operator in foo.list_operators(builtin=False)} == set(found.operators)
    (Path(folder) / "keys.js").write_text("// another version\n")
    with pytest.raises(UserError, match=r"left unchanged.*\n.*fiftyone plugins download --overwrite"):
        link_plugin()


def test_fiftyones_zoo_loads_the_model_of_a_run(tmp_path: Path, fiftyone_module: ModuleType, repository: str) -> None:
    import fiftyone.zoo as foz

    config = ModelConfig(backbone="test_resnet", weights="none", image_size=96)
    run = RunFolder(tmp_path / "run")
    run.save_pipeline(Pipeline(name="tiny", dataset="none", model=config))
    save_model(build_model(config, ("red", "blue")), run.model)
    before, fiftyone_module.config.model_zoo_dir = fiftyone_module.config.model_zoo_dir, str(tmp_path / "zoo")
    try:
        foz.register_zoo_model_source(repository)
        model = foz.load_zoo_model("rsam", run=str(tmp_path / "run"))
        with pytest.raises(UserError, match="Give the run folder"):
            foz.load_zoo_model("rsam")
    finally:
        fiftyone_module.config.model_zoo_dir = before
    picture = np.full((40, 60, 3), 200, np.uint8)
    assert model.predict(picture).label in ("red", "blue")
