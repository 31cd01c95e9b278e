"""Outlook: how well discovery agrees with answers that it was not taught with, and whether more are worth giving."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError

FEWEST = 8
"""Drawn and accepted rectangles below which nothing is said: a quarter of them would be one."""
STEP, SMALL = 10, 0.01
"""More answers are not worth giving when `STEP` of them raise the agreement by less than `SMALL`."""


@dataclass(frozen=True)
class Outlook:
    """What answers have taught, and what more of them would: the entry `discovery` of `run.json`."""

    answers: int
    """Rectangles answered about training images."""
    held_out_agreement: float | None
    """Mean IoU of drawn and accepted rectangles with what is found without them; None with fewer than `FEWEST`."""
    flattens_after: int | None
    """Further answers after which `STEP` more raise the agreement by less than `SMALL`; None if it cannot be told."""

    def as_dict(self) -> dict[str, Any]:
        """For `run.json`."""
        return asdict(self)

    def sentence(self) -> str:
        """What the reviewer reads."""
        answered = f"{self.answers} rectangle{'' if self.answers == 1 else 's'} answered"
        if self.held_out_agreement is None:
            return f"{answered}: with {FEWEST} drawn or accepted ones, you see here whether more are worth giving."
        agreement = f"{answered}; held-out answers agree {_figure(self.held_out_agreement)}"
        if self.flattens_after is None:
            return f"{agreement}; whether more would help cannot be told yet."
        if self.flattens_after == 0:
            return f"{agreement}; {STEP} more would gain less than {_figure(SMALL)}."
        more = 5 * math.ceil(self.flattens_after / 5)
        return f"{agreement}; after about {more} more the gain flattens: less than {_figure(SMALL)} for {STEP} answers."


def read_outlook(run: RunFolder) -> Outlook | None:
    """The outlook of a run that answers have taught; None for another run."""
    entry = run.read_json().get("discovery")
    try:
        return Outlook(**entry) if entry else None
    except TypeError as error:
        raise UserError(f"{run.path / 'run.json'}: is damaged (discovery: {error}). Restore the file.") from error


def _figure(value: float) -> str:
    return f"{value:.2f}".replace("0.", ".", 1)
