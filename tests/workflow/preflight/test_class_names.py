"""Class names that may mean one class."""

from __future__ import annotations

import pytest

from rsam_app.workflow.preflight.class_names import similar_names


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Herring Gull", "herring_gull"),
        ("Übergang", "ubergang"),
        ("cat", "Cat "),
        ("Siamese", "Siamesse"),
        ("sparrow", "sparow"),
        ("monarch", "monarhc"),
    ],
)
def test_names_that_differ_by_a_slip_are_paired(one, other):
    assert similar_names(["beetle", one, other, "ladybird"]) == [tuple(sorted((one, other)))]


@pytest.mark.parametrize(
    ("one", "other"),
    [("cat", "rat"), ("737-300", "737-400"), ("boeing_737", "boeing_747"), ("class1", "class11"), ("auk", "wren")],
)
def test_names_that_people_tell_apart_are_not(one, other):
    assert similar_names([one, other]) == []


def test_the_time_is_linear_in_the_names():
    names = [f"species {n:05} of the genus" for n in range(10_000)]
    assert similar_names(names) == []
