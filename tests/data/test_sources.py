"""Class ids in the targets, and arrays as a source."""

import numpy as np
import pytest

from importance_sampling.data.labels import class_ids
from importance_sampling.data.sources import ArraySource, Weighted, split


@pytest.mark.parametrize(
    ("targets", "ids", "classes"),
    [
        (np.array([2, 0, 1]), [2, 0, 1], None),
        (np.array([[2], [0], [1]], np.uint8), [2, 0, 1], None),
        (np.array([1.0, 0.0]), [1, 0], None),
        (np.array([True, False]), [1, 0], None),
        (np.eye(3)[[2, 0]], [2, 0], 3),
        (np.eye(3, dtype=bool)[[2, 0]], [2, 0], 3),
    ],
)
def test_class_ids(targets, ids, classes):
    found, count = class_ids(targets)
    np.testing.assert_array_equal(found, ids)
    assert found.dtype == np.int64 and count == classes


def test_reading_gives_copies_and_not_the_users_arrays():
    x = np.zeros((4, 2), np.float32)
    read, _, _ = ArraySource(x, np.zeros(4))[np.array([1, 1])]
    read += 1
    assert x.sum() == 0


def test_parts_read_through_to_the_users_arrays():
    x = np.zeros((4, 2), np.float32)
    first, last = split(ArraySource(x, np.arange(4), np.array([1.0, 2.0, 3.0, 4.0])), 0.5)
    x[3] = 7
    assert (len(first), len(last)) == (2, 2) and list(last.targets) == [2, 3]
    read, y, weights = last[np.array([1, 0])]
    np.testing.assert_array_equal(read, [[7, 7], [0, 0]])
    np.testing.assert_array_equal(y, [3, 2])
    np.testing.assert_array_equal(weights, [4, 3])


@pytest.mark.parametrize("own", [None, np.full((4, 3), 2.0)])
def test_factors_multiply_the_weights(own):
    source = Weighted(ArraySource(np.zeros(4), np.arange(4), own), np.array([1.0, 2.0, 3.0, 4.0]))
    expected = [3.0, 1.0] if own is None else np.array([[6.0] * 3, [2.0] * 3])
    np.testing.assert_array_equal(source[np.array([2, 0])][2], expected)
