"""Every kind of model that `model.fit` trains, each with 48 samples of data."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from tests.models import L

N = 48
RNG = np.random.default_rng(0)
LABELS = np.arange(N) % 3
X = (RNG.normal(size=(N, 2)) + 2 * np.eye(3)[LABELS][:, :2]).astype(np.float32)
ONE_HOT = np.eye(3, dtype=np.float32)[LABELS]
TARGET = X.sum(axis=1, keepdims=True)
SEQUENCES = np.where(np.arange(6) < RNG.integers(2, 7, (N, 1)), RNG.integers(1, 5, (N, 6)), 0)
IMAGES = RNG.normal(size=(N, 6, 5, 1)).astype(np.float32)

SPARSE = "sparse_categorical_crossentropy"


def sgd(rate=0.1, **options):
    return keras.optimizers.SGD(rate, **options)


def compiled(model, loss=SPARSE, optimizer=None, metrics=("accuracy",), **compiling):
    model.compile(optimizer or sgd(), loss, metrics=list(metrics) or None, **compiling)
    return model


def dense(*layers, units=3, activation="softmax"):
    return keras.Sequential([keras.Input((2,)), L.Dense(8, activation="tanh"), *layers, L.Dense(units, activation=activation)])


class Subclassed(keras.Model):
    """Not built before it sees data."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = L.Dense(8, activation="tanh"), L.Dense(3, activation="softmax")

    def call(self, x):
        return self.out(self.hidden(x))


class OwnTrainStep(Subclassed):
    def train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x=x, y=y, y_pred=self(x), sample_weight=sample_weight)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


class WithoutInputs(Subclassed):
    """Its `train_step` gives `compute_loss` all but x, as guides of Keras do."""

    def train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss = self.compute_loss(y=y, y_pred=self(x, training=True), sample_weight=sample_weight)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


class OwnComputeLoss(Subclassed):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        each = keras.losses.sparse_categorical_crossentropy(y, y_pred)
        weighted = each if sample_weight is None else each * keras.ops.ravel(sample_weight)
        return keras.ops.mean(weighted) + 0.01 * keras.ops.mean(y_pred**2)


class Autoencoder(keras.Model):
    """Needs no targets."""

    def __init__(self):
        super().__init__()
        self.code, self.out = L.Dense(1), L.Dense(2)

    def call(self, x):
        return self.out(self.code(x))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        each = keras.ops.mean((x - y_pred) ** 2, axis=-1)
        return keras.ops.mean(each if sample_weight is None else each * keras.ops.ravel(sample_weight))


class AddedLoss(Subclassed):
    def call(self, x):
        hidden = self.hidden(x)
        self.add_loss(0.01 * keras.ops.mean(hidden**2))
        return self.out(hidden)


def two_inputs():
    a, b = keras.Input((2,), name="a"), keras.Input((1,), name="b")
    return compiled(keras.Model({"a": a, "b": b}, L.Dense(3, activation="softmax")(L.Concatenate()([a, b]))))


def squares(y, y_pred):
    return keras.ops.mean((y - y_pred) ** 2, axis=-1)


def two_outputs(of_sum="mse"):
    inputs = keras.Input((2,))
    hidden = L.Dense(8, activation="tanh")(inputs)
    outputs = {"label": L.Dense(3, activation="softmax", name="label")(hidden), "sum": L.Dense(1, name="sum")(hidden)}
    model = keras.Model(inputs, outputs)
    losses = {"label": SPARSE, "sum": of_sum}
    model.compile(sgd(0.05), losses, loss_weights={"label": 1.0, "sum": 0.5}, metrics={"label": ["accuracy"]})
    return model


def sequences():
    layers = [L.Embedding(5, 4, mask_zero=True), L.LSTM(4, return_sequences=True), L.Dense(5, activation="softmax")]
    return compiled(keras.Sequential([keras.Input((6,)), *layers]))


def pixels():
    layers = [L.Conv2D(2, 3, padding="same"), L.Conv2D(1, 1)]
    return compiled(keras.Sequential([keras.Input((6, 5, 1)), *layers]), "mse", metrics=())


def frozen():
    model = dense()
    model.layers[0].trainable = False
    return compiled(model)


def scheduled():
    return compiled(dense(), optimizer=sgd(keras.optimizers.schedules.ExponentialDecay(0.05, 5, 0.8), momentum=0.9, clipnorm=1.0))


@contextlib.contextmanager
def policy(name):
    found = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(found)


def in_precision(name):
    def make():
        with policy(name):
            return compiled(keras.Sequential([keras.Input((2,)), L.Dense(8), L.Dense(3, activation="softmax", dtype="float32")]))

    return make


# name: how to make the model, x, y
KINDS = {
    "sequential": (lambda: compiled(dense()), X, LABELS),
    "one-hot": (lambda: compiled(dense(), "categorical_crossentropy"), X, ONE_HOT),
    "subclassed": (lambda: compiled(Subclassed()), X, LABELS),
    "own train_step": (lambda: compiled(OwnTrainStep(), metrics=()), X, LABELS),
    "own train_step without x": (lambda: compiled(WithoutInputs(), metrics=()), X, LABELS),
    "own compute_loss": (lambda: compiled(OwnComputeLoss(), None, metrics=()), X, LABELS),
    "no targets": (lambda: compiled(Autoencoder(), None, metrics=()), X, None),
    "two inputs": (two_inputs, {"a": X, "b": TARGET}, LABELS),
    "two outputs": (two_outputs, X, {"label": LABELS, "sum": TARGET}),
    "two outputs, one with a loss of one's own": (
        lambda: two_outputs(squares),
        X,
        {"label": LABELS, "sum": TARGET},
    ),
    "regression": (lambda: compiled(dense(units=1, activation=None), "mse", metrics=("mae",)), X, TARGET),
    "regression on whole numbers": (lambda: compiled(dense(units=1, activation=None), "mae", metrics=()), X, np.arange(N)),
    "binary": (lambda: compiled(dense(units=1, activation="sigmoid"), "binary_crossentropy"), X, LABELS == 0),
    "multi-label": (lambda: compiled(dense(activation="sigmoid"), "binary_crossentropy"), X, np.repeat(X > 0, 2, axis=1)[:, :3]),
    "hinge": (lambda: compiled(dense(units=1, activation=None), "hinge", metrics=()), X, 2 * (LABELS == 0) - 1),
    "summed loss": (lambda: compiled(dense(), keras.losses.SparseCategoricalCrossentropy(reduction="sum"), sgd(0.01)), X, LABELS),
    "masked sequences": (sequences, SEQUENCES, SEQUENCES),
    "pixels": (pixels, IMAGES, 2 * IMAGES),
    "BatchNorm and dropout": (lambda: compiled(dense(L.BatchNormalization(), L.Dropout(0.2))), X, LABELS),
    "regularisers": (lambda: compiled(dense(L.Dense(8, kernel_regularizer="l2", activity_regularizer="l1"))), X, LABELS),
    "add_loss": (lambda: compiled(AddedLoss()), X, LABELS),
    "frozen layers": (frozen, X, LABELS),
    "mixed_float16": (in_precision("mixed_float16"), X, LABELS),
    "mixed_bfloat16": (in_precision("mixed_bfloat16"), X, LABELS),
    "float64": (in_precision("float64"), X, LABELS),
    "jit_compile": (lambda: compiled(dense(), jit_compile=True), X, LABELS),
    "run_eagerly": (lambda: compiled(dense(), run_eagerly=True), X, LABELS),
    "steps_per_execution": (lambda: compiled(dense(), steps_per_execution=4), X, LABELS),
    "gradient accumulation": (lambda: compiled(dense(), optimizer=sgd(0.2, gradient_accumulation_steps=2)), X, LABELS),
    "EMA": (lambda: compiled(dense(), optimizer=sgd(0.2, use_ema=True, ema_momentum=0.5)), X, LABELS),
    "schedule, momentum, clipping": (scheduled, X, LABELS),
}
WITH_CLASSES = {
    name for name, (_, _, y) in KINDS.items() if y is LABELS or name in ("one-hot", "binary")
}  # what "pcg" can tell apart
