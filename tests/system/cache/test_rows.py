"""The cache of arrays: rows come back, partial or damaged rows do not, and the limits hold."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest

from rsam_app.system.cache.rows import NoRoomError, cache_home, open_cache

BYTES = np.dtype(np.uint8)


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("RSAM_CACHE_GIB", raising=False)


def test_rows_of_different_shapes_are_read_by_the_next_command_and_by_loading_processes():
    shapes = [(3, 5), (7,), (2, 2, 2)]
    rows = [np.random.default_rng(i).standard_normal(shape).astype(np.float16) for i, shape in enumerate(shapes)]
    cache = open_cache("key", shapes, np.dtype(np.float16))
    assert cache.missing() == [0, 1, 2] and cache.get(1) is None
    for i in (0, 2):
        cache.put(i, rows[i])
    for other in (cache, pickle.loads(pickle.dumps(cache)), open_cache("key", shapes, np.dtype(np.float16))):
        assert other.missing() == [1]
        assert np.array_equal(other.get(0), rows[0]) and np.array_equal(other.get(2), rows[2])


def test_a_row_of_another_shape_or_type_is_refused():
    cache = open_cache("key", [(3,)], BYTES)
    for wrong in (np.zeros(4, np.uint8), np.zeros(3, np.float32)):
        with pytest.raises(ValueError, match="row 0"):
            cache.put(0, wrong)


def test_a_damaged_row_is_missing():
    cache = open_cache("key", [(1000,)], BYTES)
    cache.put(0, np.arange(1000).astype(np.uint8))
    with (cache_home() / "key" / "rows").open("r+b") as stream:
        stream.seek(500)
        stream.write(b"\xff\xfe")
    assert open_cache("key", [(1000,)], BYTES).get(0) is None


def test_other_shapes_under_the_same_key_start_an_empty_cache():
    open_cache("key", [(10,)], BYTES).put(0, np.ones(10, np.uint8))
    assert open_cache("key", [(10,), (10,)], BYTES).missing() == [0, 1]


def test_the_least_recently_used_cache_is_removed_first_and_one_in_use_stays(monkeypatch):
    monkeypatch.setenv("RSAM_CACHE_GIB", str(2.5 * 2**20 / 2**30))  # room for two caches of 1 MiB
    for age, key in enumerate(("middle", "oldest")):
        open_cache(key, [(2**20,)], BYTES)
        os.utime(cache_home() / key / "in_use", (1000 - age, 1000 - age))
    used = open_cache("middle", [(2**20,)], BYTES)
    os.utime(cache_home() / "middle" / "in_use", (10, 10))  # as if it were older, and yet in use
    newest = open_cache("newest", [(2**20,)], BYTES)
    assert {f.name for f in cache_home().iterdir() if f.is_dir()} == {"middle", "newest"}
    with pytest.raises(NoRoomError, match="in use"):
        open_cache("one more", [(2**20,)], BYTES)
    assert used.missing() == newest.missing() == [0]


@pytest.mark.parametrize(("allowed", "why"), [("0", "RSAM_CACHE_GIB allows 0"), ("much", "not a number")])
def test_more_than_the_limit_is_refused_with_the_reason(monkeypatch, allowed, why):
    monkeypatch.setenv("RSAM_CACHE_GIB", allowed)
    with pytest.raises(NoRoomError, match=why):
        open_cache("key", [(100,)], BYTES)


def test_a_folder_that_cannot_be_written_is_reported(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(NoRoomError, match="Not a directory"):
        open_cache("key", [(100,)], BYTES)


def test_a_killed_writer_leaves_only_complete_rows():
    code = (
        "import sys, numpy as np; from rsam_app.system.cache.rows import open_cache\n"
        "cache = open_cache('key', [(200000,)] * 50, np.dtype(np.uint8)); print('begun', flush=True)\n"
        "while True:\n"
        "    for i in range(50): cache.put(i, np.full(200000, i, np.uint8))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    cache = open_cache("key", [(200000,)] * 50, BYTES)
    for i in range(50):
        row = cache.get(i)
        assert row is None or (row == i).all()
