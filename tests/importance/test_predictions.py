"""Predictions that are kept, and doubts about them, against a naive twin."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from importance_sampling.importance.predictions import Predictions

SIZE = 6
indices = st.lists(st.integers(0, SIZE - 1), max_size=SIZE, unique=True)
values = st.sampled_from([0.0, 0.25, 0.5, 1.0, 4.0])
actions = st.lists(st.tuples(st.sampled_from(["keep", "compare", "forget_next", "forget_all"]), indices, values), max_size=20)


class Twin:
    """A dictionary of predictions, and one of how far off they were."""

    def __init__(self):
        self.values, self.doubts, self.next = {}, {}, 0

    def keep(self, i, value):
        self.values[i], self.doubts[i] = value, 0

    def compare(self, i, value):
        if i in self.values:
            self.doubts[i] = abs(value - self.values[i])

    def forget(self, i):
        self.values.pop(i, None), self.doubts.pop(i, None)


@given(actions, indices, st.integers(0, SIZE))
@example([("keep", [0, 1, 2], 0.0), ("compare", [0, 1], 1.0), ("compare", [2], 4.0)], [0, 1, 2], 2)
def test_predictions_are_those_of_a_naive_twin(actions, asked, count):
    predictions, twin = Predictions(SIZE), Twin()
    for action, chosen, value in actions:
        if action in ("keep", "compare"):
            getattr(predictions, action)(np.array(chosen, int), np.full(len(chosen), value, np.float32))
            for i in chosen:
                getattr(twin, action)(i, value)
        elif action == "forget_all":
            predictions.forget_all()
            for i in range(SIZE):
                twin.forget(i)
        else:
            predictions.forget_next(2)
            for i in (twin.next, twin.next + 1):
                twin.forget(i)
            twin.next = (twin.next + 2) % SIZE
    np.testing.assert_array_equal(predictions.of(np.array(asked, int)), [twin.values.get(i, np.nan) for i in asked])
    found = predictions.most_doubtful(np.array(asked, int), count)
    doubts = [twin.doubts.get(i, 0) for i in asked]
    assert len(found) == min(count, sum(doubt > 0 for doubt in doubts))
    assert len(set(found)) == len(found) and list(found) == sorted(found)
    assert all(doubts[i] > 0 for i in found)
    if len(found):
        left = [doubt for i, doubt in enumerate(doubts) if i not in found]
        assert max(left, default=0) <= min(doubts[i] for i in found)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 4.0]), min_size=1, max_size=12), st.integers(0, 12))
def test_the_most_doubtful_are_those_of_a_sort(off, count):
    """Many are off by as much."""
    predictions = Predictions(len(off))
    predictions.keep(np.arange(len(off)), np.zeros(len(off)))
    predictions.compare(np.arange(len(off)), np.array(off, np.float32))
    found = predictions.most_doubtful(np.arange(len(off)), count)
    expected = sorted(sorted((i for i in range(len(off)) if off[i] > 0), key=lambda i: -off[i])[:count])
    assert found.tolist() == expected


def test_what_was_measured_last_counts_and_what_is_not_finite_says_nothing():
    predictions = Predictions(3)
    predictions.keep(np.arange(3), np.zeros(3))
    predictions.compare(np.array([0, 0, 1, 2]), np.array([5.0, 1.0, np.nan, 2.0], np.float32))
    assert predictions.most_doubtful(np.arange(3), 1).tolist() == [2]
    assert predictions.most_doubtful(np.arange(3), 3).tolist() == [0, 2]


def test_doubts_come_back_with_a_state():
    predictions, again = Predictions(4), Predictions(4)
    predictions.keep(np.arange(4), np.zeros(4))
    predictions.compare(np.array([1, 3]), np.array([1.0, 2.0], np.float32))
    again.set_state(predictions.get_state())
    assert again.most_doubtful(np.arange(4), 4).tolist() == [1, 3]
    older = {"values": np.ones(4), "next": 0}
    again.set_state(older)
    assert again.most_doubtful(np.arange(4), 4).tolist() == [] and again.of(np.arange(4)).tolist() == [1] * 4
    with pytest.raises(ValueError, match=r"`state` must have a doubt for each prediction. Received: \(2,\) for \(4,\)"):
        again.set_state({**predictions.get_state(), "doubts": np.zeros(2)})
