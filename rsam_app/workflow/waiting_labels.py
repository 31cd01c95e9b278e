"""Labels that were given in the App of `rsam label` and not recorded, because its terminal was killed."""

from __future__ import annotations

from rsam_app.run.corrections import add_corrections, corrections_path
from rsam_app.run.job import Job
from rsam_app.system.errors import UserError


def record_waiting_labels(job: Job) -> int:
    """Record the labels, renamed classes and excluded images of `rsam label` that are only in FiftyOne; report and
    return their number. Marks and rectangles are left for `rsam apply`.

    Without `rsam label` in this run folder nothing is done and FiftyOne not imported. If the database cannot be read,
    that is reported.
    """
    if not job.run.labelled_in_app.exists():
        return 0
    from rsam_app.review.dataset.schema import memory, open_review
    from rsam_app.review.decisions.read import read_decisions
    from rsam_app.review.decisions.reviewer import reviewer_name

    name = job.card.name
    try:
        if memory(open_review(name)).labelling is None:
            return 0
        decisions = read_decisions(name, job.pipeline.review.key or job.run.key, reviewer_name(None))
    except UserError as error:
        again = f"labels that `rsam label {job.pipeline.name}` has not recorded yet are not read"
        job.reporter.say(f"{again}: {str(error).splitlines()[0]}")
        return 0
    path = corrections_path(job.run.path, name)
    added = add_corrections(path, [c for c in decisions.corrections if c.kind in ("label", "class", "exclude")])
    if added:
        what = "1 decision" if len(added) == 1 else f"{len(added):,} decisions"
        job.reporter.say(
            f"{what} of `rsam label` waited in the App and {'is' if len(added) == 1 else 'are'} now in {path}"
        )
    return len(added)
