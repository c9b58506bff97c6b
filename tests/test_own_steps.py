"""Models with a `train_step` or a `compute_loss` of their own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import ImportanceTraining
from importance_sampling.steps import TrainStep
from tests.models import L

N = 16
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 4)).astype(np.float32)
Y = RNG.normal(size=(N, 3)).astype(np.float32)
OWN = RNG.uniform(0.5, 2.0, N).astype(np.float32)


class OwnStep(keras.Model):
    """A dense layer with a step that subclasses change."""

    def __init__(self):
        super().__init__()
        self.dense = L.Dense(3)

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss = self.loss_of(x, y, sample_weight)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}

    def loss_of(self, x, y, sample_weight):
        return self.compute_loss(x=x, y=y, y_pred=self(x), sample_weight=sample_weight)


class Twice(OwnStep):
    """Two losses of each sample: of it, and of a disturbed one."""

    def loss_of(self, x, y, sample_weight):
        return super().loss_of(x, y, sample_weight) + super().loss_of(x + 1.0, y, sample_weight)


class InParts(OwnStep):
    """Two halves of the batch."""

    def loss_of(self, x, y, sample_weight):
        halves = ((part[:8], part[8:]) for part in (x, y, sample_weight))
        return sum(super(InParts, self).loss_of(*half) for half in zip(*halves))


class OfPlainPairs(OwnStep):
    """As in many an example: the sample weights are not thought of."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x=x, y=y, y_pred=self(x))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


class PlainWeights(keras.Sequential):
    """A `compute_loss` that multiplies weights `(b,)`, as Keras hands the user's on, with losses `(b,)`."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        each = keras.ops.mean(keras.ops.square(y - y_pred), axis=-1)
        return keras.ops.mean(each if sample_weight is None else each * sample_weight)


def compiled(model, **compiling):
    model.compile(keras.optimizers.SGD(0.0), "mse", **compiling)
    model(X)
    return model


def losses_of(model, x=X):
    return np.mean((Y - model(x).numpy()) ** 2, axis=1)


def stepped(model, alpha, own=None):
    step = TrainStep(model)
    step.prepare(X, Y)
    return step(X, Y, own, alpha)


@pytest.mark.parametrize("eagerly", [False, True])
def test_losses_of_one_step_are_added(eagerly):
    model = compiled(Twice(), run_eagerly=eagerly)
    _, per_sample = stepped(model, OWN)
    np.testing.assert_allclose(per_sample.losses, OWN * (losses_of(model) + losses_of(model, X + 1)), rtol=1e-5)


@pytest.mark.parametrize("eagerly", [False, True])
def test_losses_of_parts_of_the_batch_are_refused(eagerly):
    with pytest.raises(ValueError, match="must call `compute_loss` on the whole batch.* Received: 8 and 8 of 16 samples"):
        stepped(compiled(InParts(), run_eagerly=eagerly), OWN)


@pytest.mark.parametrize("eagerly", [False, True])
def test_a_step_that_takes_pairs_is_refused_with_the_reason(eagerly):
    model = compiled(OfPlainPairs(), run_eagerly=eagerly)
    with pytest.raises(ValueError, match="`model.train_step` must compute its loss as .* OfPlainPairs.train_step, which does not"):
        ImportanceTraining(model, "uniform", seed=0).fit(X, Y, batch_size=8, verbose=0)


def test_another_error_of_a_step_stays_what_it_is():
    class Broken(OwnStep):
        def loss_of(self, x, y, sample_weight):
            raise ValueError("of the user's own")

    with pytest.raises(ValueError, match="of the user's own"):
        ImportanceTraining(compiled(Broken()), "uniform", seed=0).fit(X, Y, batch_size=8, verbose=0)


def test_an_eager_step_gets_tensors():
    """A gradient with respect to the input, for a penalty or an adversarial sample."""

    class Watching(OwnStep):
        def loss_of(self, x, y, sample_weight):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y_pred = self(x)
            assert tape.gradient(y_pred, x).numpy().shape == x.shape
            return super().loss_of(x, y, sample_weight)

    history = ImportanceTraining(compiled(Watching(), run_eagerly=True), "uniform", seed=0).fit(X, Y, batch_size=8, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_an_unpacking_error_of_another_kind_stays_what_it_is():
    class Broken(OwnStep):
        def loss_of(self, x, y, sample_weight):
            one, two, three = [1, 2]
            return one + two + three

    with pytest.raises(ValueError, match="not enough values to unpack"):
        ImportanceTraining(compiled(Broken()), "uniform", seed=0).fit(X, Y, batch_size=8, verbose=0)


def test_a_random_compute_loss_of_plain_weights_has_a_value_for_each_sample():
    """With weights (b, 1) it would be a table of all losses by all weights, the same for every sample."""

    class Noisy(PlainWeights):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            y_pred = y_pred + 0.01 * tf.random.normal(tf.shape(y_pred))
            return super().compute_loss(x, y, y_pred, sample_weight, training)

    model = compiled(Noisy([keras.Input((4,)), L.Dense(3)]))
    _, per_sample = stepped(model, OWN)
    np.testing.assert_allclose(per_sample.losses, OWN * losses_of(model), rtol=0.1)


@pytest.mark.parametrize("own", [None, OWN])
def test_a_compute_loss_of_plain_weights_gets_them(own):
    model = compiled(PlainWeights([keras.Input((4,)), L.Dense(3)]))
    alpha = np.linspace(0.5, 2.0, N, dtype=np.float32)
    logs, per_sample = stepped(model, alpha, own)
    expected = losses_of(model) * alpha * (1 if own is None else own)
    np.testing.assert_allclose(per_sample.losses, expected, rtol=1e-5)
    assert float(logs["loss"]) == pytest.approx(expected.mean(), rel=1e-5)
