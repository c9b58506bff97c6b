"""Settings, states, and what a training holds on to."""

import gc
import weakref

import keras
import numpy as np
import pytest

from importance_sampling import ImportanceTraining, LSTMImportance, PerClassGaussian
from tests.models import L, classifier, small_lstm

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [int, bool, np.float64])
@pytest.mark.parametrize("importance", ["oracle", "pcg"])
def test_sample_weights_of_any_dtype(blobs, dtype, importance):
    x, y = blobs
    history = ImportanceTraining(classifier(), importance, presample=64, seed=0).fit(
        x, y, sample_weight=np.ones(300, dtype), batch_size=32, verbose=0
    )
    assert history.history["loss"][0] > 0


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
    with pytest.raises(ValueError, match="`batch_size` must be None or a whole number >= 1. Received: batch_size=-8"):
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


@pytest.mark.parametrize("size", [1, 3])
def test_tiny_data(size):
    x, y = np.zeros((size, 2), np.float32), np.zeros(size, np.int64)
    for importance in ("pcg", "oracle", "uniform"):
        history = ImportanceTraining(classifier(), importance, seed=0).fit(x, y, verbose=0)
        assert len(history.history["loss"]) == 1
