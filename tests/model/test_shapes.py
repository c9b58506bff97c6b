"""Losses of pixels, sequences and several outputs; random ones; mixed precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import ArraySource, ImportanceTraining, LSTMImportance, Oracle, Pool
from importance_sampling.model.probe import loss_form
from importance_sampling.model.scorer import Scorer
from importance_sampling.model.steps import TrainStep
from tests.models import L, small_lstm

RNG = np.random.default_rng(0)


def compiled(*layers, loss="mse", **compiling):
    model = keras.Sequential(layers)
    model.compile("sgd", loss, **compiling)
    return model


@pytest.mark.parametrize("n", [5, 8])  # 8 is the height too: a wrong broadcast would go unseen by shape
def test_a_loss_for_each_pixel_has_a_value_for_each_sample(n):
    model = compiled(keras.Input((8, 5, 1)), L.Conv2D(1, 3, padding="same"))
    x, y = RNG.normal(size=(2, n, 8, 5, 1)).astype("float32")
    expected = np.square(y - np.asarray(model(x))).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(Scorer(model)(x, y), expected, rtol=1e-4)
    alpha = RNG.uniform(0.5, 2, n).astype("float32")
    step = TrainStep(model)
    step.prepare(x, y)
    np.testing.assert_allclose(step(x, y, None, alpha)[1].losses, alpha * expected, rtol=1e-4)


def test_weights_for_each_pixel_are_taken():
    model = compiled(keras.Input((8, 5, 1)), L.Conv2D(3, 1, activation="softmax"), loss="sparse_categorical_crossentropy")
    x, y = RNG.normal(size=(8, 8, 5, 1)).astype("float32"), RNG.integers(0, 3, (8, 8, 5))
    own = RNG.uniform(size=(8, 8, 5)).astype("float32")
    each = np.asarray(keras.losses.sparse_categorical_crossentropy(y, model(x)))
    np.testing.assert_allclose(Scorer(model)(x, y, own), (own * each).mean(axis=(1, 2)), rtol=1e-4)
    history = ImportanceTraining(model, "oracle", presample=8, seed=0).fit(x, y, sample_weight=own, batch_size=4, verbose=0)
    assert np.isfinite(history.history["loss"][0])


def test_outputs_of_different_rank():
    inputs = keras.Input((8, 5, 1))
    pixels = L.Conv2D(1, 1, name="pixels")(inputs)
    whole = L.Dense(2, name="whole")(L.Flatten()(inputs))
    model = keras.Model(inputs, {"pixels": pixels, "whole": whole})
    model.compile("sgd", {"pixels": "mse", "whole": "mae"})
    x = RNG.normal(size=(16, 8, 5, 1)).astype("float32")
    y = {"pixels": x, "whole": RNG.normal(size=(16, 2)).astype("float32")}
    out = model(x)
    expected = np.square(x - np.asarray(out["pixels"])).mean(axis=(1, 2, 3)) + np.abs(y["whole"] - out["whole"]).mean(axis=1)
    np.testing.assert_allclose(Scorer(model)(x, y), expected, rtol=1e-4)
    ImportanceTraining(model, "oracle", presample=8, seed=0).fit(x, y, batch_size=4, verbose=0)


def test_full_gnorm_adds_the_rows_of_an_embedding_that_occur_twice():
    model = compiled(keras.Input((4,), dtype="int32"), L.Embedding(3, 2), L.Flatten(), L.Dense(1))
    x, y = np.array([[1, 1, 1, 1], [0, 1, 2, 1]]), np.ones((2, 1), np.float32)
    expected = []
    for i in range(2):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x[i : i + 1]) - y[i]))
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, [v.value for v in model.trainable_variables])]
        expected.append(np.sqrt(sum(np.sum(np.square(g)) for g in gradients)))
    np.testing.assert_allclose(Scorer(model, "full_gnorm")(x, y), expected, rtol=1e-4)


def test_scoring_and_probing_leave_random_generators_as_they_were():
    class Noise(L.Layer):
        def __init__(self):
            super().__init__()
            self.generator = keras.random.SeedGenerator(1)

        def call(self, x):
            return x + keras.random.normal(keras.ops.shape(x), seed=self.generator)

    model = compiled(keras.Input((3,)), Noise(), L.Dense(1))
    x, y = RNG.normal(size=(8, 3)).astype("float32"), np.ones((8, 1), np.float32)
    (state,) = [v for v in model.non_trainable_variables if "seed" in v.path]
    before = state.numpy().copy()
    Scorer(model)(x, y)
    np.testing.assert_array_equal(state.numpy(), before)


def test_a_random_loss_is_taken():
    """A sampled term in the loss, as in a variational autoencoder, is no reason to refuse."""

    class Sampled(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense, self.generator = L.Dense(2), keras.random.SeedGenerator(1)

        def call(self, x, training=False):
            return self.dense(x)

        def compute_loss(self, x, y, y_pred, sample_weight, training=True):
            noisy = y_pred + keras.random.normal(keras.ops.shape(y_pred), seed=self.generator)
            return super().compute_loss(x, y, noisy, sample_weight)

    model = Sampled()
    model.compile("sgd", "mse")
    history = ImportanceTraining(model, "oracle", presample=16, seed=0).fit(
        RNG.normal(size=(32, 3)), RNG.normal(size=(32, 2)), batch_size=4, verbose=0
    )
    assert np.isfinite(history.history["loss"][0])


def test_the_reduction_is_found_where_all_losses_are_zero():
    model = compiled(
        keras.Input((1,)), L.Dense(1, use_bias=False, kernel_initializer="ones"), loss=keras.losses.Hinge(reduction="sum")
    )
    assert loss_form(model, np.full((8, 1), 5.0, np.float32), np.ones((8, 1), np.float32)).reduction == "sum"


def sequences():
    """128 short and then 128 long sequences: within each half all samples have the same loss."""
    x = np.zeros((256, 20), np.int64)
    x[:128, :2] = 1
    x[128:, :] = 1
    model = compiled(keras.Input((20,)), L.Embedding(3, 2, mask_zero=True), L.Dense(4, activation="softmax"))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model, x, np.zeros((256, 20), np.int64)


def test_scores_of_a_pool_of_masked_sequences_have_one_unit():
    """A long sequence has ten times the share of a short one, wherever the parts of the pool end."""
    model, x, y = sequences()
    data = ArraySource(x, y)
    scores = Oracle(model, batch_size=128).score(Pool(np.arange(256), None, lambda positions: data[positions]))
    np.testing.assert_allclose(scores[128:], 10 * scores[:128], rtol=1e-4)


@pytest.mark.parametrize("importance", ["oracle", "gnorm", LSTMImportance(classes=0, history=2, units=4, jit_compile=False)])
def test_masked_sequences_train(importance):
    model, x, y = sequences()
    history = ImportanceTraining(model, importance, presample=64, seed=0).fit(x, y, batch_size=16, epochs=2, verbose=0)
    assert history.history["loss"][1] < history.history["loss"][0]


def test_mixed_float16_and_an_unbuilt_subclassed_model(blobs):
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden, self.out = L.Dense(8, activation="tanh"), L.Dense(3, activation="softmax", dtype="float32")

        def call(self, x):
            return self.out(self.hidden(x))

    x, y = blobs
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        model = Subclassed()
        model.compile(keras.optimizers.SGD(0.3), "sparse_categorical_crossentropy", metrics=["accuracy"])
        history = ImportanceTraining(model, small_lstm(), presample=64, seed=0).fit(x, y, batch_size=32, epochs=5, verbose=0)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert history.history["loss"][-1] < 0.8 * history.history["loss"][0]
