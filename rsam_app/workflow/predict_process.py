"""`rsam predict` in a process of its own for the App's server, which must neither hold a model nor fork.

Usage: python -m rsam_app.workflow.predict_process RUN SPLITS; SPLITS is `stale`, or names separated by commas.
Progress is printed as lines of JSON.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rsam_app.review.plugin.predict_process import STALE
from rsam_app.system.errors import UserError
from rsam_app.system.progress import JsonReporter, Step, write_message


def main() -> None:
    """Predict the splits on the command line. Exit codes as for `rsam`."""
    from rsam_app.run.job import Job
    from rsam_app.workflow.predict import predict, stale_splits

    run, wanted = Path(sys.argv[1]), sys.argv[2]
    try:
        job = Job.of_run(run, [], JsonReporter())
        with job.run.writing():
            splits = stale_splits(job) if wanted == STALE else wanted.split(",")
            write_message(step=Step("loading the model", 0, 0)._asdict())
            predict(job, splits)
    except UserError as error:
        print(f"rsam: {error}", flush=True)
        sys.exit(2)
    write_message(predicted=splits)


if __name__ == "__main__":
    main()
