"""Export: the images that carry a tag, as a curated subset, from the App."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import fiftyone.operators.types as types

from rsam_app.review.plugin.base import ReportingOperator, choose_run, count_images, described, key_of, run_folder_of
from rsam_app.system.errors import UserError


class Export(ReportingOperator):
    """What `rsam export` does, from the App."""

    @property
    def config(self) -> Any:
        """How FiftyOne lists it."""
        return described(
            name="export",
            label="RSAM: export tagged images …",
            icon="drive_folder_upload",
            description="A curated subset with the labels and rectangles that hold now",
            execute_as_generator=True,
            allow_delegated_execution=True,
        )

    def form(self, ctx: Any, inputs: Any, review_set: Any) -> None:
        """Which tag, in which format, where to."""
        from rsam_app.export.subset import FORMATS, MODES

        tagged = review_set.count_sample_tags()
        if not tagged:
            raise UserError("No image carries a tag. Select images and tag them, or select for relabeling.")
        choose_run(inputs, review_set, key_of(ctx))
        for name, label, values in (
            ("tag", "Tag", {tag: f"{tag} ({count_images(n)})" for tag, n in sorted(tagged.items())}),
            ("format", "Format", {value: value for value in FORMATS}),
            ("mode", "Images are placed by", {value: value for value in MODES}),
        ):
            choices = types.Dropdown()
            for value, text in values.items():
                choices.add_choice(value, label=text)
            inputs.enum(name, choices.values(), label=label, default=next(iter(values)), required=True, view=choices)
        about = "Absolute; on the machine where `rsam review` runs. It must not exist, or be empty."
        inputs.str("folder", label="Folder", description=about, required=True)

    def steps(self, ctx: Any, review_set: Any) -> Generator[Any, None, str]:
        """Write the folder."""
        from rsam_app.review.export_tagged import export_tagged
        from rsam_app.run.job import Job
        from rsam_app.system.progress import Reporter

        folder = Path(str(ctx.params.get("folder") or "")).expanduser()
        if not folder.is_absolute():
            raise UserError(f"export: the folder {str(folder)!r} is not absolute. Give it from the root, or from ~.")
        job = Job.of_run(run_folder_of(ctx).path, [], Reporter())
        yield None if ctx.delegated else ctx.ops.set_progress(label="copying images", variant="linear")
        tag, format, mode = (str(ctx.params.get(name) or "") for name in ("tag", "format", "mode"))
        report = export_tagged(job, tag, format or "folder", folder, mode or "copy")
        return report.text()
