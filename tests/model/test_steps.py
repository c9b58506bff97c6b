"""What is made before the first step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import ImportanceTraining
from tests.models import L, classifier

X = np.random.default_rng(0).normal(size=(48, 2)).astype(np.float32)
Y = np.arange(48) % 3


class Counting(L.Dense):
    """Counts how often Keras runs it for training."""

    traces = 0

    def call(self, x, training=False):
        self.traces += bool(training)
        return super().call(x)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.filterwarnings("ignore:`jit_compile=True` compiles the training step")
def test_a_step_is_traced_once(jit_compile):
    """Plain fit does so twice: at first to create the variables of the optimizer."""
    traces = []
    for fit in (lambda model: model.fit, lambda model: ImportanceTraining(model, "uniform", seed=0).fit):
        model = keras.Sequential([keras.Input((2,)), Counting(3), L.Softmax()])
        model.compile("adam", "sparse_categorical_crossentropy", jit_compile=jit_compile)
        fit(model)(X, Y, batch_size=16, epochs=2, verbose=0)
        traces.append(model.layers[0].traces)
    assert traces == [2, 1]


def test_the_optimizer_of_a_refused_training_is_left_as_it_was():
    model = classifier(optimizer="adam", loss=lambda y, p: keras.ops.mean((p - keras.ops.mean(p, axis=0)) ** 2, axis=-1))
    with pytest.raises(ValueError, match="batch"):
        ImportanceTraining(model, "history").fit(X, Y, batch_size=16, verbose=0)
    assert not model.optimizer.built


def test_a_step_that_trains_some_of_the_weights_keeps_its_optimizer_to_them():
    class Head(keras.Model):
        def __init__(self):
            super().__init__()
            self.body, self.head = L.Dense(4), L.Dense(3, activation="softmax")

        def call(self, x):
            return self.head(self.body(x))

        def train_step(self, data):
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
            with tf.GradientTape() as tape:
                loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True), sample_weight=sample_weight)
            weights = self.head.trainable_variables
            self.optimizer.apply(tape.gradient(loss, weights), weights)
            return {"loss": loss}

    found = []
    for fit in (lambda model: model.fit, lambda model: ImportanceTraining(model, "history", seed=0).fit):
        model = Head()
        model.compile("adam", "sparse_categorical_crossentropy")
        fit(model)(X, Y, batch_size=16, verbose=0)
        found.append([tuple(v.shape) for v in model.optimizer.variables])
    assert found[0] == found[1] and (4, 3) in found[0] and (2, 4) not in found[0]


@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
def test_a_model_that_is_frozen_trains_as_plain_fit_does():
    model = classifier(optimizer="adam")
    model.trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    before = model.get_weights()
    ImportanceTraining(model, "uniform", seed=0).fit(X, Y, batch_size=16, verbose=0)
    np.testing.assert_equal(model.get_weights(), before)
