"""Per-sample losses and gradient norms against the losses that Keras computes without reduction."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import Oracle, Pool
from importance_sampling.model.losses import LossRecorder
from importance_sampling.model.probe import loss_form
from importance_sampling.model.scorer import Scorer
from importance_sampling.model.steps import TrainStep
from tests.models import L, classifier

RNG = np.random.default_rng(0)
N = 6
WEIGHTS = RNG.uniform(0.2, 3.0, (N, 1)).astype(np.float32)


class OwnTrainStep(keras.Model):
    """A user's own train_step, and a call without `training`."""

    def __init__(self):
        super().__init__()
        self.dense = L.Dense(1)

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            y_pred = self(x)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


class OwnComputeLoss(keras.Model):
    """A user's own compute_loss, without `training`, that adds a batch-level term."""

    def __init__(self):
        super().__init__()
        self.dense = L.Dense(3)

    def call(self, x, training=False):
        return self.dense(x)

    def compute_loss(self, x, y, y_pred, sample_weight):
        each = keras.ops.mean(keras.ops.square(y - y_pred), axis=-1, keepdims=True)
        return keras.ops.mean(each * sample_weight) + keras.ops.mean(y_pred) ** 2


def softmax():
    model = classifier(features=4, classes=3)
    y = np.arange(N) % 3
    x = RNG.normal(size=(N, 4)).astype("float32")
    return model, x, y, keras.losses.SparseCategoricalCrossentropy(reduction=None)(y, model(x))


def softmax_regularised_float16():
    model = keras.Sequential(
        [keras.Input((4,)), L.Dense(5, kernel_regularizer="l2", dtype="mixed_float16"), L.Dense(3, dtype="float32")]
    )
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    y = np.eye(3, dtype=np.float32)[np.arange(N) % 3]
    x = RNG.normal(size=(N, 4)).astype("float32")
    return model, x, y, keras.losses.CategoricalCrossentropy(from_logits=True, reduction=None)(y, model(x))


def two_outputs():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, [L.Dense(1, name="a")(inputs), L.Dense(1, activation="sigmoid", name="b")(inputs)])
    model.compile("sgd", ["mse", "binary_crossentropy"], loss_weights=[0.25, 2.0])
    x = RNG.normal(size=(N, 4)).astype("float32")
    y = (RNG.normal(size=(N, 1)).astype("float32"), (np.arange(N) % 2).reshape(N, 1).astype("float32"))
    a, b = model(x)
    each = 0.25 * keras.losses.mean_squared_error(y[0], a) + 2.0 * keras.losses.binary_crossentropy(y[1], b)
    return model, x, y, each


def masked_sequences():
    model = keras.Sequential([keras.Input((5,)), L.Embedding(7, 3, mask_zero=True), L.Dense(4, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 1, 2], [3, 0, 0, 0, 0], [1, 1, 1, 1, 0], [6, 5, 0, 0, 0], [2, 2, 2, 0, 0]])
    y = np.arange(N * 5).reshape(N, 5) % 4
    each = keras.losses.sparse_categorical_crossentropy(y, keras.ops.convert_to_tensor(np.asarray(model(x))))
    valid = (x > 0).astype("float32")
    return model, x, y, N / valid.sum() * keras.ops.sum(each * valid, axis=1)  # shares of the batch loss


def own_train_step():
    model = OwnTrainStep()
    model.compile("sgd", "mae")
    x, y = RNG.normal(size=(N, 4)).astype("float32"), RNG.normal(size=(N, 1)).astype("float32")
    return model, x, y, keras.losses.mean_absolute_error(y, model(x))


def own_compute_loss():
    model = OwnComputeLoss()
    model.compile("sgd")
    x, y = RNG.normal(size=(N, 4)).astype("float32"), RNG.normal(size=(N, 3)).astype("float32")
    return model, x, y, keras.ops.mean(keras.ops.square(y - model(x)), axis=-1)


def batch_normalised_jit():
    model = keras.Sequential([keras.Input((4,)), L.Dense(6), L.BatchNormalization(), L.Dense(1)])
    model.compile("sgd", "huber", jit_compile=True)
    x, y = RNG.normal(size=(N, 4)).astype("float32"), 5 * RNG.normal(size=(N, 1)).astype("float32")
    return model, x, y, keras.losses.huber(y, model(x, training=False))


def eager_regression():
    model = keras.Sequential([keras.Input((4,)), L.Dense(2)])
    model.compile("sgd", "mse", run_eagerly=True)
    x, y = RNG.normal(size=(N, 4)).astype("float32"), RNG.normal(size=(N, 2)).astype("float32")
    return model, x, y, keras.losses.mean_squared_error(y, model(x))


def summed():
    model = keras.Sequential([keras.Input((4,)), L.Dense(1)])
    model.compile("sgd", keras.losses.MeanSquaredError(reduction="sum"))
    x, y = RNG.normal(size=(N, 4)).astype("float32"), RNG.normal(size=(N, 1)).astype("float32")
    return model, x, y, keras.losses.mean_squared_error(y, model(x))


KINDS = [
    softmax,
    softmax_regularised_float16,
    two_outputs,
    masked_sequences,
    own_train_step,
    own_compute_loss,
    batch_normalised_jit,
    eager_regression,
    summed,
]
SAME_IN_TRAINING = [kind for kind in KINDS if kind is not batch_normalised_jit]  # which normalises by the batch


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_losses_of_the_samples(kind):
    model, x, y, expected = kind()
    model.test_on_batch(x, y, sample_weight=np.ones((N, 1), np.float32))  # fills the metrics: scoring must not touch them
    before = [v.numpy().copy() for v in model.variables + model.metrics_variables]
    scores = Scorer(model)(x, y)
    np.testing.assert_allclose(scores, np.asarray(expected), rtol=2e-4, atol=1e-6)
    for variable, value in zip(model.variables + model.metrics_variables, before):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert "compute_loss" not in vars(model)


@pytest.mark.parametrize("kind", SAME_IN_TRAINING)
def test_a_training_step_returns_the_weighted_losses(kind):
    model, x, y, expected = kind()
    step = TrainStep(model)
    step.prepare(x, y)
    _, per_sample = step(x, y, None, WEIGHTS[:, 0])
    np.testing.assert_allclose(per_sample.losses, WEIGHTS[:, 0] * np.asarray(expected), rtol=2e-4, atol=1e-6)
    assert "compute_loss" not in vars(model)


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_step_is_the_step_of_keras(kind):
    """Recording changes nothing: the weights after one step are those after `train_on_batch`."""
    model, x, y, _ = kind()
    start = model.get_weights()
    model.train_on_batch(x, y, sample_weight=WEIGHTS)
    expected = model.get_weights()
    model.set_weights(start)
    step = TrainStep(model)
    step.prepare(x, y)
    step(x, y, None, WEIGHTS[:, 0])
    for ours, theirs in zip(model.get_weights(), expected):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [softmax, softmax_regularised_float16, eager_regression, two_outputs])
def test_gnorm_is_the_gradient_at_the_output(kind):
    """Closed forms: |softmax - onehot| at the logits; |2 (y_pred - y) / C| for the mean squared error over C outputs."""
    model, x, y, _ = kind()
    y_pred = model(x)
    if kind is softmax:
        expected = np.linalg.norm(np.asarray(y_pred) - np.eye(3)[y], axis=1)
    elif kind is softmax_regularised_float16:
        expected = np.linalg.norm(np.asarray(keras.ops.softmax(y_pred)) - y, axis=1)
    elif kind is eager_regression:
        expected = np.linalg.norm(2 * (np.asarray(y_pred) - y) / 2, axis=1)
    else:
        a, b = np.asarray(y_pred[0] - y[0]), np.asarray(y_pred[1] - y[1])
        expected = np.hypot(0.25 * 2 * a, 2.0 * b)[:, 0]
    np.testing.assert_allclose(Scorer(model, "gnorm")(x, y), expected, rtol=1e-4, atol=1e-6)
    step = TrainStep(model, gnorm=True)
    step.prepare(x, y)
    _, per_sample = step(x, y, None, WEIGHTS[:, 0])
    np.testing.assert_allclose(per_sample.gnorms, WEIGHTS[:, 0] * expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [softmax, two_outputs, own_train_step, softmax_regularised_float16])
def test_full_gnorm_is_the_norm_of_each_gradient(kind):
    """Against one tape for each sample over the loss without regularisers."""
    model, x, y, _ = kind()

    def one_loss(i):
        x_i, y_i = keras.tree.map_structure(lambda a: a[i : i + 1], (x, y))
        return model.compute_loss(x=x_i, y=y_i, y_pred=model(x_i)) - sum(model.losses)

    expected = []
    for i in range(N):
        with tf.GradientTape() as tape:
            loss = one_loss(i)
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        expected.append(np.sqrt(sum(np.sum(np.square(g)) for g in gradients)))
    scores = Scorer(model, "full_gnorm")(x, y)
    np.testing.assert_allclose(scores, expected, rtol=2e-3)  # the float16 layer rounds


def test_user_weights_count_in_scores():
    model, x, y, expected = softmax()
    np.testing.assert_allclose(Scorer(model)(x, y, WEIGHTS[:, 0]), WEIGHTS[:, 0] * np.asarray(expected), rtol=1e-4)


def test_scores_follow_a_new_compile():
    model, x, y, _ = eager_regression()
    scorer = Scorer(model)
    scorer(x, y)
    model.compile("sgd", "mae")
    np.testing.assert_allclose(scorer(x, y), keras.losses.mean_absolute_error(y, model(x)), rtol=1e-5)


def test_compute_loss_is_put_back_after_an_exception():
    model, x, y, _ = softmax()
    own = model.compute_loss
    model.compute_loss = own  # a user's own override on the instance
    with pytest.raises(RuntimeError, match="on purpose"), LossRecorder(model, "mean"):
        raise RuntimeError("on purpose")
    assert vars(model)["compute_loss"] is own


def scalar_loss(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - y_pred))


class WeightsOfItsOwn(OwnTrainStep):
    def train_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        return {"loss": self.compute_loss(x=x, y=y, y_pred=self(x))}


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (scalar_loss, "must have a value for each sample"),
        (keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"), "must not be normalised by the sample weights"),
        (keras.losses.MeanSquaredError(reduction=None), "must be reduced to one number for the batch"),
    ],
)
@pytest.mark.parametrize("initializer", ["glorot_uniform", "zeros"])
def test_losses_that_cannot_be_taken_apart_are_refused(loss, text, initializer):
    """Also on a model that gives the same output for every sample."""
    model = keras.Sequential([keras.Input((4,)), L.Dense(2, kernel_initializer=initializer)])
    model.compile("sgd", loss)
    x, y = RNG.normal(size=(N, 4)).astype("float32"), np.ones((N, 2), np.float32)
    with pytest.raises(ValueError, match=f"The loss given to `model.compile`.* {text}"):
        loss_form(model, x, y)


def test_a_compute_loss_without_weights_is_refused():
    class Unweighted(OwnComputeLoss):
        def compute_loss(self, x, y, y_pred, sample_weight):
            return keras.ops.mean(keras.ops.square(y - y_pred))

    model = Unweighted()
    model.compile("sgd")
    with pytest.raises(ValueError, match="computed by `compute_loss`, must depend on `sample_weight`"):
        loss_form(model, RNG.normal(size=(N, 4)).astype("float32"), np.ones((N, 3), np.float32))


def test_mixed_reductions_are_refused():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, [L.Dense(1)(inputs), L.Dense(1)(inputs)])
    model.compile("sgd", [keras.losses.MeanSquaredError(reduction="sum"), "mse"])
    y = RNG.normal(size=(N, 1)).astype("float32")
    with pytest.raises(ValueError, match="every output in the same way"):
        loss_form(model, RNG.normal(size=(N, 4)).astype("float32"), (y, y))


def test_a_train_step_that_drops_the_weights_is_refused():
    model = WeightsOfItsOwn()
    model.compile("sgd", "mse")
    x, y = RNG.normal(size=(N, 4)).astype("float32"), RNG.normal(size=(N, 1)).astype("float32")
    model(x)
    step = TrainStep(model)
    step.prepare(x, y)
    with pytest.raises(ValueError, match="`model.train_step` must compute its loss as .* WeightsOfItsOwn.train_step"):
        step(x, y, None, WEIGHTS[:, 0])


PIXELS = RNG.integers(3, size=(N, 4, 5))
IMAGES = RNG.normal(size=(N, 4, 5, 2)).astype(np.float32)


def of_each_pixel(ignore_class=None):
    model = keras.Sequential([keras.Input((4, 5, 2)), L.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=ignore_class))
    losses = keras.losses.sparse_categorical_crossentropy(PIXELS, model(IMAGES), from_logits=True).numpy()  # (N, 4, 5)
    return model, losses


def test_one_weight_for_each_sample_counts_for_all_of_its_pixels():
    """Also where there are as many samples as rows."""
    model, losses = of_each_pixel()
    for few in (slice(4), slice(None)):
        found = Scorer(model)(IMAGES[few], PIXELS[few], WEIGHTS[few, 0])
        np.testing.assert_allclose(found, (WEIGHTS[:, 0] * losses.mean(axis=(1, 2)))[few], rtol=1e-4)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("few", [slice(4), slice(None)])
def test_one_weight_for_each_sample_and_output_counts_for_all_of_its_pixels(few, named):
    inputs = keras.Input((4, 5, 2))
    outputs = {name: L.Dense(3, name=name)(inputs) for name in "ab"}
    model = keras.Model(inputs, outputs if named else list(outputs.values()))
    loss = lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True)  # noqa: E731
    model.compile("sgd", {"a": loss(), "b": loss()} if named else [loss(), loss()])
    own = {"a": WEIGHTS[few, 0], "b": 2 * WEIGHTS[few, 0]}
    y = {name: PIXELS[few] for name in "ab"}
    predicted = model(IMAGES[few])
    each = [
        keras.losses.sparse_categorical_crossentropy(PIXELS[few], part, from_logits=True).numpy().mean(axis=(1, 2))
        for part in (predicted.values() if named else predicted)
    ]
    pack = (lambda structure: structure) if named else (lambda structure: list(structure.values()))
    found = Scorer(model)(IMAGES[few], pack(y), pack(own))
    np.testing.assert_allclose(found, WEIGHTS[few, 0] * (each[0] + 2 * each[1]), rtol=1e-4)


@pytest.mark.parametrize("ignored", [0, 255])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0], ids=["of none", "of some", "of the whole first sample"])
def test_pixels_of_an_ignored_class_have_no_loss(ignored, share):
    """Keras divides by the pixels that count in the whole batch: one unit for all samples of a pool."""
    model, losses = of_each_pixel(ignored)
    y = np.where(ignored == PIXELS, 1, PIXELS)
    losses = keras.losses.sparse_categorical_crossentropy(y, model(IMAGES), from_logits=True).numpy()
    left_out = np.random.default_rng(1).random(y.shape) < (share if share < 1 else 0.3)
    left_out[0] = share == 1
    y = np.where(left_out & (share > 0), ignored, y)
    form = loss_form(model, IMAGES, y)
    assert not form.separable and form.ranks == 3
    counted = y != ignored
    expected = N * np.where(counted, losses, 0).sum(axis=(1, 2)) / counted.sum()
    found = Oracle(model, batch_size=2).score(Pool(np.arange(N), None, lambda part: (IMAGES[part], y[part], None)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_class_is_ignored_by_a_function_too_and_no_division_follows_for_a_sum():
    function = functools.partial(keras.losses.sparse_categorical_crossentropy, from_logits=True, ignore_class=255)
    summed = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255, reduction="sum")
    for loss, separable in ((function, False), (summed, True)):
        model, _ = of_each_pixel()
        model.compile("sgd", loss)
        for y in (PIXELS, np.where(PIXELS == 1, 255, PIXELS)):
            assert (loss_form(model, IMAGES, y).separable, loss_form(model, IMAGES, y).ranks) == (separable, 3)


def test_a_softmax_that_is_no_activation_of_keras_is_told_apart_for_gnorm():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, L.Lambda(tf.nn.softmax)(L.Dense(3)(inputs)))
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = RNG.normal(size=(N, 4)).astype("float32"), np.arange(N) % 3
    with pytest.raises(ValueError, match="give the loss from_logits=True"):
        Scorer(model, "gnorm")(x, y)
