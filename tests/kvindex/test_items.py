"""The index of single items against a model: a set with an order of use for each row."""

import random

import numpy as np
import pytest

from endpoint_picker.kvindex.items import ItemIndex


def hashes(*items: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array(items, np.uint64)


def test_each_item_counts_by_itself() -> None:
    index = ItemIndex()
    index.insert(1, hashes(7, 8), 10)
    index.insert(3, hashes(8), 10)
    # Not only up to the first that is missing.
    assert index.count(hashes(6, 7, 8), rows=4).tolist() == [0, 2, 0, 1]
    assert index.count(hashes(6), rows=4).tolist() == [0, 0, 0, 0]
    assert index.count(hashes(), rows=2).tolist() == [0, 0]
    assert index.count(hashes(8), rows=2).tolist() == [0, 1]
    index.drop(1)
    assert index.count(hashes(7, 8), rows=4).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("rows", [3, 130])
@pytest.mark.parametrize("seed", range(4))
def test_it_agrees_with_a_plain_model(rows: int, seed: int) -> None:
    rng, index, capacity = random.Random(seed), ItemIndex(secret=seed), 6
    model: list[list[int]] = [[] for _ in range(rows)]
    for _ in range(400):
        row, items = rng.randrange(rows), rng.sample(range(1, 40), rng.randrange(1, 6))
        index.insert(row, hashes(*items), capacity)
        # The first of a call is the newest.
        kept = [item for item in model[row] if item not in items]
        model[row] = (kept + items[::-1])[-capacity:]
        asked = rng.sample(range(1, 40), 10)
        expected = [len(set(asked) & set(held)) for held in model]
        assert index.count(hashes(*asked), rows=rows).tolist() == expected
