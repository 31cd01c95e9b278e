"""The App: opened for real, used in a real browser, closed without a trace."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from rsam_app.config import Card, Pipeline
from rsam_app.data import Images
from rsam_app.data.records import Dataset
from rsam_app.review.app.colors import OPACITY, RUN_COLORS
from rsam_app.review.app.session import check_port, free_port, open_app
from rsam_app.review.decisions.read import read_decisions
from rsam_app.review.labelling.batches import take_batch
from rsam_app.review.labelling.begin import begin_labelling
from rsam_app.review.remove import remove
from rsam_app.review.writing.write_run import write_run
from rsam_app.run.folder import RunFolder
from rsam_app.run.label_features import save_label_features
from rsam_app.system.errors import UserError

QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield int(server.getsockname()[1])


@pytest.fixture
def to_label(drawn: Dataset, tmp_path: Path, fiftyone_module: ModuleType) -> Iterator[Any]:
    """The drawn images without their labels, before there is a run; features tell the classes apart."""
    records = tuple(replace(r, label="", split="unlabelled", boxes=()) for r in drawn.records)
    run = RunFolder(tmp_path / "label" / "drawn")
    run.save_pipeline(Pipeline(name="drawn", dataset="drawn"))
    vectors = np.eye(3)[[drawn.classes.index(r.label) for r in drawn.records]] + np.arange(24)[:, None] / 500
    save_label_features(run, [r.id for r in records], vectors, "drawn")
    card = Card(name=f"{drawn.name}-to-label", layout="folder", root=str(tmp_path))
    images = Images(records, (), False, {"train": "train"}, (), (), ())
    labelled = begin_labelling(card, images, run, "drawn", 6)
    take_batch(labelled)
    yield labelled
    fiftyone_module.delete_dataset(labelled.name)


def test_a_browser_shows_rectangles_a_key_marks_and_a_box_is_drawn(
    review_set: Any, to_label: Any, users: Any, card: Dataset, make_run: Callable[..., RunFolder], chromium: str
) -> None:
    """One server and one browser for all of it: they take longer to start than to use."""
    port, output, shots = free_port(), [], []
    worst = review_set.load_saved_view("run_one misattended").values("id")

    def visit(line: str) -> None:
        output.append(line)
        if line.startswith("FiftyOne App: "):
            url = line.removeprefix("FiftyOne App: ")
            with _page(chromium, url) as page:
                shots.append(_painted_page(page))
                _review_with_keys(page, review_set, worst)
                _give_a_new_class(page, review_set, worst[0])
                _draw_a_target(page, review_set, worst[0])
                _label_photographs(page, url, to_label)
                _review_the_users_own(
                    page, line.removeprefix("FiftyOne App: "), users, card, make_run(card, "in place")
                )

    open_app(review_set.name, port, report=visit)  # no terminal here: it returns by itself
    assert output[-1] == f"FiftyOne App: http://127.0.0.1:{port}/datasets/{review_set.name}"
    assert not listening(port), "the App's server outlived its session"
    pixels = np.asarray(Image.open(io.BytesIO(shots[0])).convert("RGB")).astype(float)
    grid = pixels[150:850, 320:1050]
    assert grid.std() > 20, "the grid is blank"
    # A rectangle's fill lies over black birds as nothing else in the drawing does: dark, and of the rectangle's hue.
    color = np.array([int(RUN_COLORS[0][i : i + 2], 16) for i in (1, 3, 5)])
    over_black = OPACITY * color + (1 - OPACITY) * 30
    share = (np.abs(grid - over_black).max(-1) < 25).mean()
    assert share > 0.005, f"no rectangle over the black birds: {share:.4%} of the grid"


def _review_with_keys(page: Any, review_set: Any, worst: list[str]) -> None:
    """Go through the queue by keys and check the database. FiftyOne's advertisement may cover buttons."""
    page.get_by_text("18 left").first.wait_for()
    page.keyboard.press("n")
    _until_open(page, worst[0])
    page.keyboard.press("2")
    _until_marked(page, review_set, worst[0], "wrong place")
    _until_open(page, worst[1])  # the next in the view's order
    page.keyboard.press("0")
    _until_marked(page, review_set, worst[0], None)
    _until_open(page, worst[0])


def _give_a_new_class(page: Any, review_set: Any, sample_id: str) -> None:
    """Type a class that the dataset lacks into the form of the key `l`, tick that it is new, and undo."""
    image = review_set.select(sample_id)
    before = image.values("ground_truth.label")
    page.keyboard.press("l")
    page.get_by_placeholder("Type or select a value").press_sequentially("Grey Warbler")
    page.get_by_label("New class").check()
    page.get_by_role("button", name="Execute").click()
    _wait_for(page, lambda: image.values("ground_truth.label") == ["Grey Warbler"])
    page.get_by_role("button", name="Execute").wait_for(state="hidden")
    page.keyboard.press("0")
    _wait_for(page, lambda: image.values("ground_truth.label") == before)
    _until_open(page, sample_id)


def _label_photographs(page: Any, url: str, to_label: Any) -> None:
    """On the same server: type the labels of images of a batch until two classes have one, then take a suggestion."""
    batch = to_label.load_saved_view("to label")
    page.goto(f"{url.rpartition('/')[0]}/{to_label.name}?view=to-label", wait_until="domcontentloaded")
    page.get_by_text("6 samples").wait_for()
    page.keyboard.press("n")
    for sample_id, path in zip(*batch.values(["id", "filepath"]), strict=True):
        _until_open(page, sample_id)
        image, label = to_label.select(sample_id), Path(path).parent.name
        if len(to_label.distinct("ground_truth.label")) == 2:
            break
        page.keyboard.press("l")
        page.locator("input:focus").wait_for()  # nothing is clicked: a letter beside the field would be a key
        page.keyboard.type(label)
        page.get_by_role("button", name="Execute").click()
        _wait_for(page, lambda: image.values("ground_truth.label") == [label])  # noqa: B023 (called at once)
        page.get_by_role("button", name="Execute").wait_for(state="hidden")
    (suggested,) = image.values("label_suggested")
    page.keyboard.press("7")
    _wait_for(page, lambda: image.values("ground_truth.label") == [suggested])
    assert suggested in to_label.distinct("ground_truth.label") and image.values("review") == ["labelled"]


def _review_the_users_own(page: Any, url: str, users: Any, card: Dataset, run: RunFolder) -> None:
    """On the same server: the user's dataset with a run in it, a key, and everything of ours removed again."""
    values = ["id", "filepath", "tags", "ground_truth.label", "split", "weight_g"]
    before = users.list_saved_views(), sorted(users.get_field_schema()), users.info, users.values(values)
    write_run(run, card, into=users.name)
    users.reload()
    worst = users.load_saved_view("in_place misattended").first().id
    page.goto(f"{url.rpartition('/')[0]}/{quote(users.name)}?view=in-place-misattended", wait_until="domcontentloaded")
    page.get_by_text("18 samples").first.wait_for()
    page.keyboard.press("n")
    _until_open(page, worst)
    page.keyboard.press("3")
    _until_marked(page, users, worst, "wrong label")
    assert remove(users.name).fields > 20
    users.reload()
    assert (users.list_saved_views(), sorted(users.get_field_schema()), users.info, users.values(values)) == before


def _draw_a_target(page: Any, review_set: Any, sample_id: str) -> None:
    """Draw a box on the open image, with nothing set up first; `rsam apply` would read it as this image's target."""
    page.get_by_text("Annotate", exact=True).click()
    page.locator("[data-cy=detection-mode]").click()
    page.get_by_text("Click and drag to create a bounding box").wait_for()
    _wait_for(page, lambda: _contrast(page.screenshot()) > 5)  # the tool waits for the image, which is painted last
    drawn = review_set.select(sample_id)
    _drag(page)
    if not _comes_true(page, lambda: bool(drawn.values("attention_target.detections")[0]), 60):
        _drag(page)  # a page that is short of processor time may miss the whole drag
    _wait_for(page, lambda: drawn.values("attention_target.detections.label") == [["target"]])
    ((box,),) = drawn.values("attention_target.detections.bounding_box")
    decided = read_decisions(review_set.name, "run_one", "ann")
    (target,) = [c for c in decided.corrections if c.kind == "rectangle"]
    x, y, width, height = np.array(box) * [240, 160, 240, 160]
    assert json.loads(target.after) == pytest.approx([x + width / 2, y + height / 2, width, height, 0], abs=1e-3)
    assert [target.id] == drawn.values("record_id") and not decided.problems


def _drag(page: Any) -> None:
    """Drag the mouse over the image, which fills the middle of the window."""
    page.mouse.move(400, 350)
    page.mouse.down()
    page.mouse.move(500, 420, steps=5)
    page.mouse.move(620, 500, steps=5)
    page.mouse.up()


def _until_open(page: Any, sample_id: str) -> None:
    """Wait until the image is open and has been drawn: its id is in the address."""
    page.wait_for_url(lambda address: f"id={sample_id}" in address, timeout=120_000)
    page.locator("[data-cy=modal]").wait_for()


def _until_marked(page: Any, review_set: Any, sample_id: str, mark: str | None) -> None:
    _wait_for(page, lambda: review_set.select(sample_id).values("review") == [mark])


def _wait_for(page: Any, holds: Callable[[], bool]) -> None:
    assert _comes_true(page, holds, 120), "timed out"


def _comes_true(page: Any, holds: Callable[[], bool], seconds: float) -> bool:
    """Wait in the browser's own time: while this process sleeps, no request of the page gets through."""
    deadline = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < deadline:
        page.wait_for_timeout(200)
    return held


def test_an_open_app_gets_the_colours_of_a_run_that_is_written_meanwhile(
    drawn: Dataset, make_run: Callable[..., RunFolder], review_set: Any
) -> None:
    from rsam_app.review.app.session import app_session, follow_colors, stored_colors

    with app_session(drawn.name, None, True, "127.0.0.1", None) as (session, _):
        known = stored_colors(drawn.name)
        assert follow_colors(session, known) == known
        write_run(make_run(drawn, name="run two"), drawn)
        follow_colors(session, known)
        assert "run_two_rectangle" in {entry["path"] for entry in session.color_scheme.fields}


def test_without_the_app_the_dataset_is_named(review_set: Any) -> None:
    output: list[str] = []
    open_app(review_set.name, no_app=True, report=output.append)
    assert output == [f"FiftyOne dataset: {review_set.name}"]


def _drain(terminal: int) -> None:
    """Read the terminal's output until it is closed."""
    with suppress(OSError):
        while os.read(terminal, 4096):
            pass


def test_in_a_terminal_the_app_stays_until_ctrl_c(review_set: Any) -> None:
    port = free_port()
    code = f"from rsam_app.review.app.session import open_app; open_app({review_set.name!r}, {port}, remote=True)"
    parent, child = pty.openpty()
    # An own process group and terminal, and Ctrl-C not ignored, as from a shell; tests in the background would inherit
    # that it is ignored.
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=child,
        stderr=child,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(child)
    try:
        output = _until(parent, "Press Ctrl-C to close")
        assert f"ssh -N -L {port}:127.0.0.1:{port}" in output
        assert listening(port)
        assert process.poll() is None
        threading.Thread(target=_drain, args=(parent,), daemon=True).start()  # a full terminal would block its end
        os.killpg(process.pid, signal.SIGINT)  # a terminal interrupts the whole group, the App's server included
        assert process.wait(120) == 0
    finally:
        process.kill()
        os.close(parent)
    assert not listening(port)


def test_a_taken_or_impossible_port_is_refused(taken: int, review_set: Any) -> None:
    with pytest.raises(UserError, match=rf"(?s)--port {taken}: .*another port: --port \d+"):
        open_app(review_set.name, taken)
    with pytest.raises(UserError, match=r"1 to 65535"):
        check_port("127.0.0.1", 70000)
    with pytest.raises(UserError, match=r"cannot listen there"):
        check_port("192.0.2.1", 5151)
    assert free_port() != taken


def test_an_unknown_dataset_or_view_is_refused(review_set: Any) -> None:
    with pytest.raises(UserError, match=r"no dataset 'nowhere'"):
        open_app("nowhere", no_app=True)
    with pytest.raises(UserError, match=r"no saved view 'worst' \(has: .*run_one misattended"):
        open_app(review_set.name, view="worst")


@contextmanager
def _page(chromium: str, url: str, samples: int = 18) -> Iterator[Any]:
    """The App in a browser, its grid filled."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(QUIET))
        try:
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.set_default_timeout(120_000)
            # FiftyOne asks for fonts from the network; without one the page would wait for them.
            page.route(lambda address: not address.startswith(url.split("/datasets")[0]), lambda route: route.abort())
            page.goto(url, wait_until="domcontentloaded")
            page.get_by_text(f"{samples} samples").wait_for()
            yield page
        finally:
            browser.close()


def _painted_page(page: Any) -> bytes:
    """A screenshot once images and labels, which are painted one after the other, are all there."""
    before, deadline = b"", time.monotonic() + 120
    while time.monotonic() < deadline:
        page.wait_for_timeout(2_000)
        shot = page.screenshot()
        if shot == before and _painted(shot):
            return shot
        before = shot
    return before


def _painted(shot: bytes) -> bool:
    return _contrast(shot) > 20


def _contrast(shot: bytes) -> float:
    """Standard deviation of the grey levels in the middle of the window: 0 if nothing is painted yet."""
    pixels = np.asarray(Image.open(io.BytesIO(shot)).convert("L")).astype(float)
    return float(pixels[150:850, 320:1050].std())


def _until(terminal: int, text: str) -> str:
    output, deadline = "", time.monotonic() + 240
    while text not in output and time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            output += os.read(terminal, 4096).decode(errors="replace")
    assert text in output, output
    return output
