"""A reviewer's answers to the question whether a rectangle is on the object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rsam_app.data.records import Record
from rsam_app.geometry.types import Rectangle


@dataclass(frozen=True)
class Answers:
    """Rectangles in image pixels by record id: those on the object, and those beside it.

    An image has one or none. A drawn or accepted rectangle is on the object, whatever was said about the model's.
    """

    right: Mapping[str, Rectangle] = field(default_factory=dict)
    wrong: Mapping[str, Rectangle] = field(default_factory=dict)

    def among(self, records: Sequence[Record]) -> Answers:
        """The answers about these records."""
        ids = {record.id for record in records}
        kept = ({key: r for key, r in part.items() if key in ids} for part in (self.right, self.wrong))
        return Answers(*kept)

    def __bool__(self) -> bool:
        return bool(self.right or self.wrong)

    @property
    def count(self) -> str:
        """Their number in words."""
        wrong = len(self.wrong.keys() - self.right.keys())
        return f"{len(self.right)} rectangles" + (f" and {wrong} marked wrong" if wrong else "")
