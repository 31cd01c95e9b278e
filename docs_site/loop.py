"""Record `docs/loop.gif`, the README's moving picture, from the real App on the demo's run.

    rsam demo --no-app && python -m docs_site.loop runs/demo docs/loop.gif

One box is drawn with the mouse; the next nine images get the boxes that the demo planted. All of them stay in the
demo's dataset, and the operator appends them to its corrections: record in a folder of its own. Needs Chromium on the
path.
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rsam_app.data.synthetic.planting import Planted, read_planted
from rsam_app.geometry.types import Box, Rectangle

WINDOW = (1280, 800)
SIZE = (900, 602)
"""Of the picture: the window made smaller, and a caption below it."""
BAR = 40
GRID = (308, 148, 964, 558)
"""The edges of the images in the window."""
SHARP = 2
"""Pixels of a screenshot for one of the window, so that a part of it can be enlarged."""
PAINTED = 8_000
"""Milliseconds after which a page is painted on two busy cores."""
STEPS = 6
"""Frames of the drag."""
BOXES = 10
"""Boxes drawn in all."""
LINES = (220, 90, 200)
"""The App's colour of the boxes at the end, for the palette: thin lines are too few pixels to get a place in it."""
QUEUE = "the wrong place"
"""Name of the view that is gone through."""
DRAG = "3. Annotate: drag a box around what matters"
AGAIN = "It finds the object in all training images again, taught by the boxes"


@dataclass
class Film:
    """The frames of the picture, each with its caption, and how long each is shown in milliseconds."""

    page: Any
    frames: list[Image.Image] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    def take(
        self,
        caption: str,
        length: int = 1500,
        mouse: tuple[float, float] | None = None,
        part: tuple[int, int, int, int] = (0, 0, *WINDOW),
    ) -> None:
        """Add a part of the page, with a pointer at `mouse` (pixels of the window), as screenshots have none."""
        shot = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        if mouse:
            arrow = ((0, 0), (0, 26), (6, 20), (11, 30), (16, 28), (11, 18), (19, 18))
            points = [(SHARP * (mouse[0] + x), SHARP * (mouse[1] + y)) for x, y in arrow]
            ImageDraw.Draw(shot).polygon(points, fill=(255, 255, 255), outline=(0, 0, 0))
        frame = Image.new("RGB", SIZE, (32, 32, 40))
        left, top, right, bottom = (SHARP * edge for edge in part)
        seen = shot.crop((left, top, right, bottom)).resize((SIZE[0], SIZE[1] - BAR), Image.Resampling.LANCZOS)
        frame.paste(seen)
        text = ImageFont.load_default(size=18)
        ImageDraw.Draw(frame).text((14, SIZE[1] - BAR / 2), caption, (255, 255, 255), text, anchor="lm")
        self.frames.append(frame)
        self.lengths.append(length)

    def save(self, path: Path) -> None:
        """Write the picture; all frames share one palette, so that what stays the same costs nothing."""
        everything = Image.new("RGB", (SIZE[0], SIZE[1] * (len(self.frames) + 1)))
        for number, frame in enumerate(self.frames):
            everything.paste(frame, (0, SIZE[1] * number))
        for tenths in range(5, 11):
            shade = tuple(round(value * tenths / 10) for value in LINES)
            bottom = everything.height - 90 * (tenths - 5)
            everything.paste(shade, (0, bottom - 90, SIZE[0], bottom))
        palette = everything.quantize(256, Image.Quantize.FASTOCTREE)
        drawn = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self.frames]
        drawn[0].save(path, save_all=True, append_images=drawn[1:], duration=self.lengths, loop=0, optimize=True)


def record(run: Path, planted: Planted) -> Film:
    """Open the App on the demo's run and go through the loop once."""
    from rsam_app.review.app.session import app_session
    from rsam_app.review.dataset.schema import open_review
    from rsam_app.run.job import Job
    from rsam_app.system.mongodb.connection import import_fiftyone
    from rsam_app.system.progress import Reporter

    job = Job.of_run(run, [], Reporter())
    import_fiftyone()
    review_set, key = open_review(job.original.name), job.pipeline.review.key or job.run.key
    queue = _misplaced(review_set, key, planted)
    shown = [f"{key}_rectangle", "attention_target"]
    _show_fields(review_set, shown)
    with app_session(review_set.name, remote=True, view=QUEUE) as (_, url), _browser(url) as page:
        film = Film(page)
        _settle(page)
        film.take("1. The queue: images where the model most likely looked at the wrong place", 2500)
        film.take("1. The queue: images where the model most likely looked at the wrong place", 3000, part=GRID)
        _draw(film, review_set, queue[0], planted)
        _draw_unseen(review_set, queue[1:BOXES], planted)
        _open(page, url, review_set, shown)
        film.take(f"4. {BOXES - 1} more, in blue: a minute of work in all", 3000, part=GRID)
        _score_again(film)
        _open(page, url, review_set, [f"{key}_located"])
        film.take(f"6. Where the objects are now. {_gain(review_set, key, planted)}", 6000, part=GRID)
    return film


def _misplaced(review_set: Any, key: str, planted: Planted) -> list[str]:
    """Save the view `QUEUE`: training images with a rectangle off the beetle, in the order of the run's own queue;
    returns their ids in FiftyOne."""
    view = review_set.load_saved_view(f"{key} misattended").match({"split": "train"})
    overlaps = _overlaps(view, f"{key}_attention", planted)
    chosen = [i for i, overlap in zip(view.values("id"), overlaps, strict=True) if overlap < 0.2]
    review_set.save_view(QUEUE, review_set.select(chosen, ordered=True), overwrite=True)
    return chosen


def _overlaps(view: Any, name: str, planted: Planted) -> np.ndarray:
    """IoU of each image's box in a field with the beetle's; NaN without one."""
    rows = zip(*view.values(["record_id", f"{name}.detections.bounding_box"]), strict=True)
    return np.array([_overlap(boxes[0], _relative(planted, i)) if boxes else np.nan for i, boxes in rows])


def _overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """IoU of two boxes x, y, width, height."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)


def _relative(planted: Planted, record_id: str) -> Box:
    """The beetle's box x, y, width, height, relative to the image."""
    truth = planted.images[record_id]
    x, y, width, height = truth.box
    return x / truth.width, y / truth.height, width / truth.width, height / truth.height


def _gain(review_set: Any, key: str, planted: Planted) -> str:
    """What the boxes did to the training images that nobody drew on."""
    from fiftyone import ViewField

    others = review_set.match({"split": "train"}).match(ViewField("attention_target.detections").length() == 0)
    before, now = (np.nanmean(_overlaps(others, f"{key}_{name}", planted)) for name in ("attention", "located"))
    return f"On {len(others)} others, IoU with the beetle {before:.2f} before, {now:.2f} now"


def _draw(film: Film, review_set: Any, sample_id: str, planted: Planted) -> None:
    """Open the first image with the key, and draw the beetle's box on it with the mouse."""
    page, sample = film.page, review_set[sample_id]
    page.keyboard.press("n")
    page.wait_for_url(lambda address: f"id={sample_id}" in address)
    page.mouse.move(*WINDOW)
    page.wait_for_timeout(PAINTED)
    film.take("2. The key n opens the next image: the rectangle is beside the beetle", 2500)
    page.get_by_text("Annotate", exact=True).click()
    page.locator("[data-cy=detection-mode]").click()
    page.get_by_text("Click and drag to create a bounding box").wait_for()
    page.wait_for_timeout(PAINTED)
    left, top, right, bottom = _on_screen(page, sample.metadata, _relative(planted, sample.record_id))
    page.mouse.move(left, top)
    film.take(DRAG, 1000, (left, top))
    page.mouse.down()
    for step in range(1, STEPS + 1):
        x, y = left + (right - left) * step / STEPS, top + (bottom - top) * step / STEPS
        page.mouse.move(x, y, steps=4)
        page.wait_for_timeout(500)
        film.take(DRAG, 250, (x, y))
    page.mouse.up()
    while not review_set.select(sample_id).values("attention_target.detections")[0]:
        page.wait_for_timeout(200)
    page.wait_for_timeout(2_000)
    film.take(DRAG, 1500, (right, bottom))


def _on_screen(page: Any, size: Any, box: Box) -> tuple[float, float, float, float]:
    """The edges of a relative box of the open image, in pixels of the window: the largest canvas holds the image."""
    found = [canvas.bounding_box() for canvas in page.locator("canvas").all()]
    canvas = max(filter(None, found), key=lambda c: float(c["width"] * c["height"]))
    scale = min(canvas["width"] / size.width, canvas["height"] / size.height)
    width, height = scale * size.width, scale * size.height
    left, top = canvas["x"] + (canvas["width"] - width) / 2, canvas["y"] + (canvas["height"] - height) / 2
    x, y, w, h = box
    return left + x * width, top + y * height, left + (x + w) * width, top + (y + h) * height


def _draw_unseen(review_set: Any, chosen: Sequence[str], planted: Planted) -> None:
    """Give images the boxes that a reviewer would draw."""
    from rsam_app.review.dataset.targets import as_target

    values = {}
    for sample in review_set.select(list(chosen)):
        truth = planted.images[sample.record_id]
        x, y, w, h = truth.box
        values[sample.id] = as_target(Rectangle(x + w / 2, y + h / 2, w, h, 0.0), truth.width, truth.height)
    review_set.set_values("attention_target", values, key_field="id")


def _score_again(film: Film) -> None:
    """Run the operator that finds the objects again."""
    page = film.page
    page.keyboard.press("`")
    page.wait_for_timeout(2_000)
    page.keyboard.type("score images again")
    page.wait_for_timeout(2_000)
    page.keyboard.press("Enter")
    execute = page.get_by_role("button", name="Execute")
    execute.wait_for()
    page.wait_for_timeout(2_000)
    film.take("5. The operator: score images again", 1500)
    execute.click()
    page.wait_for_timeout(4_000)
    film.take(AGAIN, 1500)
    page.get_by_text("rectangles moved").first.wait_for(timeout=600_000)
    page.wait_for_timeout(2_000)
    film.take(AGAIN, 4000)


def _open(page: Any, url: str, review_set: Any, fields: list[str]) -> None:
    """Open the view again, with these fields shown."""
    _show_fields(review_set, fields)
    page.goto(f"{url.partition('?')[0]}?view={QUEUE.replace(' ', '-')}", wait_until="domcontentloaded")
    _settle(page)


def _show_fields(review_set: Any, fields: list[str]) -> None:
    import fiftyone as fo

    review_set.reload()
    review_set.app_config.active_fields = fo.ActiveFields(paths=fields)
    review_set.save()


def _settle(page: Any) -> None:
    """Wait until the grid is painted, without FiftyOne's advertisement over it."""
    page.get_by_text("samples").first.wait_for()
    page.wait_for_timeout(PAINTED)
    if (advertisement := page.get_by_text("Dismiss", exact=True)).count():
        advertisement.first.click()
        page.wait_for_timeout(1_000)


@contextmanager
def _browser(url: str) -> Iterator[Any]:
    """The App in a browser that reaches nothing but the App."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium")
    if not found:
        sys.exit("chromium is not on your path")
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=quiet)
        try:
            page = browser.new_page(viewport={"width": WINDOW[0], "height": WINDOW[1]}, device_scale_factor=SHARP)
            page.set_default_timeout(120_000)
            page.route(lambda address: not address.startswith(url.split("/datasets")[0]), lambda route: route.abort())
            page.goto(url, wait_until="domcontentloaded")
            yield page
        finally:
            browser.close()


if __name__ == "__main__":
    folder, target = map(Path, sys.argv[1:])
    record(folder, read_planted(folder.with_name(f"{folder.name}-data") / "planted.json")).save(target)
