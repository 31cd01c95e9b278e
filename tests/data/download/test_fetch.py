from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from data.download.serving import Site

from rsam_app.data.download import fetch
from rsam_app.data.download.fetch import Fetch
from rsam_app.system.errors import UserError

CONTENT = np.random.default_rng(0).integers(0, 256, 1_000_000, dtype=np.uint8).tobytes()


def task(site: Site, tmp_path: Path, size: int | None = None, checked: bool = True) -> Fetch:
    said: list[str] = []
    made = Fetch(site.url("a.tar"), tmp_path / "a.tar.part", size, checked, lambda *_: None, said.append, pause=0)
    made.told = said  # type: ignore[attr-defined]
    return made


@pytest.fixture
def serving(site: Site) -> Site:
    site.files["a.tar"] = CONTENT
    return site


def test_a_file_is_complete_and_progress_is_reported(serving, tmp_path) -> None:
    told: list[tuple[int, int]] = []
    Fetch(serving.url("a.tar"), tmp_path / "part", None, True, lambda *now: told.append(now), print).run()
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT)) and len(told) > 1


def test_a_lost_connection_is_resumed(serving, tmp_path) -> None:
    serving.cuts = [300_000, 200_000]
    task(serving, tmp_path).run()
    assert (tmp_path / "a.tar.part").read_bytes() == CONTENT
    assert [span for _, span in serving.asked] == ["", "bytes=300000-", "bytes=500000-"]


def test_a_later_command_resumes_too(serving, tmp_path) -> None:
    serving.cuts = [400_000, 0, 0, 0, 0]
    with pytest.raises(UserError, match=r"lost after 400,000 of 1,000,000 bytes.*\n.*resume from there"):
        task(serving, tmp_path).run()
    serving.asked.clear()
    serving.cuts = []
    task(serving, tmp_path).run()
    assert (tmp_path / "a.tar.part").read_bytes() == CONTENT
    assert serving.asked == [("a.tar", "bytes=400000-")]
    serving.asked.clear()
    task(serving, tmp_path).run()
    assert serving.asked == []  # the file is complete, so there is no request


def test_a_server_that_cannot_resume_starts_over(serving, tmp_path) -> None:
    serving.ranges = False
    serving.cuts = [400_000]
    made = task(serving, tmp_path)
    made.run()
    assert (tmp_path / "a.tar.part").read_bytes() == CONTENT
    assert any("from the beginning" in line for line in made.told)  # type: ignore[attr-defined]


def test_two_versions_are_never_mixed(serving, tmp_path) -> None:
    serving.cuts = [400_000, 0, 0, 0, 0]
    with pytest.raises(UserError):
        task(serving, tmp_path).run()
    serving.files["a.tar"] = new = CONTENT[::-1]
    serving.cuts = []
    task(serving, tmp_path).run()
    assert (tmp_path / "a.tar.part").read_bytes() == new


def test_without_a_validator_it_starts_over(serving, tmp_path) -> None:
    serving.tagged = False
    serving.cuts = [400_000]
    task(serving, tmp_path, checked=False).run()
    assert [span for _, span in serving.asked] == ["", ""]
    assert (tmp_path / "a.tar.part").read_bytes() == CONTENT


def test_a_file_that_shrank_on_the_server_is_downloaded_again(serving, tmp_path) -> None:
    serving.cuts = [400_000, 0, 0, 0, 0]
    serving.tagged = False
    with pytest.raises(UserError):
        task(serving, tmp_path).run()
    serving.files["a.tar"], serving.cuts = b"short", []
    task(serving, tmp_path).run()
    assert (tmp_path / "a.tar.part").read_bytes() == b"short"


def test_a_part_longer_than_the_file_is_not_trusted(serving, tmp_path) -> None:
    (tmp_path / "a.tar.part").write_bytes(CONTENT + b"more")
    task(serving, tmp_path, size=len(CONTENT)).run()
    assert (tmp_path / "a.tar.part").read_bytes() == CONTENT


def test_a_busy_server_is_retried(serving, tmp_path) -> None:
    serving.statuses = [503, 429]
    task(serving, tmp_path).run()
    assert len(serving.asked) == 3


def test_a_file_of_unknown_length_is_read_to_the_end(serving, tmp_path) -> None:
    serving.told_length = False
    task(serving, tmp_path).run()
    assert (tmp_path / "a.tar.part").read_bytes() == CONTENT


def test_more_than_the_card_says_is_refused(serving, tmp_path) -> None:
    with pytest.raises(UserError, match="has 1,000,000 bytes, the card says 999"):
        task(serving, tmp_path, size=999).run()
    serving.told_length = False
    with pytest.raises(UserError, match="sends more than 999 bytes"):
        task(serving, tmp_path, size=999).run()
    assert not (tmp_path / "a.tar.part").exists() or (tmp_path / "a.tar.part").stat().st_size <= 999


def test_a_missing_file_explains_the_manual_download(serving, tmp_path) -> None:
    del serving.files["a.tar"]
    with pytest.raises(UserError, match=r"answers 404 Not Found\.\n.*put it at .*/a\.tar and rerun"):
        task(serving, tmp_path).run()
    assert len(serving.asked) == 1


def test_redirects_lead_to_http_only(serving, tmp_path) -> None:
    serving.files["b.tar"] = CONTENT
    serving.redirects["a.tar"] = serving.url("b.tar")
    task(serving, tmp_path).run()
    assert (tmp_path / "a.tar.part").read_bytes() == CONTENT
    (tmp_path / "a.tar.part").unlink()
    for target in ("file:///etc/hostname", "ftp://127.0.0.1/x"):
        serving.redirects["a.tar"] = target
        with pytest.raises(UserError, match=r"a\.tar: "):
            task(serving, tmp_path).run()
        assert not (tmp_path / "a.tar.part").exists()


def test_no_network_is_a_user_error(site, tmp_path) -> None:
    made = Fetch(f"http://127.0.0.1:{_closed_port()}/a", tmp_path / "part", None, True, lambda *_: None, print)
    with pytest.raises(UserError, match=r"cannot be reached .*\. Is this machine online\?"):
        made.run()


def _closed_port() -> int:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_a_silent_server_counts_as_a_lost_connection(tmp_path, monkeypatch) -> None:
    import socket

    monkeypatch.setattr(fetch, "TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=lambda: [listening.accept() for _ in range(1)], daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/a"
        with pytest.raises(UserError, match=r"lost after 0 bytes \(timed out\)"):
            Fetch(url, tmp_path / "part", None, True, lambda *_: None, lambda _: None, pause=0).run()


def test_a_full_disk_is_detected_in_advance(serving, tmp_path, monkeypatch) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=500_000))
    with pytest.raises(UserError, match=r"0\.0 GB are free, the file needs 0\.0 GB"):
        task(serving, tmp_path).run()
