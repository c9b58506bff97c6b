"""The ring buffer against a naive twin: a list of deques."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importance_sampling import LossHistory


class Twin:
    """What the ring buffer should do, one sample at a time."""

    def __init__(self, size, length):
        self.length = length
        self.losses = [deque(maxlen=length) for _ in range(size)]

    def append(self, indices, losses):
        for i, loss in zip(indices, losses):
            if np.isfinite(loss):
                self.losses[i].append(np.float32(loss))

    def window(self, indices):
        rows = np.zeros((len(indices), self.length), np.float32)
        for row, i in zip(rows, indices):
            row[: len(self.losses[i])] = self.losses[i]
        return rows, [len(self.losses[i]) for i in indices]


losses = st.one_of(st.floats(0, 100, width=32), st.just(0.0), st.just(float("nan")), st.just(float("inf")), st.just(-float("inf")))


@st.composite
def operations(draw):
    size, length = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    batch = st.lists(st.tuples(st.integers(0, size - 1), losses), max_size=12)  # often more than H for one sample
    return size, length, draw(st.lists(batch, max_size=8))


@settings(max_examples=300, deadline=None)
@given(operations())
def test_equals_the_naive_twin(case):
    size, length, batches = case
    history, twin = LossHistory(size, length), Twin(size, length)
    for batch in batches:
        indices, values = [i for i, _ in batch], [v for _, v in batch]
        history.append(indices, values)
        twin.append(indices, values)
        asked = np.arange(size)[::-1]
        rows, count = history.window(asked)
        expected_rows, expected_count = twin.window(asked)
        np.testing.assert_array_equal(rows, expected_rows)
        np.testing.assert_array_equal(count, expected_count)

    copy = LossHistory(size, length)
    copy.set_state(history.get_state())
    copy.append([0], [0.5])
    twin.append([0], [0.5])
    np.testing.assert_array_equal(copy.window([0])[0], twin.window([0])[0])


def test_a_state_is_a_copy():
    history = LossHistory(2, 3)
    state = history.get_state()
    history.append([0], [1.0])
    history.set_state(state)
    assert history.window([0])[1] == 0


def test_needs_at_most_44_bytes_a_sample():
    assert LossHistory(1000, 10).nbytes == 44 * 1000


def test_appending_costs_the_batch_and_not_the_data_set():
    """Nothing of the size of the data set is allocated: 10 million samples, a few kilobytes of work."""
    import tracemalloc

    history = LossHistory(10_000_000, 1)
    indices, values = np.arange(128), np.ones(128)
    history.append(indices, values)
    tracemalloc.start()
    history.append(indices, values)
    history.window(indices)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: LossHistory(0), ValueError, "`size` must be None or a whole number >= 1. Received: size=0"),
        (lambda: LossHistory(3, 0), ValueError, "`length` must be a whole number >= 1. Received: length=0"),
        (lambda: LossHistory(3).append([3], [1.0]), IndexError, r"`indices` must be in \[0, 3\). Received: 3"),
        (lambda: LossHistory(3).window([-1]), IndexError, r"`indices` must be in \[0, 3\). Received: -1"),
        (lambda: LossHistory(3).append([1, 2], [1.0]), ValueError, "`losses` must have one value for each index"),
        (lambda: LossHistory(3).window([[1]]), ValueError, "`indices` must have one dimension"),
        (lambda: LossHistory(3, 2).set_state(LossHistory(3, 4).get_state()), ValueError, r"shape \(3, 2\)"),
    ],
)
def test_bad_input_is_named(call, error, text):
    with pytest.raises(error, match=text):
        call()
