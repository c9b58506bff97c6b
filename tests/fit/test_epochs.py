"""Where an epoch over batches ends: plain fit is the measure; and which batches a draw chooses from."""

import itertools
import threading
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from importance_sampling import ImportanceTraining
from importance_sampling.data.streams import BatchStream
from importance_sampling.sampling.settings import Settings
from importance_sampling.sampling.stream_sampler import StreamSampler, shared
from importance_sampling.types import Pool
from tests.checks import assert_refused
from tests.loaders import Batches, Loader
from tests.models import L, classifier

N, B = 36, 8  # five batches, the last of four samples
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(N, 2)).astype(np.float32), RNG.integers(0, 3, N)
HELD_OUT = X[:10], Y[:10]
SIGNATURE = (tf.TensorSpec((None, 2)), tf.TensorSpec((None,), tf.int64))


def batches(lengths=(N,)):
    """The batches of one pass, or of several of such lengths."""
    return [(X[i : min(i + B, n)], Y[i : min(i + B, n)]) for n in lengths for i in range(0, n, B)]


def from_generator(*lengths):
    """A data set of unknown number, whose passes have so many samples, again and again; one pass only for no lengths."""
    passes = itertools.cycle(lengths)
    return tf.data.Dataset.from_generator(lambda: iter(batches((next(passes),))), output_signature=SIGNATURE)


def once(count):
    """A data set over a generator: empty when it is read again."""
    left = iter((batches() * count)[:count])
    return tf.data.Dataset.from_generator(lambda: left, output_signature=SIGNATURE)


def slices(x=X, y=Y):
    return tf.data.Dataset.from_tensor_slices((x, y))


def words():
    """Sequences of 1 to 5 whole numbers, each batch padded to its longest."""
    sequences = tf.data.Dataset.from_generator(
        lambda: ((np.arange(1 + i // 8) % 4, Y[i]) for i in range(N)),
        output_signature=(tf.TensorSpec((None,), tf.int32), tf.TensorSpec((), tf.int64)),
    )
    return sequences.padded_batch(B)


class WithoutLength:
    """A loader that does not say how many batches it has."""

    def __init__(self):
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        return iter(batches())


class Endless(keras.utils.PyDataset):
    num_batches = None

    def __getitem__(self, i):
        return batches()[i % 5]


# name: what plain fit is given, what importance sampling is given, arguments of both
STREAMS = {
    "from_generator": (lambda: from_generator(N), None, {}),
    "passes of unequal length": (lambda: from_generator(20, N, N, 12), None, dict(epochs=4)),
    "filter": (lambda: slices().filter(lambda x, y: x[0] > -1).batch(B), None, {}),
    "filter of batches": (lambda: slices().batch(B).filter(lambda x, y: tf.shape(x)[0] > 4), None, {}),
    "shuffled": (lambda: from_generator(N).unbatch().shuffle(N, seed=3).batch(B), None, {}),
    "generator": (lambda: iter_of(batches()), None, dict(epochs=1)),
    "generator over several epochs": (lambda: once(5), lambda: iter_of(batches()), {}),
    "loader without length": (lambda: from_generator(N), WithoutLength, {}),
    "loader with length": (lambda: slices().batch(B), lambda: Loader(X, Y, B), {}),
    "PyDataset": (lambda: Batches(X, Y, B), None, {}),
    "PyDataset without end": (Endless, None, dict(steps_per_epoch=6)),
    "tf.data": (lambda: slices().batch(B), None, {}),
    "tf.data without end": (lambda: slices().batch(B).repeat(), None, dict(steps_per_epoch=6)),
    "generator ending in mid-epoch": (lambda: once(8), lambda: iter_of((batches() * 2)[:8]), dict(steps_per_epoch=6)),
    "generator ending with an epoch": (lambda: once(6), lambda: iter_of((batches() * 2)[:6]), dict(steps_per_epoch=6)),
}


def iter_of(given):
    yield from given


class Hooks(keras.callbacks.Callback):
    """What a callback is told, and how many updates there were before."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def on_epoch_begin(self, epoch, logs=None):
        self._note("epoch begin", epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._note("epoch end", epoch, logs)

    def on_train_batch_begin(self, batch, logs=None):
        self._note("batch begin", batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        self._note("batch end", batch, logs)

    def _note(self, name, number, logs):
        self.calls.append((name, number, sorted(logs or {})))


def fitted(fit, model, data, **arguments):
    """What is to be the same: what callbacks are told, history, parameters, warnings; and the model."""
    hooks = Hooks()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = fit(data, callbacks=[hooks], verbose=0, shuffle=False, **arguments)
    told = [(str(w.message), w.category) for w in caught if "ran out of data" in str(w.message)]
    return dict(calls=hooks.calls, epoch=history.epoch, params=history.params, warnings=told), history.history, model


def both(stream, importance, make, steps_per_execution=1, **arguments):
    """Plain fit and importance sampling over the same batches."""
    theirs, ours, own = stream
    arguments = {**dict(epochs=3), **own, **arguments}
    found = []
    for data, wrap in (
        (theirs, lambda model: model.fit),
        (ours or theirs, lambda model: ImportanceTraining(model, importance, presample=20, seed=0).fit),
    ):
        keras.utils.set_random_seed(0)
        model = make(steps_per_execution)
        found.append(fitted(wrap(model), model, data(), **arguments))
    return found


def of_numbers(steps_per_execution):
    return classifier(metrics=["accuracy"], steps_per_execution=steps_per_execution)


def of_words(steps_per_execution):
    model = keras.Sequential([keras.Input((None,)), L.Embedding(5, 4), L.GlobalAveragePooling1D(), L.Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", steps_per_execution=steps_per_execution)
    return model


def assert_same(plain, ours, values):
    (told, history, model), (our_told, our_history, our_model) = plain, ours
    for name in told:
        assert our_told[name] == told[name], name
    assert list(our_history) == list(history)
    if values:
        for name in history:
            np.testing.assert_allclose(our_history[name], history[name], rtol=1e-5, atol=1e-6, err_msg=name)
        for a, b in zip(our_model.get_weights(), model.get_weights()):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def updates(told):
    """As many as the hooks tell with one step an execution."""
    return sum(name == "batch end" for name, _, _ in told["calls"])


@pytest.mark.parametrize(
    ("importance", "name"), [*(("uniform", name) for name in STREAMS), *(("oracle", name) for name in list(STREAMS)[::2])]
)
def test_epochs_are_those_of_plain_fit(name, importance):
    plain, ours = both(STREAMS[name], importance, of_numbers, validation_data=HELD_OUT)
    assert_same(plain, ours, values=importance == "uniform")
    assert int(ours[2].optimizer.iterations) == updates(ours[0]) > 0


# at steps_per_epoch=6 the steps of an execution, 3, divide those of an epoch
@pytest.mark.parametrize(
    ("importance", "name"),
    [
        ("uniform", "from_generator"),
        ("uniform", "generator over several epochs"),
        ("uniform", "tf.data without end"),
        ("oracle", "passes of unequal length"),
        ("pcg", "loader without length"),
        ("pcg", "generator ending in mid-epoch"),
    ],
)
def test_several_steps_an_execution(name, importance):
    """Plain fit counts its updates right here: `optimizer.iterations` is the same too."""
    plain, ours = both(STREAMS[name], importance, of_numbers, steps_per_execution=3, validation_data=HELD_OUT)
    assert_same(plain, ours, values=importance == "uniform")
    assert int(ours[2].optimizer.iterations) == int(plain[2].optimizer.iterations) > 0


@pytest.mark.parametrize("steps_per_execution", [1, 3])
def test_an_initial_epoch(steps_per_execution):
    plain, ours = both(STREAMS["from_generator"], "oracle", of_numbers, steps_per_execution, epochs=4, initial_epoch=2)
    assert_same(plain, ours, values=False)
    assert ours[0]["epoch"] == [2, 3] and int(ours[2].optimizer.iterations) == 10


def test_padded_batches_of_varying_length():
    plain, ours = both((words, None, {}), "uniform", of_words, validation_data=words())
    assert_same(plain, ours, values=True)
    assert int(ours[2].optimizer.iterations) == 15
    with pytest.raises(ValueError, match=r"`x` must give samples of one shape.* Received: shapes \[\(1,\), \(\)\] and \[\(2,\)"):
        ImportanceTraining(ours[2], "oracle", presample=20).fit(words(), verbose=0)


def test_padded_batches_of_one_length_are_chosen_from():
    data = words().map(lambda x, y: (tf.ensure_shape(tf.pad(x, [[0, 0], [0, 5 - tf.shape(x)[1]]]), (None, 5)), y))
    model, pools = of_words(1), []
    training = ImportanceTraining(model, "oracle", presample=20, seed=0, on_step=lambda draw, _: pools.append(draw.pool_size))
    with pytest.warns(UserWarning, match="ran out of data"):
        training.fit(data, epochs=2, verbose=0)
    assert pools == [24, 24, 20, 20, 20, 24, 24, 20, 20, 20]


def test_plain_fit_counts_an_update_that_it_did_not_make():
    """Its `optimizer.iterations` is one more for each epoch that the data end. If this fails, Keras has mended it."""
    plain, ours = both(STREAMS["from_generator"], "uniform", of_numbers)
    assert int(plain[2].optimizer.iterations) == 18 and int(ours[2].optimizer.iterations) == 15 == updates(plain[0])


def test_plain_fit_goes_over_the_first_batches_of_a_generator_again():
    """The two it has looked at, in every epoch after the end. If this fails, Keras has mended it."""
    model = classifier(steps_per_execution=3)
    with pytest.warns(UserWarning, match="ran out of data"):
        model.fit(iter_of(batches()), epochs=3, shuffle=False, verbose=0)
    assert int(model.optimizer.iterations) == 5 + 2 + 2


@pytest.mark.parametrize("name", ["tf.data", "from_generator", "PyDataset"])
def test_draws_do_not_run_out_where_the_data_can_be_read_again(name):
    """Five batches, 3 steps an epoch, 2 epochs: plain fit makes five updates and warns."""
    stream = (*STREAMS[name][:2], dict(steps_per_epoch=3, epochs=2))
    plain, ours = both(stream, "oracle", of_numbers)
    assert (updates(plain[0]), updates(ours[0])) == (5, 6)
    assert len(plain[0]["warnings"]) == 1 and not ours[0]["warnings"]


def test_steps_that_executions_do_not_divide():
    """Plain fit makes six updates in an epoch of four steps, by executions of three; here there are four, told of alike."""
    stream = (STREAMS["tf.data without end"][0], None, dict(steps_per_epoch=4, epochs=2))
    plain, ours = both(stream, "oracle", of_numbers, steps_per_execution=3)
    assert_same(plain, ours, values=False)
    assert (int(plain[2].optimizer.iterations), int(ours[2].optimizer.iterations)) == (12, 8)


@pytest.mark.parametrize("importance", ["uniform", "oracle"])
def test_an_epoch_reads_the_data_once(importance):
    read = []

    class Reading:
        def __iter__(self):
            for i, batch in enumerate(batches()):
                read.append(i)
                yield batch

    with pytest.warns(UserWarning, match="ran out of data"):
        ImportanceTraining(classifier(), importance, presample=20, seed=0).fit(Reading(), epochs=3, verbose=0)
    ahead = 2 if importance == "oracle" else 0  # what was read of the next pass
    assert read == 3 * [0, 1, 2, 3, 4] + list(range(ahead))


def test_a_stop_by_a_callback_ends_what_has_no_end():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 6

    for data in (Endless(), slices().batch(B).repeat()):
        model = classifier()
        ImportanceTraining(model, "pcg", presample=20).fit(data, epochs=2, callbacks=[Stop()], verbose=0)
        assert int(model.optimizer.iterations) == 7


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_generator_goes_on_where_it_is_and_drains():
    """Also from one fit to the next: no batch that was read ahead is lost."""
    fronts, pools = [], []

    def note(draw, _):
        fronts.append(int(draw.pool_indices[0]))
        pools.append(draw.pool_size)

    given = iter_of(batches())
    training = ImportanceTraining(classifier(), "oracle", presample=20, seed=0, on_step=note)
    training.fit(given, steps_per_epoch=2, verbose=0)
    training.fit(given, epochs=2, verbose=0)
    assert fronts == [0, 8, 16, 24, 32] and pools == [24, 24, 20, 12, 4]
    assert_refused(training.model, lambda: training.fit(given, verbose=0), "`x` must have at least one batch")


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_each_fit_begins_anew_with_what_can_be_read_again():
    first, threads = [], threading.active_count()
    training = ImportanceTraining(classifier(), "oracle", presample=20, seed=0, on_step=lambda draw, _: first.append(draw.read()))
    given = WithoutLength()
    for _ in range(2):
        training.fit(given, steps_per_epoch=3, verbose=0)
        training.fit(given, verbose=0)
    assert len(first) == 16 and given.passes == 2 + 2 * 2  # each that goes to the end looks into the next pass
    assert threading.active_count() <= threads + 1


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("importance", ["uniform", "oracle"])
def test_the_same_seed_gives_the_same_training(importance):
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        model = classifier()
        ImportanceTraining(model, importance, presample=20, seed=1).fit(from_generator(20, N), epochs=3, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights):
        np.testing.assert_array_equal(a, b)


def test_a_pool_that_replicas_cannot_share_evenly_has_some_samples_twice():
    pool = Pool(np.arange(5) + 7, np.arange(5), read=lambda positions: X[positions])
    even = shared(pool, 4)
    assert len(even) == 8 and set(even.indices) == set(pool.indices)
    np.testing.assert_array_equal(even.labels, even.indices - 7)
    np.testing.assert_array_equal(even.read(np.arange(8)), X[even.labels])
    assert shared(pool, 5) is pool


PASSES = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=7), min_size=1, max_size=5)


class Passes:
    """Each time it is read the next of some passes, then nothing."""

    def __init__(self, sizes):
        numbers = itertools.count()
        self.passes = [[np.array([next(numbers) for _ in range(size)]) for size in one] for one in sizes]
        self.left = iter(self.passes)

    def __iter__(self):
        return iter([(batch[:, None], batch % 3) for batch in next(self.left, [])])


def candidates(passes, k, i, presample):
    """The samples that a draw chooses from at the turn of batch i of pass k, from the lists of all batches."""
    pool, rest = list(passes[k][i]), passes[k][i + 1 :]
    for batch in rest:
        if len(pool) >= presample:
            return pool
        pool += list(batch)
    held = 1 + len(rest)
    for batch in passes[k + 1] if k + 1 < len(passes) else []:
        held += 1
        if len(pool) >= presample or held > len(passes[k]) or len(pool) + len(batch) > sum(map(len, passes[k])):
            return pool
        pool += list(batch)
    return pool


def sampler_over(given, presample, batch_size):
    stream = BatchStream(given, False, np.random.default_rng(0))
    settings = Settings.of("pcg", presample=max(presample, batch_size)).bound(None)
    return StreamSampler(stream, settings, seed=0, classes=None, replicas=1, apart=None)


def assert_draw(draw, expected):
    """Its pool is that, and its samples are read right from wherever they are in it."""
    np.testing.assert_array_equal(draw.pool_indices, np.arange(len(expected)) + draw.pool_indices[0])
    x, y, _ = draw.read()
    np.testing.assert_array_equal(x[:, 0], np.asarray(expected)[draw.indices - draw.pool_indices[0]])
    np.testing.assert_array_equal(y, x[:, 0] % 3)
    np.testing.assert_array_equal(draw.labels, y)


@given(PASSES, st.integers(1, 40), st.integers(1, 9))
def test_a_window_is_its_twin(sizes, presample, batch_size):
    """Epochs to the end of each pass: as many draws as it has batches, each from the right candidates."""
    given = Passes(sizes)
    sampler = sampler_over(given, presample, batch_size)
    for k, one in enumerate(given.passes):
        sampler.begin_epoch(to_the_end=True)
        for i in range(len(one)):
            expected = candidates(given.passes, k, i, sampler.settings.presample)
            draw = sampler.draw(batch_size)
            assert_draw(draw, expected)
            assert draw.pool_size <= sum(map(len, one))
        for _ in range(2):  # an execution of several steps asks again
            with pytest.raises(StopIteration):
                sampler.draw(batch_size)
    sampler.begin_epoch(to_the_end=True)
    with pytest.raises(StopIteration):
        sampler.draw(batch_size)


@given(PASSES, st.integers(1, 40), st.integers(1, 9))
def test_a_window_that_goes_on_is_its_twin(sizes, presample, batch_size):
    """Epochs of any number of steps: one draw for each batch of all passes, until there is no more."""
    given = Passes(sizes)
    sampler = sampler_over(given, presample, batch_size)
    for k, one in enumerate(given.passes):
        for i in range(len(one)):
            if i % 3 == 0:
                sampler.begin_epoch(to_the_end=False)
            assert_draw(sampler.draw(batch_size), candidates(given.passes, k, i, sampler.settings.presample))
    with pytest.raises(StopIteration):
        sampler.draw(batch_size)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=7), st.integers(0, 7), st.integers(1, 40))
def test_an_epoch_that_is_cut_short_is_followed_by_a_whole_one(sizes, cut, presample):
    """Keras ends an epoch at the number of batches that the first one had."""
    cut = min(cut, len(sizes))
    sampler = sampler_over(Again(sizes), presample, 1)
    sampler.begin_epoch(to_the_end=True)
    for _ in range(cut):
        sampler.draw(1)
    sampler.begin_epoch(to_the_end=True)
    drawn = [sampler.draw(1) for _ in sizes]
    assert drawn[0].pool_size >= min(presample, sum(sizes))
    with pytest.raises(StopIteration):
        sampler.draw(1)


class Again:
    """The same pass again and again."""

    def __init__(self, sizes):
        self.sizes = sizes

    def __iter__(self):
        return iter([(np.zeros((size, 1)), np.zeros(size, int)) for size in self.sizes])
