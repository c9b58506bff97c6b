"""What stays from one fit to the next, and what a fit that was stopped leaves."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import (
    ImportanceSampling,
    ImportanceTraining,
)
from tests.models import L, classifier, small_lstm

N = 96
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 2)).astype(np.float32)
Y = np.arange(N) % 3


def still(**compiling):
    """A classifier that does not learn: its losses are known."""
    return classifier(optimizer=keras.optimizers.SGD(0.0), **compiling)


def uniform(model, **settings):
    return ImportanceTraining(model, "uniform", seed=0, **settings)


@pytest.mark.parametrize("kind", ["weights", "labels with class_weight", "labels", "frame", "variable"])
def test_data_changed_in_place_between_fits_are_seen(kind):
    """What was learnt about the samples stays, their values do not."""
    model, x, y, weights = still(), X.copy(), Y.copy(), np.ones(N)
    arguments = {"weights": dict(sample_weight=weights), "labels with class_weight": dict(class_weight={0: 1.0, 1: 2.0, 2: 100.0})}
    if kind == "frame":
        x = pytest.importorskip("pandas").DataFrame({"a": X[:, 0], "b": X[:, 1].astype(np.float64)})
    if kind == "variable":
        x = tf.Variable(x)
    draws = []
    training = ImportanceTraining(model, "pcg", presample=32, seed=0, on_step=lambda draw, _: draws.append(draw))
    fit = lambda: training.fit(x, y, batch_size=32, verbose=0, **arguments.get(kind, {})).history["loss"][0]  # noqa: E731
    fit()
    sampler = training.sampler
    if kind == "frame":
        x[:] = 0
    elif kind == "variable":
        x.assign(0 * X)
    elif kind == "weights":
        weights[:] = 0
    else:
        y[:] = (y + 1) % 3
    draws.clear()
    after = fit()
    assert training.sampler is sampler
    for draw in draws:
        np.testing.assert_array_equal(draw.labels, y[draw.indices])
    expected = model.fit(x, y, batch_size=N, verbose=0, **arguments.get(kind, {})).history["loss"][0]
    assert after == pytest.approx(expected, rel=0.3, abs=1e-6)


def test_an_interrupted_fit_does_not_reach_into_the_next():
    """An exception between the callback and the step: plain fit is plain again, from its first step on."""
    sizes = []

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(3, activation="softmax")

        def call(self, x):
            return self.dense(x)

        def train_step(self, data):
            sizes.append(len(data[0]))
            return super().train_step(data)

    class Interrupted(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 2:
                raise KeyboardInterrupt

    model = Model()
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=16, callbacks=[ImportanceSampling(8, "oracle"), Interrupted()], verbose=0)
    sizes.clear()
    model.fit(X, Y, batch_size=16, verbose=0)
    assert sizes == 6 * [16]
    assert "importance_sampling" not in model.train_function.__module__


def test_states_of_other_data_or_importances_are_refused():
    training = ImportanceTraining(classifier(), "pcg", presample=32, seed=0)
    training.fit(X, Y, verbose=0)
    state = training.get_state()
    with pytest.raises(ValueError, match="`state` must be what `get_state` returned. Received: "):
        training.set_state({"a": 1})
    training.set_state(state)
    with pytest.raises(ValueError, match="`state` must be of 60 samples, as the data. Received: of 96"):
        training.fit(X[:60], Y[:60], verbose=0)
    training.fit(X, Y, verbose=0)  # what was learnt is still there for the right data
    assert training.get_state()["fits"] == state["fits"]
    training.set_state(state)
    for wrong in (dict(y=np.ones((N, 7))), dict(y=Y, callbacks=[ImportanceSampling(8)])):  # refused later on
        with pytest.raises(ValueError):
            training.fit(X, verbose=0, **wrong)
    training.fit(X, Y, verbose=0)
    assert training.get_state()["fits"] == state["fits"]
    training.set_state(state)
    training.set_state(None)
    training.fit(X[:60], Y[:60], verbose=0)
    other = ImportanceTraining(classifier(), small_lstm(), presample=32, seed=0)
    other.set_state(state)
    with pytest.raises(ValueError, match="`state` must be of a LSTMImportance of loss. Received: of a PerClassGaussian of loss"):
        other.fit(X, Y, verbose=0)


def test_a_refused_fit_keeps_the_state_that_was_set():
    first = ImportanceTraining(still(), "pcg", presample=32, seed=0)
    first.fit(X, Y, batch_size=16, verbose=0)
    draws = []
    second = ImportanceTraining(still(), "pcg", presample=32, seed=0, on_step=lambda draw, _: draws.append(draw))
    second.set_state(first.get_state())
    with pytest.raises(ValueError, match="`presample` must be >= batch_size"):
        second.fit(X, Y, batch_size=64, verbose=0)
    second.fit(X, Y, batch_size=16, steps_per_epoch=1, verbose=0)
    assert len(set(draws[0].pool_scores)) == 3  # the means of the classes, not the 1 of a new one


def test_after_an_interrupted_fit_others_train_the_model():
    class Interrupted(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise KeyboardInterrupt

    model = classifier()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, callbacks=[ImportanceSampling(8), Interrupted()], verbose=0)
    model.fit(X, Y, batch_size=32, callbacks=[ImportanceSampling(8)], verbose=0)
    uniform(model).fit(X, Y, batch_size=32, verbose=0)
    assert int(model.optimizer.iterations) == 6


def test_states_of_other_settings_are_refused():
    for ours, theirs in ((dict(pools="permutation"), dict(pools="random")), (dict(smoothing="adaptive"), dict(smoothing=0.5))):
        first, second = (ImportanceTraining(classifier(), "pcg", presample=32, **settings) for settings in (theirs, ours))
        first.fit(X, Y, verbose=0)
        second.set_state(first.get_state())
        with pytest.raises(ValueError, match="`state` must be of an object made with the same arguments"):
            second.fit(X, Y, verbose=0)


@pytest.mark.parametrize("change", [lambda y: y + 0.5, lambda y: np.where(y == 0, 4, y)], ids=["numbers", "a new class"])
def test_other_classes_in_the_same_array_start_anew(change):
    y = Y.astype(np.float32)
    model = keras.Sequential([keras.Input((2,)), L.Dense(5)])
    model.compile("sgd", lambda t, p: keras.ops.square(keras.ops.reshape(t, (-1,)) - p[:, 0]))
    training = ImportanceTraining(model, small_lstm(), presample=32, seed=0)
    training.fit(X, y, batch_size=16, verbose=0)
    sampler = training.sampler
    y[:] = change(y)
    training.fit(X, y, batch_size=16, verbose=0)
    assert training.sampler is not sampler
