"""The plugin's link in FiftyOne's plugins folder: created, kept, repaired, and never in place of another plugin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from rsam_app.review.app.install_plugin import PLUGIN, link_plugin
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
    (pattern,) = [p for p in settings["tool"]["setuptools"]["package-data"]["rsam_app"] if p.startswith("review/")]
    packed = {p.name for p in PLUGIN.parent.parent.glob(pattern)}
    assert {"fiftyone.yml", "__init__.py", "keys.js"} <= packed
