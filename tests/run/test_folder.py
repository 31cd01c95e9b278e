from __future__ import annotations

import json
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rsam_app.config import Pipeline
from rsam_app.run.corrections import Correction, add_corrections, corrections_path
from rsam_app.run.folder import RunFolder, environment
from rsam_app.system.errors import UserError
from rsam_app.system.files import fingerprint, write_atomically

HOLD = """
import sys, time
from pathlib import Path
from rsam_app.run.corrections import Correction, add_corrections, corrections_path
from rsam_app.run.folder import RunFolder
with RunFolder(Path(sys.argv[1])).writing():
    print("held", flush=True)
    time.sleep(60)
"""


def pipeline(name: str = "first", **keys) -> Pipeline:
    return Pipeline.model_validate({"name": name, "dataset": "birds", **keys})


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "Mein Lauf 1")


def test_a_second_writer_is_refused_and_let_in_when_the_first_was_killed(run) -> None:
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(UserError) as caught, run.writing():
            pass
        assert f"process {first.pid} on " in str(caught.value)
        assert "--run" in str(caught.value)
        first.send_signal(signal.SIGKILL)
        first.wait()
        with run.writing():
            assert (run.path / "lock").read_text().startswith(f"process {os.getpid()} on ")
    finally:
        first.kill()
        first.wait()


def test_the_lock_is_released_even_if_a_forked_worker_is_still_alive(run) -> None:
    with run.writing():
        worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(30,))
        worker.start()
    try:
        with run.writing():
            assert worker.is_alive()
    finally:
        worker.kill()
        worker.join()


def test_the_lock_is_released_after_an_error(run) -> None:
    with pytest.raises(RuntimeError), run.writing():
        raise RuntimeError
    with run.writing(), pytest.raises(UserError, match="another process"), RunFolder(run.path).writing():
        pass


def test_a_pipeline_reads_back_equal_and_may_be_saved_again(run) -> None:
    saved = pipeline(train={"epochs": 3})
    with run.writing():
        run.save_pipeline(saved)
        run.save_pipeline(pipeline(train={"epochs": 4}))
        run.save_pipeline(saved)
    assert run.load_pipeline() == saved


def test_the_folder_of_another_pipeline_is_refused_and_untouched(run) -> None:
    run.save_pipeline(pipeline("first"))
    before = run.config_path.read_bytes()
    with pytest.raises(UserError, match="belongs to the pipeline 'first', not 'second'"):
        run.save_pipeline(pipeline("second"))
    assert run.config_path.read_bytes() == before


def test_a_folder_that_holds_something_else_is_refused(run) -> None:
    run.path.mkdir(parents=True)
    (run.path / "thesis.docx").touch()
    with pytest.raises(UserError, match="not empty and not a run"):
        run.save_pipeline(pipeline())
    assert not run.config_path.exists()


def test_a_run_that_crashed_while_it_wrote_its_first_file_can_start_again(run) -> None:
    run.path.mkdir(parents=True)
    (run.path / "lock").touch()
    (run.path / "config.yaml.partial").write_text("nam")
    run.save_pipeline(pipeline())
    assert run.load_pipeline() == pipeline()


@pytest.mark.parametrize("text", ["", "name: [", "name: first\ndataset: x\nepochs: 3\n", "- 1\n"])
def test_a_broken_configuration_is_named(run, text) -> None:
    run.path.mkdir(parents=True)
    run.config_path.write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml"):
        run.load_pipeline()


def test_a_folder_that_is_not_a_run(tmp_path) -> None:
    with pytest.raises(UserError, match="not a run folder"):
        RunFolder(tmp_path).load_pipeline()


def test_a_path_that_cannot_be_a_folder(tmp_path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="cannot create this run folder"):
            RunFolder(path).save_pipeline(pipeline())
        with pytest.raises(UserError, match="cannot create this run folder"), RunFolder(path).writing():
            pass


def test_values_are_merged_one_level_deep(run) -> None:
    assert run.read_json() == {}
    run.update_json(seed=1, timings={"train": 2})
    run.update_json(timings={"evaluate": 3}, name="Grünfink")
    assert run.read_json() == {"seed": 1, "timings": {"train": 2, "evaluate": 3}, "name": "Grünfink"}


@pytest.mark.parametrize("text", ["{", "", "[]", "\x00"])
def test_a_damaged_run_json_is_named(run, text) -> None:
    run.path.mkdir(parents=True)
    (run.path / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json: is damaged"):
        run.read_json()


def test_a_stage_is_done_with_its_inputs_only(run) -> None:
    assert not run.stage_done("train", "a")
    run.finish_stage("train", "a", 1.24)
    run.finish_stage("evaluate", "b", 2)
    assert run.stage_done("train", "a")
    assert not run.stage_done("train", "b")
    assert run.read_json()["stages"]["train"]["seconds"] == 1.2


def test_a_crash_while_writing_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "run.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \udc80")
    assert path.read_text() == "old"


def rewrite(path: Path) -> None:
    for turn in range(200):
        write_atomically(path, json.dumps({"turn": turn, "filling": "x" * 50_000}))


def test_a_reader_never_sees_half_a_file(tmp_path) -> None:
    path = tmp_path / "run.json"
    write_atomically(path, "{}")
    writer = multiprocessing.get_context("fork").Process(target=rewrite, args=(path,))
    writer.start()
    while writer.is_alive():
        json.loads(path.read_text())
    assert writer.exitcode == 0
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("name", "key"), [("birds", "birds"), ("cub-v2.1", "cub_v2_1"), ("2nd run", "run_2nd_run"), ("Grün", "Gr_n")]
)
def test_a_run_name_becomes_a_field_prefix(tmp_path, name, key) -> None:
    assert RunFolder(tmp_path / name).key == key


def test_the_environment_names_versions_without_git_and_without_fiftyone(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("rsam_app.run.folder.PACKAGES", ("torch", "a-package-nobody-has"))
    values = environment()
    assert values["versions"]["a-package-nobody-has"] is None
    assert values["versions"]["torch"]
    assert values["commit"] is None
    json.dumps(values)


def test_fingerprints_differ_by_value_not_by_key_order() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert len({fingerprint({"a": 1}), fingerprint({"a": 2}), fingerprint({"a": "1"}), fingerprint({"a": 1}, 1)}) == 4


@pytest.mark.parametrize(("above", "expected"), [(0o755, 0o700), (0o2775, 0o2770), (0o700, 0o700)])
def test_only_the_owner_opens_runs_and_corrections_unless_a_group_shares_them(tmp_path: Path, above, expected) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    runs.chmod(above)
    old = os.umask(0o002)
    try:
        RunFolder(runs / "first").save_pipeline(pipeline())
        table = corrections_path(runs / "first", "birds")
        add_corrections(table, [Correction("a", "label", "auk", "wren", "Ann", "2026-01-01T00:00:00.000Z", "first")])
    finally:
        os.umask(old)
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (runs / "first", table.parent)] == [expected] * 2
    (runs / "first").chmod(0o755)
    RunFolder(runs / "first").save_pipeline(pipeline())
    assert stat.S_IMODE((runs / "first").stat().st_mode) == 0o755, "what the user allows stays"
