"""Operator `export`: `rsam export` from the App."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from rsam_app.review.app.allowed_writes import check_allowed
from rsam_app.review.plugin.base import (
    ReportingOperator,
    add_choice,
    choose_run,
    count_images,
    key_of,
    listed,
    run_folder_of,
)
from rsam_app.system.errors import UserError


class Export(ReportingOperator):
    """Export the images with a tag as a curated subset."""

    config = listed(
        "export",
        "RSAM: export tagged images …",
        "drive_folder_upload",
        "Write a curated subset with the current labels and rectangles",
        execute_as_generator=True,
        allow_delegated_execution=True,
    )

    def form(self, ctx: Any, inputs: Any, review_set: Any) -> None:
        """Ask for the tag, the format, and the folder."""
        from rsam_app.export.subset import FORMATS, MODES

        tag_counts = review_set.count_sample_tags()
        if not tag_counts:
            raise UserError("No image carries a tag. Select images and tag them, or select for relabeling.")
        choose_run(inputs, review_set, key_of(ctx))
        tags = {tag: f"{tag} ({count_images(n)})" for tag, n in sorted(tag_counts.items())}
        formats, modes = {name: name for name in FORMATS}, {mode: mode for mode in MODES}
        add_choice(inputs, "tag", "Tag", tags, default=next(iter(tags)), required=True)
        add_choice(inputs, "format", "Format", formats, default=next(iter(formats)), required=True)
        add_choice(inputs, "mode", "Place images by", modes, default=MODES[0], required=True)
        about = "Absolute path on the machine that runs `rsam review`. The folder must be new or empty."
        inputs.str("folder", label="Folder", description=about, required=True)

    def steps(self, ctx: Any, review_set: Any) -> Generator[Any, None, str]:
        """Write the folder."""
        from rsam_app.review.export_tagged import export_tagged
        from rsam_app.run.job import Job
        from rsam_app.system.progress import Reporter

        folder = Path(str(ctx.params.get("folder") or "")).expanduser()
        if not folder.is_absolute():
            raise UserError(f"export: the folder {str(folder)!r} is not absolute. Give the path from / or ~.")
        check_allowed(folder)
        job = Job.of_run(run_folder_of(ctx).path, [], Reporter())
        yield None if ctx.delegated else ctx.ops.set_progress(label="copying images", variant="linear")
        tag, format, mode = (str(ctx.params.get(name) or "") for name in ("tag", "format", "mode"))
        return export_tagged(job, tag, format or "folder", folder, mode or "copy").text()
