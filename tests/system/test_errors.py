from __future__ import annotations

import pytest
from torch import nn

from rsam_app.system.errors import UserError, reason_of


def test_the_names_that_a_state_dict_lacks_are_part_of_the_reason() -> None:
    wide, deep = nn.Linear(3, 2), nn.Sequential(*(nn.Linear(3, 3) for _ in range(4)))
    with pytest.raises(RuntimeError) as raised:
        deep.load_state_dict(wide.state_dict())
    assert reason_of(raised.value) == (
        'Error(s) in loading state_dict for Sequential: Missing key(s) in state_dict: "0.weight", "0.bias", "1.weight"'
        ' and 5 more; Unexpected key(s) in state_dict: "weight", "bias"'
    )


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("one.\ntwo"), "one"),
        (ValueError(""), "ValueError"),
        (KeyError("area"), "no 'area'"),
        (ValueError("these:\na\nb\nc\nd\ne"), "these: a; b; c; and 2 more lines"),
    ],
)
def test_a_reason_is_the_first_line_and_what_that_announces(error, reason) -> None:
    assert reason_of(error) == reason


def test_a_message_keeps_both_ends_of_a_long_line() -> None:
    message = str(UserError(f"birds.csv, line 2: {'[' * 10**6!r} is not a rectangle.\nFix or delete the line."))
    first, second = message.split("\n")
    assert len(first) < 2010 and first.startswith("birds.csv, line 2: '[[") and first.endswith("[' is not a rectangle.")
    assert second == "Fix or delete the line."
    assert str(UserError("x" * 2000)) == "x" * 2000
