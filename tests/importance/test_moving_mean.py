"""`HistoryImportance` against a twin of dictionaries, and what it knows of a model that trains."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from importance_sampling import HistoryImportance, ImportanceTraining, Oracle, Pool
from tests.models import L

N, C = 12, 3
LABELS = np.arange(N) % C
ALL = Pool(np.arange(N), LABELS, None)


class Twin:
    """The same, sample by sample."""

    def __init__(self, factor):
        self.factor, self.means = factor, {}

    def update(self, indices, values):
        for i in set(indices):
            found = [v for j, v in zip(indices, values) if j == i and np.isfinite(v)]
            if found:
                new = np.mean(found)
                self.means[i] = self.factor * self.means[i] + (1 - self.factor) * new if i in self.means else new

    def score(self, i, labels):
        seen = [m for j, m in self.means.items() if labels is None or labels[j] == labels[i]] or list(self.means.values())
        return self.means.get(i, np.mean(seen) if seen else 1.0)


batches = st.lists(
    st.lists(st.tuples(st.integers(0, N - 1), st.floats(0, 100) | st.just(np.nan) | st.just(np.inf)), min_size=1, max_size=8),
    max_size=6,
)


@given(batches, st.sampled_from([0.0, 0.5, 0.9]), st.booleans(), st.booleans())
def test_it_is_its_twin(batches, factor, labelled, grows):
    history, twin = HistoryImportance(factor=factor), Twin(factor)
    history.build(None if grows else N, C if labelled else 0, seed=0)
    labels = LABELS if labelled else None
    for batch in batches:
        indices, values = np.array([i for i, _ in batch]), np.array([v for _, v in batch])
        history.update(indices, labels if labels is None else labels[indices], values)
        twin.update(list(indices), list(values))
    expected = [twin.score(i, labels) for i in range(N)]
    np.testing.assert_allclose(history.score(Pool(np.arange(N), labels, None)), expected, rtol=1e-4, atol=1e-4)


def test_a_class_that_comes_later_has_the_mean_of_all():
    history = HistoryImportance()
    history.build(None, None, seed=0)
    history.update(np.array([3, 4]), np.array([0, 1]), np.array([1.0, 2.0]))
    np.testing.assert_array_equal(history.score(Pool(np.array([3, 7, 8, 9]), np.array([0, 0, 1, 5]), None)), [1, 1, 2, 1.5])


@given(st.lists(st.floats(0, 1000, width=32), min_size=N, max_size=N), st.sampled_from([1.5, 100.0]))
def test_by_order_the_first_is_so_many_times_the_last(values, pressure):
    history = HistoryImportance(pressure=pressure)
    history.build(N, C, seed=0)
    history.update(np.arange(N), LABELS, np.array(values))
    scores = history.score(ALL)
    np.testing.assert_allclose(scores.mean(), np.float32(values).mean(dtype=np.float64), rtol=1e-5)
    order = np.argsort(values)
    assert np.all(np.diff(scores[order]) >= 0)
    for one, other in zip(order, order[1:]):
        assert (scores[one] == scores[other]) == (np.float32(values[one]) == np.float32(values[other])) or not np.any(values)
    if len(set(np.float32(values))) == N:
        np.testing.assert_allclose(scores.max() / scores.min(), pressure)
        np.testing.assert_allclose(np.diff(np.log(scores[order])), np.log(pressure) / (N - 1))


@pytest.mark.parametrize("shift,mean", [(-100.0, 1.0), (-6.0, 15 / N)])
def test_by_order_losses_may_be_below_zero(shift, mean):
    """Those of likelihoods: their order counts as any other, and nothing of it is negative."""
    history = HistoryImportance("loss", pressure=100)
    history.build(N, C, seed=0)
    history.update(np.arange(N), LABELS, np.arange(N) + shift)
    scores = history.score(ALL)
    np.testing.assert_allclose(np.diff(np.log(scores)), np.log(100) / (N - 1))
    assert scores.mean() == pytest.approx(mean)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"quantity": "full_gnorm"}, "`quantity` must be 'gnorm' or 'loss'. Received: quantity='full_gnorm'"),
        ({"factor": 1}, r"`factor` must be a number in \[0, 1\). Received: factor=1"),
        ({"factor": float("nan")}, r"`factor` must be a number in \[0, 1\). Received: factor=nan"),
        ({"pressure": 1}, "`pressure` must be None or a number > 1. Received: pressure=1"),
    ],
)
def test_wrong_arguments(arguments, text):
    with pytest.raises(ValueError, match=text):
        HistoryImportance(**arguments)


def test_a_state_of_other_data_is_refused():
    one, other = HistoryImportance(), HistoryImportance()
    one.build(3, 0, seed=0)
    other.build(4, 0, seed=0)
    with pytest.raises(ValueError, match="`state` must be of 4 samples. Received: of 3"):
        other.set_state(one.get_state())
    with pytest.raises(IndexError, match=r"`indices` must be in \[0, 3\). Received: 3"):
        one.update(np.array([3]), None, np.array([1.0]))


def test_it_knows_which_samples_have_large_gradients(mnist):
    """On MNIST after five passes, its order is that of the bounds by a forward pass, much more than that of the class means."""
    x, y = mnist
    layers = [L.Flatten(), L.Dense(32, activation="relu"), L.Dense(10, activation="softmax")]
    model = keras.Sequential([keras.Input((28, 28, 1)), *layers])
    model.compile("adam", "sparse_categorical_crossentropy")
    training = ImportanceTraining(model, "history", seed=0)
    training.fit(x, y, batch_size=64, epochs=5, verbose=0)
    pool = Pool(np.arange(len(y)), y, lambda rows: (x[rows], y[rows], None))
    truth = Oracle(model, quantity="gnorm").score(pool)
    history = training.sampler.importance.score(pool)
    of_class = np.bincount(y, truth)[y] / np.bincount(y)[y]
    assert rank_correlation(history, truth) > 0.5 > rank_correlation(of_class, truth) + 0.1


def rank_correlation(one, other):
    return np.corrcoef(*(np.argsort(np.argsort(values)) for values in (one, other)))[0, 1]


def test_samples_that_change_their_class_take_what_they_lost_with_them():
    """Cleaned labels: unseen samples have the mean of the class as it is now."""
    history = HistoryImportance(factor=0.0)
    history.build(N, C, seed=0)
    history.update(np.array([0, 1, 3]), LABELS[[0, 1, 3]], np.array([5.0, 2.0, 1.0]))
    labels = LABELS.copy()
    labels[0] = 1
    history.relabel(labels)
    history.update(np.array([0]), labels[[0]], np.array([4.0]))
    scores = history.score(Pool(np.arange(N), labels, None))
    expected = {0: 1.0, 1: 3.0, 2: 7 / 3}  # of 3 alone; of 0 and 1; of all
    for i in (4, 5, 6):
        assert scores[i] == pytest.approx(expected[labels[i]])


@pytest.mark.parametrize("importance", ["history", "auto"])
def test_a_fit_with_other_labels_tells_the_importance(importance):
    x = np.random.default_rng(0).normal(size=(96, 4)).astype(np.float32)
    y = np.arange(96) % C
    model = keras.Sequential([keras.Input((4,)), L.Dense(C, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    training = ImportanceTraining(model, importance, presample=32, seed=0)
    training.fit(x, y, batch_size=16, steps_per_epoch=2, verbose=0)
    y[:48] = (y[:48] + 1) % C
    training.fit(x, y, batch_size=16, steps_per_epoch=2, verbose=0)
    learnt = training.sampler.importance
    state = (learnt if importance == "history" else learnt._judged["history"].importance).get_state()
    seen = ~np.isnan(state["means"])
    assert 16 < seen.sum() < 96 and y[seen].min() < y[seen].max()
    np.testing.assert_array_equal(state["sums"][0], np.bincount(y[seen], minlength=C))
    np.testing.assert_allclose(state["sums"][1], np.bincount(y[seen], state["means"][seen], minlength=C), rtol=1e-5)
