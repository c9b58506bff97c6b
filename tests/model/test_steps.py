"""What is made before the first step."""

import re

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


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("optimizer", ["adam", "nadam", "sgd with an average"])
def test_the_variables_of_the_optimizer_are_those_of_plain_fit(optimizer, policy):
    found = []
    for fit in (lambda model: model.fit, lambda model: ImportanceTraining(model, "uniform", seed=0).fit):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((2,)), L.Dense(3, "softmax", dtype=policy, name="dense")])
        averaged = keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True, gradient_accumulation_steps=2, name="averaged")
        made = averaged if optimizer == "sgd with an average" else keras.optimizers.get(optimizer)
        made = keras.optimizers.LossScaleOptimizer(made, name="scaled") if policy == "mixed_float16" else made
        model.compile(made, "sparse_categorical_crossentropy")
        fit(model)(X, Y, batch_size=16, shuffle=False, epochs=2, verbose=0)
        found.append({re.sub(r"_\d+", "", v.path): (v.numpy(), v.dtype, v.trainable) for v in model.optimizer.variables})
    assert list(found[0]) == list(found[1]) and len(found[0]) > 3
    assert [kind for _, *kind in found[0].values()] == [kind for _, *kind in found[1].values()]
    if policy == "float32":
        np.testing.assert_allclose([v[0].sum() for v in found[0].values()], [v[0].sum() for v in found[1].values()], rtol=1e-5)


@pytest.mark.filterwarnings("ignore:`build..` was called on layer")  # by Keras, also in plain fit
def test_a_step_that_makes_layers_of_its_own_trains_as_plain_fit_does():
    """A head that is there in training only: its weights are not known before the step is traced."""

    class Auxiliary(keras.Model):
        def __init__(self):
            super().__init__()
            self.body, self.head, self.aux = L.Dense(4, "tanh"), L.Dense(3, "softmax"), L.Dense(3, "softmax")

        def call(self, x, training=False):
            features = self.body(x)
            return 0.5 * self.head(features) + 0.5 * self.aux(features) if training else self.head(features)

    for importance in ("uniform", "history"):
        model = Auxiliary()
        model.compile("adam", "sparse_categorical_crossentropy")
        ImportanceTraining(model, importance, seed=0).fit(X, Y, batch_size=16, verbose=0)
        before = model.aux.kernel.numpy()
        model.fit(X, Y, batch_size=16, verbose=0)
        assert np.all(before != model.aux.kernel.numpy()) and "build" not in vars(model.optimizer)


@pytest.mark.parametrize("kind", ["trainable", "loss_weights"])
def test_a_model_that_is_compiled_with_the_same_objects_is_compiled_again(kind):
    """Also one that says itself what its metrics are, so that nothing public tells one `compile` from another."""

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.body, self.head = L.Dense(4, "tanh"), L.Dense(3, "softmax")
            self.tracker = keras.metrics.Mean(name="mine")

        def call(self, x):
            return self.head(self.body(x))

        @property
        def metrics(self):
            return [self.tracker]

    model = Own()
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    for importance in ("uniform", "history", "oracle"):
        model.body.trainable = True
        model.compile(model.optimizer, model.loss)
        training = ImportanceTraining(model, importance, seed=0)
        training.fit(X, Y, batch_size=16, verbose=0)
        model.body.trainable = kind != "trainable"
        model.compile(model.optimizer, model.loss, loss_weights=0.0 if kind == "loss_weights" else None)
        before = model.body.kernel.numpy()
        training.fit(X, Y, batch_size=16, verbose=0)
        np.testing.assert_array_equal(model.body.kernel.numpy(), before)


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
