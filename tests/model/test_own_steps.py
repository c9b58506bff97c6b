"""Models with a `train_step` or a `compute_loss` of their own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import ImportanceSampling, ImportanceTraining, Oracle
from importance_sampling.model.steps import TrainStep
from tests.checks import assert_refused
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


class Function(OwnStep):
    """A compiled step, with a branch of Python that becomes one of the graph."""

    @tf.function
    def train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            if tf.reduce_sum(x) > 0:
                loss = self.loss_of(x, y, sample_weight)
            else:
                loss = 1.0 * self.loss_of(x, y, sample_weight)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


class FunctionOfKeras(OwnStep):
    @tf.function
    def train_step(self, data):
        return keras.Model.train_step(self, data)


class Branches(OwnStep):
    def loss_of(self, x, y, sample_weight):
        once = lambda: super(Branches, self).loss_of(x, y, sample_weight)  # noqa: E731
        return tf.cond(tf.reduce_sum(x) > 0, once, lambda: 1.0 * once())


class Loop(OwnStep):
    def loss_of(self, x, y, sample_weight):
        once = lambda: super(Loop, self).loss_of(x, y, sample_weight)  # noqa: E731
        return 0.5 * tf.while_loop(lambda i, _: i < 2, lambda i, total: (i + 1, total + once()), (0, 0.0), maximum_iterations=2)[1]


class Helper(OwnStep):
    @tf.function
    def loss_of(self, x, y, sample_weight):
        return self.compute_loss(x=x, y=y, y_pred=self(x), sample_weight=sample_weight)


@pytest.mark.parametrize("mode", [{}, {"run_eagerly": True}, {"jit_compile": True}], ids=str)
@pytest.mark.parametrize("make", [Function, FunctionOfKeras, Branches, Loop, Helper])
def test_a_step_that_is_a_function_or_has_branches(make, mode):
    """The losses are those of the samples, and plain fit goes on afterwards as if nothing had been."""
    model, steps = make(), []
    compiled(model, **mode)
    training = ImportanceTraining(model, "oracle", presample=12, seed=0, on_step=lambda *step: steps.append(step))
    plain = model.fit(X, Y, batch_size=8, verbose=0).history
    training.fit(X, Y, batch_size=8, epochs=2, verbose=0)
    for draw, losses in steps:
        calls = 2 if make is Loop else 1
        np.testing.assert_allclose(losses, calls * losses_of(model)[draw.indices], rtol=1e-4)
    assert len(steps) == 4
    assert model.fit(X, Y, batch_size=8, verbose=0).history.keys() == plain.keys()


class Preprocessing(keras.Model):
    def fit(self, x=None, y=None, **settings):
        return super().fit(x / 10.0, y, **settings)


class Renamed(keras.Sequential):
    def fit(self, *args, **settings):
        return super().fit(*args, **settings)


def test_a_fit_of_ones_own_is_for_the_callback():
    inputs = keras.Input((4,))
    prepares, renamed = Preprocessing(inputs, L.Dense(3)(inputs)), Renamed([inputs, L.Dense(3)])
    shadowed = keras.Sequential([keras.Input((4,)), L.Dense(3)])
    shadowed.fit = lambda *args, **settings: None
    for model in (prepares, renamed, shadowed):
        compiled(model)
        with pytest.raises(ValueError, match=r"`model.fit` must be that of Keras.* callbacks=\[ImportanceSampling\(batch_size\)\]"):
            ImportanceTraining(model, "uniform").fit(X, Y, verbose=0)
    expected = np.mean((Y - prepares(X / 10).numpy()) ** 2)
    history = prepares.fit(X, Y, batch_size=16, callbacks=[ImportanceSampling(16, "uniform")], verbose=0)
    assert history.history["loss"][0] == pytest.approx(expected, rel=1e-5)


class Number(OwnStep):
    train_step = keras.Model.train_step

    def call(self, x):
        p = self.dense(x)
        return {"p": p, "aux": keras.ops.mean(p)}


class Codebook(Number):
    def call(self, x):
        return {"p": self.dense(x), "aux": tf.ones((5, 7))}


class CodebookOfTheBatchSize(Number):
    def call(self, x):
        return {"p": self.dense(x), "aux": tf.ones((8, 2))}


@pytest.mark.parametrize("importance", ["uniform", "oracle", "gnorm"])
@pytest.mark.parametrize("make", [Number, Codebook, CodebookOfTheBatchSize])
def test_outputs_that_are_not_of_samples(make, importance):
    model, steps = make(), []
    model.compile(keras.optimizers.SGD(0.0), {"p": "mse"})
    training = ImportanceTraining(model, importance, presample=12, seed=0, on_step=lambda *step: steps.append(step))
    training.fit(X, {"p": Y}, batch_size=8, verbose=0)
    expected = np.mean((Y - model(X)["p"].numpy()) ** 2, axis=1)
    for draw, losses in steps:
        np.testing.assert_allclose(losses, expected[draw.indices], rtol=1e-4)


@pytest.mark.parametrize("score", ["loss", "gnorm"])
def test_the_oracle_scores_in_parts_of_the_fixed_batch_size(score):
    """Also where these do not make up the pool."""
    model, steps = keras.Sequential([keras.Input(batch_shape=(4, 4)), L.Dense(3)]), []
    model.compile(keras.optimizers.SGD(0.0), "mse")
    training = ImportanceTraining(model, Oracle(model, score), presample=10, seed=0, on_step=lambda *step: steps.append(step))
    training.fit(X, Y, batch_size=4, verbose=0)
    errors = np.concatenate([Y[i : i + 4] - model(X[i : i + 4]).numpy() for i in range(0, N, 4)])
    expected = np.mean(errors**2, axis=1) if score == "loss" else np.linalg.norm(2 * errors / 3, axis=1)
    for draw, _ in steps:
        np.testing.assert_allclose(draw.pool_scores, expected[draw.pool_indices], rtol=1e-4)


def known(y):
    return keras.ops.logical_not(keras.ops.isnan(y))


def masks(y, p):
    return keras.ops.mean((keras.ops.where(known(y), y, p) - p) ** 2, axis=-1)


def masks_the_loss_alone(y, p):
    return keras.ops.mean(keras.ops.where(known(y), (y - p) ** 2, 0.0), axis=-1)


@pytest.mark.parametrize("missing", [(slice(5, 9), slice(None)), (slice(None), 1), (12, 0)], ids=["rows", "a column", "one"])
def test_missing_targets_that_the_loss_masks(missing):
    y = Y.copy()
    y[missing] = np.nan
    losses = []
    for way in (lambda model: model.fit, lambda model: ImportanceTraining(model, "uniform").fit):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), L.Dense(3)])
        model.compile("sgd", masks)
        losses.append(way(model)(X, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert np.isfinite(ImportanceTraining(model, "oracle", presample=12).fit(X, y, batch_size=8, verbose=0).history["loss"][0])
    for loss, text in (("mse", "the loss does not mask what is not"), (masks_the_loss_alone, "but its gradient does not")):
        model.compile("sgd", loss)
        assert_refused(
            model, lambda: ImportanceTraining(model, "uniform").fit(X, y, verbose=0), f"`y` must be finite; .*{text}.*nan"
        )


def test_refusals_name_what_is_missing():
    class WithoutCall(keras.Model):
        def train_step(self, data):
            return {"loss": keras.ops.mean(data[0])}

    class Endpoint(L.Layer):
        def call(self, inputs):
            self.add_loss(keras.ops.mean(inputs**2))
            return inputs

    without = WithoutCall()
    without.compile("sgd")
    with pytest.raises(ValueError, match="`model` must have a `call`, and `model.train_step` must .* which has no `call`"):
        ImportanceTraining(without, "uniform").fit(X, Y, verbose=0)
    pairs = compiled(OfPlainPairs())
    with pytest.raises(ValueError, match=r"it unpacks `x, y`, but three values arrive, \(x, y, sample_weight\)"):
        ImportanceTraining(pairs, "oracle", presample=8).fit(X, Y, batch_size=4, verbose=0)
    endpoint = keras.Sequential([keras.Input((4,)), L.Dense(3), Endpoint()])
    endpoint.compile("sgd")
    with pytest.raises(ValueError, match="what `add_loss` adds has no sample weights"):
        ImportanceTraining(endpoint, "uniform").fit(X, verbose=0)


class OnesInstead(OwnStep):
    def loss_of(self, x, y, sample_weight):
        return super().loss_of(x, y, tf.ones(tf.shape(x)[0]))


class NormalisedWeights(OwnStep):
    def loss_of(self, x, y, sample_weight):
        return super().loss_of(x, y, sample_weight / tf.reduce_mean(sample_weight))


class Reversed(OwnStep):
    def loss_of(self, x, y, sample_weight):
        return super().loss_of(x[::-1], y[::-1], sample_weight[::-1])


class Filtered(OwnStep):
    def loss_of(self, x, y, sample_weight):
        some = y[:, 0] > 0
        return super().loss_of(x[some], y[some], sample_weight[some])


@pytest.mark.parametrize(
    ("make", "eagerly"),
    [*((make, eagerly) for make in (OnesInstead, NormalisedWeights, Reversed) for eagerly in (False, True)), (Filtered, False)],
)
def test_a_step_that_does_not_hand_its_weights_on_is_refused_before_it_has_changed_the_model(make, eagerly):
    model = compiled(make(), run_eagerly=eagerly)
    model.optimizer.learning_rate.assign(0.1)
    text = "`model.train_step` must (compute its loss as .* weights of its own|hand the sample weights it is given on)"
    assert_refused(model, lambda: stepped(model, OWN), text)


def test_a_step_may_multiply_the_weights_by_its_own():
    class Doubled(OwnStep):
        def loss_of(self, x, y, sample_weight):
            return super().loss_of(x, y, sample_weight * (1.0 + tf.cast(y[:, 0] > 0, "float32")))

    model = compiled(Doubled())
    _, per_sample = stepped(model, OWN)
    np.testing.assert_allclose(per_sample.losses, OWN * (1 + (Y[:, 0] > 0)) * losses_of(model), rtol=1e-5)
