"""Speed that a reviewer feels, with 10,000 images: to the App's address, to its grid, to the next image, to the panel.

    python benchmarks/review_speed.py [--images 10000] [--presses 12]

A folder of small generated JPEGs, half of them in `test`, and a run with random predictions, rectangles and embeddings,
which `rsam review` writes once, not timed. Then, in one run, on a private database and in headless Chromium:

- `address`: from `rsam review RUN` of the unchanged run, as a process in a terminal, to the address that it prints;
- `open`: from the address to the grid's count of images and the panel's queue; the first is cold, the others warm;
- `next image`: from the key `2`, and `n`, to the next image's id in the address of the page, and its picture loaded;
- `panel`: from the same key to the panel's text about that image; `operator`: of it, the request that executes ours.

The machine may be shared: all times are listed beside its load average, and `best` is the least of each. Needs Debian's
`chromium`. Results, by commit: `benchmarks/results/review_speed.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from measuring.surroundings import where
from PIL import Image

from rsam_app.data.records import Record
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.run.folder import RunFolder
from rsam_app.run.job import Job
from rsam_app.run.predictions import SCHEMA, write_predictions
from rsam_app.system.progress import Reporter

RESULTS = Path(__file__).resolve().parent / "results" / "review_speed.json"
CLASSES = 20
SCORES = ("misattention", "label_quality", "outside_activation", "instability", "degeneracy")
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
PATIENCE = 120.0
"""Seconds after which a step counts as failed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--presses", type=int, default=12, help="of each key")
    parser.add_argument("--rounds", type=int, default=3, help="of opening")
    parser.add_argument("--folder", type=Path, help="keep images, run and database there")
    arguments = parser.parse_args()
    folder = (arguments.folder or Path(tempfile.mkdtemp(prefix="rsam-bench-"))).resolve()
    load = os.getloadavg()[0]
    try:
        environment = _environment(folder)
        run = _run(folder, arguments.images)
        first = _seconds(lambda: _rsam(environment, folder, "review", run, "--no-app"))
        report: dict[str, Any] = {"environment": where(), "images": arguments.images, "first_write": round(first, 1)}
        seconds = _measure(environment, folder, run, arguments.rounds, arguments.presses)
        report["seconds"] = {name: [round(value, 3) for value in values] for name, values in seconds.items()}
        report["best"] = {name: round(min(values), 3) for name, values in seconds.items()}
        report["median"] = {name: round(float(np.median(values)), 3) for name, values in seconds.items()}
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    report["load_average"] = {"before": round(load, 1), "after": round(os.getloadavg()[0], 1)}
    print(json.dumps({name: report[name] for name in ("best", "median", "load_average")}, indent=2))
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    found[report["environment"]["commit"]] = report
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _environment(folder: Path) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("FIFTYONE_")}
    (folder / "plugins").mkdir(parents=True, exist_ok=True)
    own = {
        "RSAM_DATABASE_DIR": str(folder / "database"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "FIFTYONE_CONFIG_PATH": str(folder / "config.json"),
        "FIFTYONE_PLUGINS_DIR": str(folder / "plugins"),
        "FIFTYONE_DO_NOT_TRACK": "true",
        "TERM": "dumb",
    }
    os.environ["XDG_CACHE_HOME"] = own["XDG_CACHE_HOME"]
    return inherited | own


# ---- the data


def _run(folder: Path, images: int) -> Path:
    """A card of generated images and a run with random predictions of all of them; returns the run's folder."""
    run = RunFolder(folder / "runs" / "bench")
    if run.config_path.exists():
        return run.path
    rng = np.random.default_rng(0)
    for number in range(images):
        split, label = ("train", "test")[number % 2], f"class {number // 2 % CLASSES:02}"
        path = folder / "photos" / split / label / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC).save(path, quality=80)
    card = {"name": "bench", "layout": "folder", "root": str(folder / "photos"), "licence": "CC0"}
    (folder / "bench.yaml").write_text(yaml.safe_dump(card))
    content = {"dataset": str(folder / "bench.yaml"), "model": {"backbone": "test_resnet", "weights": "none"}}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump({"name": "bench", **content}))
    job = Job.of_pipeline(str(folder / "pipeline.yaml"), [], run.path, Reporter(quiet=True))
    dataset = job.original
    run.save_pipeline(job.pipeline)
    for split in ("train", "val", "test"):
        if records := dataset.split(split):
            table = _table(records, list(dataset.classes), rng)
            write_predictions(run.predictions / f"{split}.parquet", table, rng.normal(size=(len(records), 128)))
    return run.path


def _table(records: tuple[Record, ...], classes: list[str], rng: np.random.Generator) -> pa.Table:
    count = len(records)
    logits = rng.normal(size=(count, len(classes)))
    logits[np.arange(count), [classes.index(r.label) for r in records]] += 3
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ranked = np.sort(probabilities, axis=1)
    columns: dict[str, Any] = {
        "id": [r.id for r in records],
        "path": [str(r.path) for r in records],
        "split": [r.split for r in records],
        "label": [r.label for r in records],
        "predicted": [classes[i] for i in logits.argmax(axis=1)],
        "confidence": ranked[:, -1],
        "margin": ranked[:, -1] - ranked[:, -2],
        "entropy": -(probabilities * np.log(probabilities)).sum(axis=1),
        "logits": list(logits.astype(np.float32)),
        "corners": list(rng.random((count, 8))),
        "box": list(rng.uniform(0.1, 0.4, (count, 4))),
        **{name: rng.uniform(50, 200, count) for name in RECTANGLE_FIELDS},
        **{name: rng.random(count) for name in SCORES},
    }
    schema = pa.schema([*SCHEMA, *((name, pa.float32()) for name in SCORES)])
    return pa.table({name: pa.array(columns[name], schema.field(name).type) for name in schema.names}, schema=schema)


# ---- the commands


def _rsam(environment: dict[str, str], folder: Path, *words: object) -> None:
    command = [sys.executable, "-m", "rsam_app", *map(str, words)]
    subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True)


@contextmanager
def _review(environment: dict[str, str], folder: Path, run: Path) -> Iterator[tuple[str, float]]:
    """`rsam review` in a terminal, which it needs to stay; yields the address and the seconds until it was there."""
    parent, child = pty.openpty()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "rsam_app", "review", str(run), "--remote", "--port", port],
        stdin=child,
        stdout=child,
        stderr=child,
        env=environment,
        cwd=folder,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(child)
    try:
        output, taken = "", 0.0
        while "Ctrl-C" not in output:
            if time.perf_counter() - begun > PATIENCE or process.poll() is not None:
                raise RuntimeError(output)
            if select.select([parent], [], [], 0.05)[0]:
                output += os.read(parent, 4096).decode(errors="replace")
            if not taken and "FiftyOne App: http" in output:
                taken = time.perf_counter() - begun
        yield output.partition("FiftyOne App: ")[2].split()[0], taken
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
        os.close(parent)


def _measure(environment: dict[str, str], folder: Path, run: Path, rounds: int, presses: int) -> dict[str, list[float]]:
    from playwright.sync_api import sync_playwright

    seconds: dict[str, list[float]] = {"address": []}
    for _ in range(rounds - 1):
        with _review(environment, folder, run) as (_, taken):
            seconds["address"].append(taken)
    with _review(environment, folder, run) as (url, taken), sync_playwright() as playwright:
        seconds["address"].append(taken)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(QUIET))
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(PATIENCE * 1000)
        page.route(lambda address: not address.startswith(url.split("/datasets")[0]), lambda route: route.abort())
        opened = [_opened(page, url) for _ in range(rounds + 1)]
        seconds |= {"open, cold": opened[:1], "open": opened[1:]}
        _open_beside_the_panel(page)
        for key, name in (("2", "mark"), ("n", "skip")):
            times = [_pressed(page, key) for _ in range(presses)]
            for part in times[0]:
                seconds[f"{name}: {part}"] = [of_press[part] for of_press in times]
        browser.close()
    return seconds


# ---- the browser


def _opened(page: Any, url: str) -> float:
    def work() -> None:
        page.goto(url, wait_until="commit")
        page.wait_for_function("() => /\\d samples/.test(document.body.innerText)")
        page.wait_for_function("() => /\\d left/.test(document.body.innerText)")

    taken = _seconds(work)
    page.wait_for_timeout(3000)  # what still loads is not charged to the next step
    return taken


def _open_beside_the_panel(page: Any) -> None:
    """Open the first image, and put the panel, which waits in a tab, beside it."""
    page.keyboard.press("n")
    page.locator("[data-cy=modal]").get_by_text("RSAM review").first.click()
    page.locator("[data-cy=modal] button[title='Split horizontally']").first.click()
    page.wait_for_timeout(5000)


WATCH = """() => {
  const pathId = () => new URLSearchParams(location.search).get('id');
  const name = () => [...document.querySelectorAll('[data-cy=modal] strong')].map((e) => e.textContent)
    .find((text) => /\\.jpg$/.test(text));
  const before = {id: pathId(), name: name(), at: performance.now()};
  const done = window.__speed = {};
  const look = () => {
    const now = performance.now() - before.at;
    if (!done.image && pathId() && pathId() !== before.id) done.image = now;
    if (!done.panel && name() && name() !== before.name) done.panel = now;
    if (!(done.image && done.panel) && now < 60000) requestAnimationFrame(look);
  };
  look();
}"""


def _pressed(page: Any, key: str) -> dict[str, float]:
    """Press a key; seconds until the next image is named in the address and its file is there, until the panel is
    about it, and of the request that executes our operator."""
    requests: list[Any] = []

    def keep(request: Any) -> None:
        requests.append(request)

    page.on("requestfinished", keep)
    page.evaluate(WATCH)
    page.keyboard.press(key)
    page.wait_for_function("() => window.__speed.image && window.__speed.panel")
    page.wait_for_timeout(1500)  # a person looks at the image
    page.remove_listener("requestfinished", keep)
    done = page.evaluate("() => window.__speed")
    ours = [
        r.timing["responseEnd"] for r in requests if "/operators/execute" in r.url and '"key"' in (r.post_data or "")
    ]
    found = {"next image": done["image"], "panel": done["panel"], "operator": max(ours, default=float("nan"))}
    return {name: value / 1000 for name, value in found.items()}


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
