"""Public names of `rsam_app.review.annotation_tools.formats`, as documented in `docs/review-annotation.md`."""

from rsam_app.review.annotation_tools.formats import (
    for_cvat,
    for_label_studio,
    returned_by_label_studio,
    to_cvat,
    to_label_studio,
)

__all__ = ["for_cvat", "for_label_studio", "returned_by_label_studio", "to_cvat", "to_label_studio"]
