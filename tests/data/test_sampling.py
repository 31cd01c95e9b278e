"""Batches of indices: the same for every number of processes, resumable, complete."""

from __future__ import annotations

import itertools

import pytest

from rsam_app.data.sampling import EpochBatches, ShardedBatches


def test_processes_share_each_batch_and_together_see_what_one_sees():
    for processes in (1, 2, 3):
        parts = [EpochBatches(23, 8, seed=1, rank=r, processes=processes) for r in range(processes)]
        joined = [list(itertools.chain(*step)) for step in zip(*parts, strict=True)]
        assert [[i for _, i in batch] for batch in joined] == [[i for _, i in b] for b in EpochBatches(23, 8, seed=1)]
    assert sorted(i for b in EpochBatches(23, 8, seed=1) for _, i in b) == list(range(23))


def test_a_resumed_epoch_continues_with_the_very_next_batch():
    whole = list(EpochBatches(23, 8, seed=1))
    resumed = EpochBatches(23, 8, seed=1)
    resumed.set_position(0, 2)
    assert list(resumed) == whole[2:] and len(resumed) == 1


def test_a_rest_smaller_than_the_processes_is_left_out_on_all_of_them():
    parts = [list(EpochBatches(9, 4, seed=0, rank=r, processes=2)) for r in range(2)]
    assert [len(p) for p in parts] == [2, 2]


@pytest.mark.parametrize("samples", [1, 4, 5, 12, 13])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_evaluation_sees_every_sample_once_in_the_same_batches(samples, processes):
    single = list(ShardedBatches(samples, 4))
    shards = [list(ShardedBatches(samples, 4, r, processes)) for r in range(processes)]
    assert sorted(b for s in shards for b in s) == single
    assert [len(ShardedBatches(samples, 4, r, processes)) for r in range(processes)] == [len(s) for s in shards]
