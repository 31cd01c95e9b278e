from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import yaml
from data.download.conftest import tar_of

from rsam_app.data import load_dataset
from rsam_app.data.download import download_card
from rsam_app.system.errors import UserError
from rsam_app.system.progress import Reporter


class Quiet(Reporter):
    """Records the lines instead of printing them."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def source(site, photographs_archive) -> dict[str, object]:
    """The card's entry for an archive that the site serves."""
    site.files["birds.tgz"] = photographs_archive
    sha256 = hashlib.sha256(photographs_archive).hexdigest()
    return {"url": site.url("birds.tgz"), "size": len(photographs_archive), "sha256": sha256, "take": "birds"}


def test_a_dataset_is_downloaded_once(source, site, card_of, elsewhere) -> None:
    card = card_of(source)
    done = download_card(card, Quiet())
    assert (done.fetched, done.images, done.classes) == (True, 8, 2)
    assert "1 files outside of birds/" in done.notes[0]
    assert load_dataset(card).classes == ("auk", "wren")
    site.asked.clear()
    again = download_card(card, Quiet())
    assert (again.fetched, again.images, again.notes) == (False, 8, ())
    assert "already there; nothing was done" in again.text()
    assert site.asked == []
    assert sorted(p.name for p in elsewhere.iterdir()) == [".rsam-downloads", "birds"]
    assert not (elsewhere / ".rsam-downloads" / "birds" / "birds.tgz").exists()


def test_an_archive_made_on_a_mac_has_no_class_of_the_system(site, card_of, elsewhere) -> None:
    files = {f"birds/{label}/{n}.jpg": b"x" for label in ("auk", "wren") for n in range(3)}
    site.files["mac.tgz"] = tar_of({**files, "birds/__MACOSX/._auk": b"x", "birds/__MACOSX/auk/._0.jpg": b"x"})
    card = card_of({"url": site.url("mac.tgz"), "take": "birds"})
    done = download_card(card, Quiet())
    assert (done.images, done.classes) == (6, 2)
    note = f"{elsewhere / 'birds'}: 1 __MACOSX of the system ignored"
    assert note in done.notes and note in download_card(card, Quiet()).notes


def test_an_address_without_an_ending_is_unpacked_and_its_links_are_counted(site, card_of) -> None:
    files = {f"birds/{label}/{n}.jpg": b"x" for label in ("auk", "wren") for n in range(3)}
    link = tarfile.TarInfo("birds/newest")
    link.type, link.linkname = tarfile.SYMTYPE, "wren"
    site.files["files/1234"] = tar_of(files, members=[link])
    done = download_card(card_of({"url": site.url("files/1234"), "take": "birds"}), Quiet())
    assert (done.images, done.classes) == (6, 2)
    assert done.notes[0] == "1234: 1 symbolic links to other files in it were left out"


def test_archives_stay_on_request(source, card_of, elsewhere) -> None:
    download_card(card_of(source), Quiet(), keep=True)
    assert (elsewhere / ".rsam-downloads" / "birds" / "birds.tgz").exists()


@pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"sha256": "", "md5": "0" * 32}])
def test_a_wrong_checksum_leaves_nothing(source, card_of, elsewhere, wrong) -> None:
    with pytest.raises(UserError, match=r"not the right one \((SHA-256|MD5) \w+, the card says 0+\); it was removed"):
        download_card(card_of({**source, **wrong}), Quiet())
    assert not (elsewhere / "birds").exists()
    assert [p.name for p in (elsewhere / ".rsam-downloads" / "birds").iterdir()] == ["lock"]


def test_a_lost_connection_is_resumed(source, site, card_of) -> None:
    site.cuts = [1000]
    reporter = Quiet()
    assert download_card(card_of(source), reporter).images == 8
    assert site.asked[1][1] == "bytes=1000-"
    assert any("retrying from byte 1,000" in line for line in reporter.said)


def test_without_a_checksum_that_of_the_first_download_counts(source, site, card_of, elsewhere) -> None:
    unchecked = {"url": source["url"], "take": "birds"}
    done = download_card(card_of(unchecked), Quiet())
    assert any(f"has no checksum; its SHA-256 is {source['sha256']}" in note for note in done.notes)
    os.rename(elsewhere / "birds", elsewhere / "elsewhere")
    site.files["birds.tgz"] = tar_of({"birds/auk/1.jpg": b"other"})
    with pytest.raises(UserError, match=f"the first download had {source['sha256']}"):
        download_card(card_of(unchecked), Quiet())


def test_a_file_without_an_address_is_provided_manually(source, site, card_of, elsewhere, photographs_archive) -> None:
    by_hand = {k: v for k, v in source.items() if k != "url"} | {"file": "birds.tgz", "page": "https://birds.example"}
    card = card_of(by_hand)
    with pytest.raises(UserError, match=r"get birds\.tgz from https://birds\.example\.\nPut them into ") as caught:
        download_card(card, Quiet())
    folder = elsewhere / ".rsam-downloads" / "birds"
    assert str(folder) in str(caught.value)
    (folder / "birds.tgz").write_bytes(b"something else")
    with pytest.raises(UserError, match="is not the official file"):
        download_card(card, Quiet())
    assert (folder / "birds.tgz").exists()  # the user's file: not removed
    (folder / "birds.tgz").write_bytes(photographs_archive)
    assert download_card(card, Quiet()).images == 8
    assert site.asked == []


def test_plain_files_join_the_content_of_archives(site, card_of, elsewhere, source) -> None:
    site.files["list.mat"] = b"MATLAB"
    download_card(card_of(source, {"url": site.url("list.mat?x=1")} | {"file": "list.mat"}), Quiet())
    assert (elsewhere / "birds" / "list.mat").read_bytes() == b"MATLAB"


def test_files_that_do_not_fit_the_layout_never_become_the_root(source, card_of, elsewhere) -> None:
    with pytest.raises(UserError, match=r"classes\.txt|images\.txt"):
        download_card(card_of(source, layout="cub_200_2011"), Quiet())
    assert sorted(p.name for p in elsewhere.iterdir()) == [".rsam-downloads"]
    assert download_card(card_of(source), Quiet()).fetched  # the archive was kept for the next attempt


def test_a_malicious_archive_leaves_nothing(site, card_of, elsewhere) -> None:
    site.files["birds.tgz"] = tar_of({"auk/1.jpg": b"x", "../evil": b"x"})
    with pytest.raises(UserError, match="leads outside"):
        download_card(card_of({"url": site.url("birds.tgz")}), Quiet())
    assert sorted(p.name for p in elsewhere.iterdir()) == [".rsam-downloads"]


def test_a_root_made_by_the_user_is_left_alone(source, site, card_of, elsewhere) -> None:
    (elsewhere / "birds" / "auk").mkdir(parents=True)
    with pytest.raises(UserError, match="exists but cannot be read"):
        download_card(card_of(source), Quiet())
    (elsewhere / "birds" / "auk" / "1.jpg").write_bytes(b"x")
    done = download_card(card_of(source), Quiet())
    assert not done.fetched and "was not made by `rsam download`" in done.notes[0]
    assert site.asked == []


def test_a_root_of_another_version_is_named(source, card_of) -> None:
    download_card(card_of(source), Quiet())
    with pytest.raises(UserError, match=r"was made from other files than the card names \(birds\.tgz: SHA-256"):
        download_card(card_of({**source, "sha256": "1" * 64}), Quiet())


def test_an_empty_root_is_filled(source, card_of, elsewhere) -> None:
    (elsewhere / "birds").mkdir(parents=True)
    assert download_card(card_of(source), Quiet()).fetched


def test_concurrent_downloads_are_refused(source, card_of, elsewhere) -> None:
    folder = elsewhere / ".rsam-downloads" / "birds"
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another `rsam download` is using it"):
            download_card(card_of(source), Quiet())


def test_a_disk_that_is_too_small_is_detected_in_advance(source, site, card_of) -> None:
    with pytest.raises(UserError, match=r"birds needs about 2\.0 EB more to download and unpack"):
        download_card(card_of({**source, "size": 10**18}), Quiet())
    assert site.asked == []


def test_space_to_unpack_is_required_in_advance(source, card_of, elsewhere, monkeypatch) -> None:
    download_card(card_of(source), Quiet(), keep=True)
    os.rename(elsewhere / "birds", elsewhere / "moved")
    usage = shutil.disk_usage(elsewhere)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(UserError, match=r"unpacking needs about .*\n.*downloaded files stay"):
        download_card(card_of({**source, "size": None}), Quiet())


def test_a_manifest_is_a_file_in_the_downloaded_folder(site, photographs_archive, card_of, elsewhere) -> None:
    rows = b"path,label\n" + b"".join(b"%s/%d.jpg,%s\n" % (c, n, c) for c in (b"auk", b"wren") for n in range(4))
    site.files["birds.tgz"], site.files["manifest.csv"] = photographs_archive, rows
    entries = [{"url": site.url("birds.tgz"), "take": "birds"}, {"url": site.url("manifest.csv")}]
    card = card_of(*entries, layout="manifest", root="birds/manifest.csv")
    assert download_card(card, Quiet()).root == elsewhere / "birds"
    assert len(load_dataset(card).records) == 8


def test_a_card_without_addresses_names_the_root(card_of, elsewhere) -> None:
    with pytest.raises(UserError, match=f"has no `download`.*Put it at {elsewhere / 'birds'}"):
        download_card(card_of(), Quiet())


def test_the_command_recovers_from_a_kill(source, site, elsewhere, tmp_path) -> None:
    card = {"name": "birds", "layout": "folder", "root": "birds", "licence": "ours", "download": [source]}
    path = tmp_path / "birds.yaml"
    path.write_text(yaml.safe_dump(card))
    command = [sys.executable, "-m", "rsam_app", "download", str(path)]
    site.statuses = [503] * 3  # it waits between attempts, and is killed meanwhile
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
    deadline = time.monotonic() + 60
    while not site.asked and time.monotonic() < deadline:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (elsewhere / "birds").exists()
    site.statuses = []
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True, env=dict(os.environ))
    told = json.loads(done.stdout)
    assert (told["fetched"], told["images"], Path(told["root"])) == (True, 8, elsewhere / "birds")
