"""The proof that a loss is one of single samples, against the losses of samples that are alone."""

import os

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings

from importance_sampling import ImportanceSampling, ImportanceTraining
from importance_sampling.data.structures import take
from importance_sampling.model import looking
from importance_sampling.model.losses import LossRecorder, LossRefused, forward
from importance_sampling.model.probe import loss_form
from tests.checks import assert_refused
from tests.random_losses import problems

COUNT = int(os.environ.get("RANDOM_LOSSES", 60))
MANY = settings(max_examples=COUNT, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)


def contributions(model, form, x, y):
    recorder = LossRecorder(model, form.reduction, shaped=form.shaped)
    return recorder.record(x, y, forward(model, x), None).losses.numpy()


def alone(model, x, y):
    """The loss of every fifth sample in a batch of its own."""
    one = lambda i: keras.tree.map_structure(lambda a: a[i : i + 1], (x, y))  # noqa: E731
    return np.array([float(model.compute_loss(x_i, y_i, forward(model, x_i), None)) for x_i, y_i in map(one, range(0, len(x), 5))])


@MANY
@given(problems(leaning=False))
def test_losses_of_single_samples_are_taken_apart(problem):
    note(problem.name)
    model, x, y = problem()
    form = loss_form(model, x, y)
    assert form.separable
    found, expected = contributions(model, form, x, y)[::5], alone(model, x, y)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@MANY
@given(problems(leaning=True))
def test_losses_that_lean_on_the_batch_are_refused(problem):
    note(problem.name)
    with pytest.raises(LossRefused, match="must have a value for each sample|must be the mean or the sum"):
        loss_form(*problem())


ops, L = keras.ops, keras.layers
RNG = np.random.default_rng(0)
N = 48
X = RNG.normal(size=(N, 4)).astype("float32")
IMAGES = RNG.normal(size=(N, 6, 6, 2)).astype("float32")
MASKS = (IMAGES[..., :1] > 0.5).astype("float32")
DICE = keras.losses.Dice(axis=(1, 2, 3))  # one value for each image


def compiled(shape, outputs, loss, cls=keras.Model, **settings):
    inputs = keras.Input(shape)
    model = cls(inputs, outputs(inputs))
    model.compile(keras.optimizers.SGD(0.0), loss, **settings)
    return model


def head(name=None):
    return L.Conv2D(1, 1, activation="sigmoid", name=name)


class Weighted(keras.Model):
    """A `compute_loss` of the user's own, with weights `(b,)`."""

    def of(self, y, y_pred):
        return ops.mean((y - y_pred) ** 2, axis=-1)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        each = self.of(y, y_pred)
        return ops.mean(each if sample_weight is None else each * sample_weight)


class Masked(Weighted):
    def of(self, y, y_pred):
        return ops.where(y > -900, (y - y_pred) ** 2, 0.0)[:, 0]


def first(values, y):
    """Targets whose first samples have these values."""
    y = y.copy()
    y[: N // 2] = values
    return y


def hinge_of_rows(y, p):
    return ops.max(ops.relu(1 - y * p), axis=-1)


# losses that are equal, or zero, for the first samples
SAY_NOTHING = {
    "empty masks": (lambda: compiled((6, 6, 2), head(), DICE), IMAGES, first(0, MASKS)),
    "missing labels": (lambda: compiled((4,), L.Dense(1), None, Masked), X, first(-999, X[:, :1])),
    "all labels missing": (lambda: compiled((4,), L.Dense(1), None, Masked), X, np.full((N, 1), -999, "float32")),
    "rows fitted exactly": (
        lambda: compiled((4,), L.Dense(3, kernel_initializer="zeros"), lambda y, p: ops.mean(ops.abs(y - p), axis=-1)),
        X,
        first(0, X[:, :3]),
    ),
    "beyond the margin": (
        lambda: compiled((4,), L.Dense(2, kernel_initializer="zeros", bias_initializer="ones"), hinge_of_rows),
        X,
        first(5.0, np.sign(X[:, :2])),
    ),
}


def outputs_of(**heads):
    return lambda inputs: {name: layer(inputs) for name, layer in heads.items()}


# outputs whose losses take weights of different rank
RANKS = {
    "pixels and images": (
        lambda: compiled((6, 6, 2), outputs_of(a=head("a"), b=head("b")), {"a": "binary_crossentropy", "b": DICE}),
        IMAGES,
        {"a": MASKS, "b": MASKS},
    ),
    "images and pixels, in a list": (
        lambda: compiled((6, 6, 2), lambda i: [head("a")(i), head("b")(i)], [DICE, "mse"], loss_weights=[3.0, 0.5]),
        IMAGES,
        [MASKS, MASKS],
    ),
    "steps, numbers and pixels": (
        lambda: compiled(
            (6, 6, 2),
            lambda i: {"s": L.Reshape((6, 12), name="s")(i), "n": L.Dense(2, name="n")(L.Flatten()(i)), "p": head("p")(i)},
            {"s": "mae", "n": lambda y, p: ops.max(ops.abs(y - p), axis=-1), "p": "mse"},
        ),
        IMAGES,
        {"s": IMAGES.reshape(N, 6, 12), "n": X[:, :2], "p": MASKS},
    ),
}


@pytest.mark.parametrize(("make", "x", "y"), [*SAY_NOTHING.values(), *RANKS.values()], ids=[*SAY_NOTHING, *RANKS])
def test_on_step_tells_the_losses_of_the_samples(make, x, y):
    """What a sample loses in a batch is what it loses alone."""
    model, steps = make(), []
    expected = [model.test_on_batch(*take((x, y), slice(i, i + 1))) for i in range(N)]
    expected = np.array([np.ravel(one)[0] for one in expected])
    training = ImportanceTraining(model, "oracle", presample=N, seed=0, on_step=lambda *step: steps.append(step))
    training.fit(x, y, batch_size=12, verbose=0)
    for draw, losses in steps:
        np.testing.assert_allclose(losses, expected[draw.indices], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(draw.pool_scores, expected[draw.pool_indices], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("make", "x", "y"), SAY_NOTHING.values(), ids=SAY_NOTHING)
def test_weights_of_the_users_own_count_as_in_plain_fit(make, x, y):
    arguments = dict(x=x, y=y, sample_weight=np.arange(N) % 2 * 2.0, batch_size=12, shuffle=False, verbose=0)
    losses = []
    for way in (lambda model: model.fit, lambda model: ImportanceTraining(model, "uniform").fit):
        keras.utils.set_random_seed(0)
        losses.append(way(make())(**arguments).history["loss"][0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def triplets(y, p):
    same = ops.equal(ops.reshape(y, (-1, 1)), ops.reshape(y, (1, -1)))
    distances = ops.sum((p[:, None] - p[None]) ** 2, axis=-1)
    return ops.relu(ops.max(ops.where(same, distances, -1e9), axis=1) - ops.min(ops.where(same, 1e9, distances), axis=1) + 1.0)


def n_pairs(y, p):
    return keras.losses.sparse_categorical_crossentropy(ops.arange(ops.shape(p)[0]), p @ ops.transpose(p), from_logits=True)


def cox(y, p):
    """Of times and events."""
    at_risk = ops.cast(y[None, :, 0] >= y[:, None, 0], "float32")
    return y[:, 1] * (ops.log(ops.sum(at_risk * ops.exp(p[None, :, 0]), axis=1)) - p[:, 0])


def hardest_half(y, p):
    each = ops.mean((y - p) ** 2, axis=-1)
    return ops.where(each >= ops.median(each), each, 0.0)


class WithMean(Weighted):
    def of(self, y, y_pred):
        each = super().of(y, y_pred)
        return each + ops.mean(each)


class OfWeightedMean(Weighted):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        each = self.of(y, y_pred)
        weights = ops.ones_like(each) if sample_weight is None else ops.reshape(sample_weight, (-1,))
        return ops.sum(weights * each) / ops.sum(weights)


class RootOfMean(Weighted):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.sqrt(super().compute_loss(x, y, y_pred, sample_weight))


def masked_mean(y, p):
    known = ops.cast(y > -900, "float32")
    return ops.sum(known * (y - p) ** 2) / ops.maximum(ops.sum(known), 1)


OTHERS = "depends on no other sample of the batch.* changes with the other samples"
NUMBER = "must have a value for each sample: .* one number for the whole batch; reduce over the last axis"
CLASSES = np.arange(N) % 3
EVENTS = np.stack([RNG.exponential(size=N), np.arange(N) % 4 == 3], axis=1).astype("float32")


@pytest.mark.parametrize(
    ("make", "x", "y", "text"),
    [
        (lambda: compiled((4,), L.Dense(3), triplets), X, CLASSES, OTHERS),
        (lambda: compiled((4,), L.Dense(3), n_pairs), X, CLASSES, OTHERS),
        (lambda: compiled((4,), L.Dense(1), cox), X, EVENTS, OTHERS),
        (lambda: compiled((4,), L.Dense(2), hardest_half), X, X[:, :2], OTHERS),
        (lambda: compiled((4,), L.UnitNormalization(), keras.losses.Circle()), X, CLASSES, OTHERS),
        (lambda: compiled((4,), L.Dense(3), None, WithMean), X, X[:, :3], OTHERS),
        (lambda: compiled((4,), L.Dense(3), keras.losses.Dice()), X, X[:, :3], NUMBER),
        (lambda: compiled((4,), L.Dense(1), masked_mean), X, first(-999, X[:, :1]), NUMBER),
        (lambda: compiled((4,), L.Dense(1), lambda y, p: ops.mean((y - p) ** 2)), X, first(0, X[:, :1]), NUMBER),
        (
            lambda: compiled((4,), lambda i: L.Dense(1)(i)[:, 0], "mse"),
            X,
            X[:, 0],
            r"of shape \(b,\).* end the model with \(b, 1\)",
        ),
        (
            lambda: compiled((4,), L.Dense(3), keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")),
            X,
            X[:, :3],
            "must not be normalised by the sample weights",
        ),
        (lambda: compiled((4,), L.Dense(3), None, OfWeightedMean), X, X[:, :3], "must not be normalised by the sample weights"),
        (lambda: compiled((4,), L.Dense(3), None, RootOfMean), X, X[:, :3], "must be linear in the sample weights"),
        (
            lambda: compiled((6, 6, 2), outputs_of(a=head("a"), b=head("b")), {"a": "mse", "b": keras.losses.Dice()}),
            IMAGES,
            {"a": MASKS, "b": MASKS},
            "Received: for output 'b', a loss that returns one number for the whole batch",
        ),
        (
            lambda: compiled((4,), outputs_of(a=L.Dense(3, name="a"), b=L.Dense(1, name="b")), {"a": triplets, "b": masked_mean}),
            X,
            {"a": CLASSES, "b": X[:, :1]},
            "other sample of the batch and have a value for each sample.*for output 'a', .*; for output 'b', a loss that returns",
        ),
    ],
)
def test_a_loss_that_is_none_of_single_samples_is_refused_for_the_true_reason(make, x, y, text):
    for fit in (
        lambda model: ImportanceTraining(model, "uniform").fit(x, y, batch_size=16, verbose=0),
        lambda model: model.fit(x, y, batch_size=24, callbacks=[ImportanceSampling(16, "uniform")], verbose=0),
    ):
        model = make()
        assert_refused(model, lambda: fit(model), text)  # noqa: B023


def test_a_loss_of_what_the_model_kept_is_refused():
    class Keeping(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(3)

        def call(self, x):
            self.kept = self.dense(x)
            return self.kept

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            each = ops.mean(self.kept**2, axis=-1)
            return ops.mean(each if sample_weight is None else each * ops.reshape(sample_weight, (-1,)))

    model = Keeping()
    model.compile("sgd")
    model(X)
    with pytest.raises(LossRefused, match="must be computed from the `y_pred` it is given"):
        loss_form(model, X, X[:, :3])


@pytest.mark.parametrize(
    ("make", "most"),
    [
        (lambda: compiled((4,), L.Dense(3), "mse"), 3),
        (lambda: compiled((4,), L.Dense(3), lambda y, p: ops.mean((y - p) ** 2, axis=-1)), 8),
        (lambda: compiled((4,), L.Dense(3), None, Weighted), 11),
        (lambda: compiled((6, 6, 2), outputs_of(a=head("a"), b=head("b")), {"a": "mse", "b": DICE}), 12),
    ],
    ids=["of Keras", "a function", "compute_loss", "two outputs"],
)
def test_what_looking_at_a_loss_costs(make, most, monkeypatch):
    """Evaluations of the loss before the first step."""
    calls, original = [], looking.compute_loss
    monkeypatch.setattr(looking, "compute_loss", lambda *given: calls.append(given) or original(*given))
    model = make()
    y = {"a": MASKS, "b": MASKS} if len(model.outputs) > 1 else X[:, :3]
    loss_form(model, IMAGES if len(model.outputs) > 1 else X, y)
    assert len(calls) <= most
