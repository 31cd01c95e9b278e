"""Features of photographs to label, in a process of its own beside the App.

Usage: python -m rsam_app.workflow.label_features PARENT PIPELINE RUN [KEY=VALUE …]. It ends with the process PARENT.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rsam_app.system.errors import UserError
from rsam_app.system.parent import terminate_with
from rsam_app.system.progress import Reporter

NICENESS = 10
"""The App comes first if both want a processor."""


def main() -> None:
    """Compute and store the features of the pipeline's images. Exit codes as for `rsam`.

    Unreadable images are reported and left out, however many they are: only training needs the card's bound.
    """
    parent, pipeline, run, *overrides = sys.argv[1:]
    terminate_with(int(parent))
    os.nice(NICENESS)
    from rsam_app.data import load_images
    from rsam_app.data.left_out import left_out_lines
    from rsam_app.run.job import Job
    from rsam_app.run.label_features import save_label_features
    from rsam_app.workflow.select_first import first_features, first_records

    reporter = Reporter()
    try:
        job = Job.of_pipeline(pipeline, overrides, Path(run), reporter)
        with reporter.bar("reading images") as advance:
            images = load_images(job.card.model_copy(update={"max_broken_share": 1.0}), advance)
        for line in left_out_lines(images, job.card.root_path):
            reporter.say(line)
        records = first_records(images)
        features, made_from = first_features(job, records)
        save_label_features(job.run, [record.id for record in records], features, made_from)
    except UserError as error:
        reporter.say(f"rsam: {error}")
        sys.exit(2)


if __name__ == "__main__":
    main()
