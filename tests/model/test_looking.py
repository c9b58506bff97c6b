"""A look at the loss before the first step: what it leaves alone, and what it refuses."""

import keras
import numpy as np
import pytest

from importance_sampling import (
    ImportanceSampling,
    ImportanceTraining,
)
from tests.models import L

N = 96
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 2)).astype(np.float32)
Y = np.arange(N) % 3


def uniform(model, **settings):
    return ImportanceTraining(model, "uniform", seed=0, **settings)


class Annealed(keras.Model):
    """Counts its losses in a float, and its calls."""

    def __init__(self):
        super().__init__()
        self.dense = L.Dense(3, activation="softmax")
        self.beta = self.add_weight(shape=(), initializer="ones", trainable=False)
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.calls.assign_add(1.0)
        return self.dense(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        self.beta.assign(self.beta * 0.9)
        return self.beta * super().compute_loss(x, y, y_pred, sample_weight)


def test_what_a_model_counts_is_not_counted_by_looking_at_it():
    found = []
    for fit in (lambda m: m.fit, lambda m: uniform(m).fit, lambda m: ImportanceTraining(m, "oracle", presample=48, seed=0).fit):
        keras.utils.set_random_seed(0)
        model = Annealed()
        model(X[:1])
        model.calls.assign(0.0)
        model.compile("sgd", "sparse_categorical_crossentropy")
        history = fit(model)(X, Y, batch_size=16, shuffle=False, verbose=0)
        found.append((float(model.beta), float(model.calls), history.history["loss"][0]))
    assert found[0][:2] == found[1][:2] == found[2][:2] == (pytest.approx(0.9**6), 6.0)
    assert found[0][2] == pytest.approx(found[1][2], rel=1e-5)


class NoCall(keras.Model):
    """As many a generative model: all in `train_step`."""

    def __init__(self):
        super().__init__()
        self.dense = L.Dense(2)

    def train_step(self, data):
        return {"loss": keras.ops.mean(self.dense(data[0]) ** 2)}


class NoLoss(NoCall):
    def call(self, x):
        return self.dense(x)


@pytest.mark.parametrize("make", [NoCall, NoLoss])
@pytest.mark.parametrize("y", [Y, None], ids=["targets", "no targets"])
def test_a_train_step_that_computes_all_by_itself_is_refused_with_the_reason(make, y):
    model = make()
    model.compile("sgd")
    with pytest.raises(ValueError, match="`model.train_step` must compute its loss as"):
        uniform(model).fit(X, y, verbose=0)


def test_outputs_that_are_no_numbers_are_left_alone():
    inputs = keras.Input((2,))
    p = L.Dense(3, activation="softmax", name="p")(inputs)
    model = keras.Model(inputs, {"p": p, "sure": L.Lambda(lambda t: t > 0.5, name="sure")(p)})
    model.compile("sgd", {"p": "sparse_categorical_crossentropy"})
    assert np.isfinite(ImportanceTraining(model, "oracle", presample=48).fit(X, {"p": Y}, verbose=0).history["loss"][0])


def test_a_stateful_network_of_a_fixed_batch_size():
    """Close to plain fit: the state of the layer, which the model does not own, has seen one batch more."""
    results = []
    for fit in (lambda m: m.fit, lambda m: uniform(m).fit):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input(batch_shape=(16, 2, 1)), L.LSTM(3, stateful=True), L.Dense(3, activation="softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy")
        results.append(fit(model)(X[:, :, None], Y, batch_size=16, shuffle=False, epochs=2, verbose=0).history["loss"])
    assert results[0] == pytest.approx(results[1], rel=1e-3)


def test_looking_at_the_loss_leaves_no_trace_in_the_logs_of_its_outputs():
    found = []
    for callbacks in ([], [ImportanceSampling(16, "uniform")]):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((2,))
        model = keras.Model(inputs, [L.Dense(1, name="a")(inputs), L.Dense(1, name="b")(inputs)])
        model.compile("sgd", ["mse", "mse"], metrics=[["mae"], ["mae"]])
        targets = [X[:, :1], 10 * X[:, 1:]]
        found.append(model.fit(X, targets, batch_size=16, shuffle=False, callbacks=callbacks, verbose=0).history)
    assert found[0] == {name: pytest.approx(values, rel=1e-5) for name, values in found[1].items()}


def test_the_oracle_needs_a_model_of_any_batch_size():
    model = keras.Sequential([keras.Input(batch_shape=(8, 2, 1)), L.GRU(2, stateful=True), L.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="`model` must take batches of any size, to score a pool. Received: batches of 8 only"):
        ImportanceTraining(model, "oracle", presample=32).fit(X[:, :, None], Y, batch_size=8, verbose=0)
