"""Models, losses and data that are less tidy than a classifier of a few classes."""

import gc
import warnings
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import ArraySource, ImportanceSampler, ImportanceTraining, LSTMImportance, Oracle, PerClassGaussian, Pool
from importance_sampling.model.probe import loss_form
from importance_sampling.model.scorer import Scorer
from importance_sampling.model.steps import TrainStep
from tests.models import L, classifier, small_lstm

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


@pytest.mark.parametrize("dtype", [int, bool, np.float64])
@pytest.mark.parametrize("importance", ["oracle", "pcg"])
def test_sample_weights_of_any_dtype(blobs, dtype, importance):
    x, y = blobs
    history = ImportanceTraining(classifier(), importance, presample=64, seed=0).fit(
        x, y, sample_weight=np.ones(300, dtype), batch_size=32, verbose=0
    )
    assert history.history["loss"][0] > 0


def test_losses_that_are_negative_count_as_none():
    """Learning means of -1 for most: adaptive smoothing takes nothing away, no probability is negative, and there is one warning,
    of the losses or of the scores that are learnt from them."""
    sampler = ImportanceSampler(ArraySource(np.zeros((40, 1)), np.zeros(40)), PerClassGaussian(), presample=40, seed=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(20):
            draw = sampler.draw(10)
            assert np.all(draw.expected >= 0) and np.all(draw.weights > 0)
            sampler.update(draw, np.where(draw.indices % 4, -3.0, 5.0))
    assert [str(warning.message)[:16] for warning in caught] == ["A negative loss "]


def test_a_negative_score_counts_as_none_and_takes_nothing_from_the_others():
    class Given(PerClassGaussian):
        def score(self, pool):
            return np.array([-5.0, 0.0, 1.0, 3.0])

    sampler = ImportanceSampler(ArraySource(np.zeros((4, 1)), np.zeros(4)), Given(), smoothing=1.0, presample=4, seed=0)
    with pytest.warns(RuntimeWarning, match="A negative loss is treated as 0. Received: loss=-5"):
        draw = sampler.draw(3)
    np.testing.assert_allclose(draw.expected, 3 * np.array([1, 1, 2, 4])[draw.indices] / 8)


def test_a_huge_loss_does_not_spoil_the_lstm():
    """After one loss of 1e25 and some clean batches it tells easy from hard again."""
    lstm = LSTMImportance(history=2, units=8, jit_compile=False)
    lstm.build(20, 2, seed=0)
    labels = np.arange(20) % 2
    for step in range(400):
        values = 0.5 + labels.astype(float)
        if step == 5:
            values[3] = 1e25
        lstm.update(np.arange(20), labels, values)
    scores = lstm.score(Pool(np.arange(20), labels, None))
    assert np.all(np.isfinite(scores)) and scores[labels == 1].min() > 2 * scores[labels == 0].max()


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
def test_the_unit_of_the_loss_does_not_matter_to_the_lstm(unit):
    """Losses of 0.5 and 1.5 units are told apart in every unit, within a quarter of the truth."""
    lstm = LSTMImportance(history=2, units=8, jit_compile=False)
    lstm.build(20, 2, seed=0)
    labels = np.arange(20) % 2
    for _ in range(500):
        lstm.update(np.arange(20), labels, unit * (0.5 + labels))
    np.testing.assert_allclose(lstm.score(Pool(np.arange(20), labels, None)), unit * (0.5 + labels), rtol=0.25)


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


@pytest.mark.parametrize(
    "settings",
    [
        dict(importance="gnorm"),
        dict(importance="full_gnorm"),
        dict(importance=LSTMImportance(quantity="gnorm", history=2, units=4, jit_compile=False)),
        dict(importance=PerClassGaussian(quantity="gnorm")),
        dict(importance="oracle", draws="systematic", pools="permutation"),
        dict(importance="oracle", reweighting="literal", k=0.9),
        dict(importance="oracle", k=-3.0, smoothing=0.0),
        dict(importance="pcg", presample=10_000),
    ],
    ids=lambda settings: " ".join(str(v) if isinstance(v, (str, int, float)) else type(v).__name__ for v in settings.values()),
)
def test_every_setting_trains_through_fit(blobs, settings):
    """The loss on the data falls by a fifth in three epochs."""
    x, y = blobs
    model = classifier(optimizer=keras.optimizers.SGD(0.3))
    start = model.evaluate(x, y, verbose=0)
    ImportanceTraining(model, **{"presample": 64, "seed": 0, **settings}).fit(x, y, batch_size=16, epochs=3, verbose=0)
    assert model.evaluate(x, y, verbose=0) < 0.8 * start


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


@pytest.mark.parametrize("importance", ["pcg", "oracle"])
def test_the_users_arrays_are_freed_when_training_is_over(importance):
    x, y = RNG.normal(size=(64, 2)).astype("float32"), np.arange(64) % 3
    reference = weakref.ref(x)
    training = ImportanceTraining(classifier(), importance, presample=32, seed=0)
    training.fit(x, y, batch_size=16, verbose=0)
    del training, x, y
    keras.utils.clear_session()
    gc.collect()
    assert reference() is None


def test_lists_of_the_same_arrays_are_the_same_data(blobs):
    x, y = blobs
    a, b = keras.Input((2,)), keras.Input((2,))
    model = keras.Model([a, b], L.Dense(3, activation="softmax")(L.Concatenate()([a, b])))
    model.compile("sgd", "sparse_categorical_crossentropy")
    training = ImportanceTraining(model, "pcg", presample=64, seed=0)
    training.fit([x, x], y, class_weight={0: 2.0}, batch_size=32, verbose=0)
    sampler = training.sampler
    training.fit([x, x], y, class_weight={0: 2.0}, batch_size=32, verbose=0)
    assert training.sampler is sampler
    training.fit([x, x], y, class_weight={0: 3.0}, batch_size=32, verbose=0)
    assert training.sampler is not sampler


@pytest.mark.parametrize("importance", ["pcg", small_lstm()])
def test_a_refused_fit_loses_nothing(blobs, importance):
    x, y = blobs
    training = ImportanceTraining(classifier(), importance, presample=64, seed=0)
    training.fit(x, y, batch_size=32, verbose=0)
    sampler, state = training.sampler, training.get_state()
    with pytest.raises(ValueError, match="`batch_size` must be a whole number >= 1. Received: batch_size=-8"):
        training.fit(x[:5], y[:5], batch_size=-8, verbose=0)
    assert training.sampler is sampler and training.get_state()["fits"] == state["fits"]
    training.fit(x, y, batch_size=32, verbose=0)


def test_class_weights_changed_in_place_are_seen(blobs):
    x, y = blobs
    training = ImportanceTraining(classifier(), "uniform", seed=0)
    by_class = {0: 1.0, 1: 1.0, 2: 1.0}
    first = training.fit(x, y, class_weight=by_class, verbose=0).history["loss"][0]
    by_class[1] = 50.0
    assert training.fit(x, y, class_weight=by_class, verbose=0).history["loss"][0] > 3 * first


def test_a_state_set_after_a_fit_counts_too(blobs):
    x, y = blobs
    training = ImportanceTraining(classifier(), "pcg", presample=64, seed=0)
    training.fit(x, y, batch_size=32, verbose=0)
    state, drawn = training.get_state(), []
    for _ in range(2):
        training.set_state(state)
        training.fit(x, y, batch_size=32, steps_per_epoch=1, verbose=0)
        drawn.append(training.get_state()["sampler"]["rng"]["state"]["state"])
    assert drawn[0] == drawn[1]


def test_training_goes_on_from_a_saved_state(blobs):
    """Two epochs are the same, bit for bit, as one, a new process's objects, and one more."""
    x, y = blobs
    weights = []
    for restart in (False, True):
        keras.utils.set_random_seed(0)
        model = classifier()
        make = lambda: ImportanceTraining(  # noqa: E731
            model,  # noqa: B023
            small_lstm(),
            presample=64,
            seed=0,
        )
        training = make()
        training.fit(x, y, batch_size=32, verbose=0)
        if restart:
            state = training.get_state()
            training = make()
            training.set_state(state)
        training.fit(x, y, batch_size=32, verbose=0)
        weights.append(model.get_weights())
    for ours, theirs in zip(*weights):
        np.testing.assert_array_equal(ours, theirs)


def test_a_state_before_any_fit_is_refused():
    with pytest.raises(ValueError, match="`get_state` must come after `fit`"):
        ImportanceTraining(classifier()).get_state()


@pytest.mark.parametrize("targets", [lambda total: total, lambda total: np.round(5 * total) + 50], ids=["real", "whole"])
def test_approx_does_without_classes_in_a_regression(targets):
    """The LSTM has no embedding then, whether it is told or finds out."""
    x = RNG.normal(size=(200, 2)).astype("float32")
    y = targets(x.sum(axis=1))
    for classes in (None, 0):
        model = compiled(keras.Input((2,)), L.Dense(1))
        own = LSTMImportance(classes=classes, history=2, units=4, jit_compile=False)
        training = ImportanceTraining(model, own, presample=50, seed=0)
        history = training.fit(x, y, batch_size=20, epochs=5, verbose=0)
        assert history.history["loss"][-1] < history.history["loss"][0]
        assert not any("embedding" in w.path for w in training.sampler.importance.network.weights)
    with pytest.raises(ValueError, match="`y` must be class ids|`importance` must do without classes"):
        ImportanceTraining(compiled(keras.Input((2,)), L.Dense(1)), "pcg").fit(x, y, verbose=0)


def test_the_sampler_alone_finds_out_too():
    assert ImportanceSampler(ArraySource(np.zeros((9, 1)), RNG.normal(size=9)), small_lstm()).draw(4).labels is None
    assert ImportanceSampler(ArraySource(np.zeros((9, 1)), np.arange(9)), small_lstm(), classes=0).draw(4).labels is None
    assert ImportanceSampler(ArraySource(np.zeros((9, 1)), np.arange(9)), small_lstm()).draw(4).labels is not None
    with pytest.raises(ValueError, match="`importance` must do without classes on data that have none"):
        ImportanceSampler(ArraySource(np.zeros((9, 1)), np.arange(9)), "pcg", classes=0)


def test_numbers_too_large_for_class_ids_are_refused():
    with pytest.raises(ValueError, match=r"below max\(100000, number of samples\) = 100000. Received: y=300000"):
        ImportanceSampler(ArraySource(np.zeros((40, 1)), np.arange(40) * 0 + 300_000), "pcg")


@pytest.mark.parametrize("size", [1, 3])
def test_tiny_data(size):
    x, y = np.zeros((size, 2), np.float32), np.zeros(size, np.int64)
    for importance in ("pcg", "oracle", "uniform"):
        history = ImportanceTraining(classifier(), importance, seed=0).fit(x, y, verbose=0)
        assert len(history.history["loss"]) == 1


def test_uniform_importance_among_more_candidates_than_needed_takes_different_ones():
    sampler = ImportanceSampler(ArraySource(np.zeros((40, 1)), np.zeros(40)), "uniform", seed=0)
    draw = sampler.choose(Pool(np.arange(30), None, read=lambda rows: None), 20)
    assert len(set(draw.indices)) == 20
    np.testing.assert_array_equal(draw.weights, 1)
