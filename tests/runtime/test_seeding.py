"""Streams of random numbers: each follows from its number alone, and no value is likelier than another."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from tmal_core.runtime.seeding import Streams


def _orders(seed=0):
    return Streams(np.arange(24_000), seed, "orders").distinct(np.full((24_000, 1), 4), 4)[:, 0]


def test_every_order_is_equally_likely():
    found, counts = np.unique(_orders(), axis=0, return_counts=True)
    assert {tuple(order) for order in found} == set(permutations(range(4)))
    # 24 orders, a thousand times each: five standard errors.
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000)


def test_neighbouring_streams_and_numbers_have_nothing_to_do_with_each_other():
    found = Streams(np.arange(20_000), 0, "x").below(np.full((20_000, 2), 10))
    for pairs in (found, np.stack([found[:-1, 0], found[1:, 0]], 1)):
        table = np.zeros((10, 10))
        np.add.at(table, tuple(pairs.T), 1)
        assert np.abs(table - len(pairs) / 100).max() < 5 * np.sqrt(len(pairs) / 100)


def test_a_stream_is_the_same_alone_and_among_others():
    sizes = np.array([[5, 9]])
    alone, among = Streams([17], 3, "a"), Streams(np.arange(40), 3, "a")
    for _ in range(2):
        assert np.array_equal(alone.distinct(sizes, 3)[0], among.distinct(np.repeat(sizes, 40, 0), 3)[17])


@pytest.mark.parametrize("other", [(1, "orders"), (0, "other")])
def test_another_seed_or_path_is_another_stream(other):
    found = Streams(np.arange(100), *other).below(np.full((100, 1), 1000))
    assert (found != Streams(np.arange(100), 0, "orders").below(np.full((100, 1), 1000))).mean() > 0.9
