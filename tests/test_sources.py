"""Class ids in the targets, and arrays as a source."""

import numpy as np
import pytest

from importance_sampling.sources import ArraySource, class_ids


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


def test_a_slice_shares_memory():
    x = np.zeros((4, 2), np.float32)
    part = ArraySource(x, np.arange(4)).slice(1, 3)
    x[1] = 7
    assert len(part) == 2 and list(part.targets) == [1, 2]
    np.testing.assert_array_equal(part[np.array([0, 1])][0], [[7, 7], [0, 0]])
