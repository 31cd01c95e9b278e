"""A subset represents its whole split."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rsam_app.data.records import Dataset, Record
from rsam_app.evaluation.robustness.subset import choose_evenly, load_subset


def records_of(counts: list[int]) -> list[Record]:
    return [Record(f"{c}/{i}", Path("x"), str(c), "test") for c, n in enumerate(counts) for i in range(n)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 200), st.integers(0, 5))
def test_each_class_gets_its_share_up_to_one_image(counts: list[int], count: int, seed: int) -> None:
    records = records_of(counts)
    chosen = choose_evenly(records, count, seed)
    ids = [r.id for r in chosen]
    assert len(ids) == len(set(ids)) == min(count, len(records))
    assert ids == [r.id for r in records if r.id in set(ids)]  # in their order
    taken = Counter(r.label for r in chosen)
    share = len(chosen) / len(records)
    assert all(abs(taken[str(c)] - share * n) < 2 for c, n in enumerate(counts))
    assert chosen == choose_evenly(records, count, seed)


def test_another_seed_chooses_others() -> None:
    records = records_of([50, 50])
    assert choose_evenly(records, 20, 0) != choose_evenly(records, 20, 1)


def test_every_image_may_be_chosen() -> None:
    records = records_of([7, 3])
    seen = {r.id for seed in range(60) for r in choose_evenly(records, 2, seed)}
    assert len(seen) == 10


def test_images_are_what_evaluation_shows_the_network(dataset: Dataset) -> None:
    from rsam_app.data.loader import Views

    records = dataset.split("test")
    subset = load_subset(records, dataset.class_index, 64)
    views = Views(records, dataset.class_index, 64)
    assert subset.images.shape == (len(records), 64, 64, 3)
    for i in range(len(records)):
        view = views[(0, i)]
        np.testing.assert_array_equal(subset.images[i].transpose(2, 0, 1), view["image"].numpy())
        assert subset.labels[i] == view["label"]
