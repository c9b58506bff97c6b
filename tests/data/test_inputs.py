"""What `fit` takes: each kind of data trains as the arrays it stands for."""

import threading
import time
import tracemalloc

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import ImportanceSampling, ImportanceTraining, ItemSource, LSTMImportance, with_indices
from importance_sampling.data.sources import ArraySource
from tests.checks import assert_refused
from tests.fit.test_training import recorded
from tests.loaders import Batches, Items, frames, memory_map, on_disk
from tests.models import classifier

N, B = 120, 20


@pytest.fixture
def data(blobs):
    return blobs[0][:N], blobs[1][:N]


RANDOM_ACCESS = {
    "arrays": lambda folder, x, y: (x, y),
    "tensors": lambda folder, x, y: (tf.constant(x), tf.constant(y)),
    "float64": lambda folder, x, y: (x.astype(np.float64), y),
    "hdf5": on_disk,
    "memory map": memory_map,
    "pandas": frames,
    "items": lambda folder, x, y: (Items(x, y), None),
    "items and targets": lambda folder, x, y: (Items(x), y),
}


@pytest.mark.parametrize("importance", ["uniform", "oracle"])
@pytest.mark.parametrize("kind", RANDOM_ACCESS)
def test_random_access_trains_as_arrays_do(data, tmp_path, kind, importance):
    """The same seed draws the same samples: the weights after training are the same, bit for bit."""
    weights = []
    for make in (RANDOM_ACCESS["arrays"], RANDOM_ACCESS[kind]):
        keras.utils.set_random_seed(0)
        x, y = make(tmp_path, *data)
        model = classifier(metrics=["accuracy"])
        training = ImportanceTraining(model, importance, presample=60, seed=1)
        history = training.fit(x, y, batch_size=B, epochs=2, validation_split=0.25, verbose=0)
        weights.append((model.get_weights(), history.history))
    (ours, history), (theirs, expected) = weights
    for a, b in zip(ours, theirs):
        np.testing.assert_array_equal(a, b)
    assert history == expected


@pytest.mark.parametrize("kind", ["hdf5", "memory map", "items and targets"])
def test_approx_needs_only_the_targets_before_it_reads(data, tmp_path, kind):
    x, y = RANDOM_ACCESS[kind](tmp_path, *data)
    training = ImportanceTraining(classifier(), LSTMImportance(history=2, units=4, jit_compile=False), presample=60, seed=0)
    draws = recorded(training)
    training.fit(x, y, batch_size=B, verbose=0)
    assert len(draws) == 6
    if kind == "items and targets":
        drawn = np.concatenate([draw.indices for draw in draws])
        looked_at = np.linspace(0, N - 1, B).astype(int)  # from across the data, for shapes and for the loss
        assert x.read == [*looked_at, *drawn]


def streams(x, y):
    dataset = tf.data.Dataset.from_tensor_slices((x, y))
    return {
        "tf.data": lambda: dataset.batch(B),
        "PyDataset": lambda: Batches(x, y, B),
        "generator": lambda: iter([(x[i : i + B], y[i : i + B]) for i in range(0, N, B)] * 20),
    }


@pytest.mark.parametrize("importance", ["uniform", "oracle", "gnorm", "pcg"])
@pytest.mark.parametrize("kind", ["tf.data", "PyDataset", "generator"])
def test_batches_train(data, kind, importance):
    """As many updates as there are batches; the batch size is that of the batches, the pool has as many as the presample asks."""
    x, y = data
    model = classifier(optimizer=keras.optimizers.SGD(0.3), metrics=["accuracy"])
    start = model.evaluate(x, y, verbose=0)[0]
    training = ImportanceTraining(model, importance, presample=60, seed=0)
    draws = recorded(training)
    steps = 6 if kind == "generator" else None
    history = training.fit(streams(x, y)[kind](), epochs=5, steps_per_epoch=steps, verbose=0)
    assert int(model.optimizer.iterations) == 30 == len(draws)
    assert {(len(draw), draw.pool_size) for draw in draws} == {(B, B if importance == "uniform" else 60)}
    assert list(history.history) == ["accuracy", "loss"]
    assert model.evaluate(x, y, verbose=0)[0] < 0.8 * start


def test_uniform_over_a_data_set_is_plain_fit_on_it(data):
    x, y = data
    dataset = tf.data.Dataset.from_tensor_slices((x, y, np.linspace(0.5, 2, N).astype("float32"))).batch(B)
    weights = []
    for wrap in (lambda model: model.fit, lambda model: ImportanceTraining(model, "uniform").fit):
        keras.utils.set_random_seed(0)
        model = classifier(optimizer="adam")
        wrap(model)(dataset, epochs=3, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_approx_on_indexed_batches(data):
    """The history belongs to the samples, whatever order they come in."""
    x, y = data
    model = classifier(optimizer=keras.optimizers.SGD(0.0))
    expected = np.asarray(keras.losses.sparse_categorical_crossentropy(y, model(x)))
    dataset = with_indices(tf.data.Dataset.from_tensor_slices((x, y))).shuffle(N, seed=1).batch(B)
    training = ImportanceTraining(model, LSTMImportance(history=2, units=4, jit_compile=False), presample=60, seed=0)
    training.fit(dataset, epochs=4, verbose=0)
    losses, count = training.sampler.importance.losses.window(np.arange(N))
    assert count.sum() > 100
    for i in np.flatnonzero(count):
        np.testing.assert_allclose(losses[i, : count[i]], expected[i], rtol=1e-4)


def test_a_pydataset_is_told_of_its_epochs_and_shuffled(data):
    batches = Batches(*data, B)
    training = ImportanceTraining(classifier(), "uniform", seed=0)
    draws = recorded(training)
    training.fit(batches, epochs=3, verbose=0)
    assert batches.passes == 3
    orders = [np.concatenate([draw.read()[1] for draw in draws[i : i + 6]]) for i in (0, 6, 12)]
    assert not all(np.array_equal(orders[0], order) for order in orders)


class Told(keras.utils.PyDataset):
    """Notes what it is told and asked, and by which thread; a batch takes the longer the earlier it is."""

    def __init__(self, fails_at=None, **settings):
        super().__init__(**settings)
        self.events, self.threads, self.fails_at = [], set(), fails_at

    def __len__(self):
        return 6

    def __getitem__(self, i):
        self.threads.add(threading.get_ident())
        if i == self.fails_at:
            raise LookupError("the disk is gone")
        time.sleep(0.01 * (6 - i))
        return np.full((4, 2), i, np.float32), np.arange(4) % 3

    def on_epoch_begin(self):
        self.events.append("begin")

    def on_epoch_end(self):
        self.events.append("end")


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_read_ahead_and_in_order(workers):
    batches, draws = Told(workers=workers, max_queue_size=3), []
    training = ImportanceTraining(classifier(), "uniform", seed=0, on_step=lambda draw, _: draws.append(int(draw.read()[0][0, 0])))
    before = threading.active_count()
    training.fit(batches, epochs=2, shuffle=False, verbose=0)
    assert draws == 2 * [0, 1, 2, 3, 4, 5]
    assert batches.events == ["begin", "end", "begin", "end"]
    assert len(batches.threads - {threading.get_ident()}) == (3 if workers == 3 else 0)
    assert threading.active_count() <= before + 1  # TensorFlow keeps one of its own


@pytest.mark.parametrize("workers", [1, 3])
def test_a_failing_batch_surfaces_with_its_index_and_leaves_no_thread(workers):
    before = threading.active_count()
    with pytest.raises(LookupError, match="the disk is gone") as caught:
        ImportanceTraining(classifier(), "pcg", presample=8).fit(Told(fails_at=4, workers=workers), verbose=0)
    assert caught.value.__notes__ == ["importance_sampling was reading item 4 of Told"]
    assert threading.active_count() <= before + 1


def test_each_fit_starts_at_the_beginning_of_what_repeats(data):
    """As plain fit does; a generator goes on where it is."""
    batches, seen = Told(), []
    training = ImportanceTraining(classifier(), "uniform", on_step=lambda draw, _: seen.append(int(draw.read()[0][0, 0])))
    for _ in range(2):
        training.fit(batches, steps_per_epoch=2, shuffle=False, verbose=0)
    assert seen == [0, 1, 0, 1]
    generator = (batches[i] for i in range(6))
    for _ in range(2):
        training.fit(generator, steps_per_epoch=2, verbose=0)
    assert seen[4:] == [0, 1, 2, 3]


def test_none_among_sample_weights_counts_one(blobs):
    x, y = blobs
    inputs = keras.Input((2,))
    losses = []
    for weights in ({"a": y + 0.5, "b": None}, {"a": y + 0.5, "b": np.ones(300)}):
        keras.utils.set_random_seed(0)
        outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in "ab"}
        model = keras.Model(inputs, outputs)
        model.compile("sgd", {"a": "mse", "b": "mse"})
        training = ImportanceTraining(model, "oracle", presample=60, seed=0)
        targets = {"a": x[:, :1], "b": x[:, 1:]}
        losses.append(training.fit(x, targets, sample_weight=weights, batch_size=20, verbose=0).history["loss"][0])
    assert losses[0] == losses[1]


def test_class_weight_goes_with_batches(data):
    x, y = data
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(B)
    losses = []
    for fit in (
        lambda model: model.fit(dataset, class_weight={0: 5.0, 1: 1.0, 2: 0.5}, shuffle=False, verbose=0),
        lambda model: ImportanceTraining(model, "uniform").fit(dataset, class_weight={0: 5.0, 2: 0.5}, verbose=0),
    ):
        keras.utils.set_random_seed(0)
        losses.append(fit(classifier()).history["loss"][0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_hdf5_is_never_read_as_a_whole(data, tmp_path, monkeypatch):
    x, y = on_disk(tmp_path, *data)
    largest, read = [], h5py.Dataset.__getitem__

    def counting(self, index):
        found = read(self, index)
        if self.name == "/x":
            largest.append(len(found))
        return found

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counting)
    ImportanceTraining(classifier(), "pcg", presample=60, seed=0).fit(x, y, batch_size=B, validation_split=0.2, verbose=0)
    assert 0 < max(largest) <= B


def test_a_memory_map_is_never_read_as_a_whole(tmp_path):
    size = 2_000_000  # of 100 bytes
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=(size, 25))
    model = keras.Sequential([keras.Input((25,)), keras.layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    y = np.arange(size, dtype=np.int8) % 3
    tracemalloc.start()
    try:
        ImportanceTraining(model, "pcg", seed=0).fit(x, y, batch_size=B, steps_per_epoch=3, verbose=0)
        assert tracemalloc.get_traced_memory()[1] < x.nbytes / 2
    finally:
        tracemalloc.stop()


def test_a_failing_source_surfaces_as_its_own_error_with_the_index(data):
    class Broken(Items):
        def __getitem__(self, i):
            if len(self.read) > 70:
                raise LookupError("the disk is gone")
            return super().__getitem__(i)

    model, threads = classifier(), threading.active_count()
    model.fit(*data, verbose=0)
    with pytest.raises(LookupError, match="the disk is gone") as caught:
        ImportanceTraining(model, "uniform", seed=0).fit(Broken(*data), batch_size=B, epochs=9, verbose=0)
    assert any("reading item" in note and "of Broken" in note for note in caught.value.__notes__)
    assert threading.active_count() <= threads + 1  # TensorFlow keeps one of its own


def test_a_generator_that_ends_interrupts_training_as_in_keras(data):
    x, y = data
    few = iter([(x[:B], y[:B])] * 3)
    model = classifier()
    with pytest.warns(UserWarning, match="ran out of data"):
        history = ImportanceTraining(model, "uniform").fit(few, steps_per_epoch=10, epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == 3 and history.epoch == [0, 1]


def test_a_generator_that_has_ended_is_refused(data):
    x, y = data
    few = iter([(x[:B], y[:B])] * 3)
    training = ImportanceTraining(classifier(), "uniform")
    training.fit(few, steps_per_epoch=3, verbose=0)
    with pytest.raises(ValueError, match="one that is empty, or has come to its end"):
        training.fit(few, steps_per_epoch=3, verbose=0)


def test_batches_of_varying_shape_are_refused(data):
    varying = iter([(np.zeros((8, width)), np.zeros(8)) for width in (3, 4)])
    model = keras.Sequential([keras.Input((None,)), keras.layers.Embedding(2, 2), keras.layers.GlobalMaxPooling1D()])
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="`x` must give samples of one shape"):
        ImportanceTraining(model, "pcg", presample=16).fit(varying, steps_per_epoch=3, verbose=0)


def test_labels_above_the_classes_are_refused(data):
    dataset = with_indices(tf.data.Dataset.from_tensor_slices(data)).batch(B)
    own = LSTMImportance(classes=2, jit_compile=False)
    with pytest.raises(ValueError, match="`y` must be class ids below `classes`, 2. Received: y=2"):
        ImportanceTraining(classifier(), own, presample=60).fit(dataset, verbose=0)


def test_item_sources_stack_nested_samples():
    source = ItemSource([({"a": np.ones(2) * i, "b": i}, float(i), 0.5) for i in range(5)])
    x, y, weights = source[np.array([3, 1])]
    np.testing.assert_array_equal(x["a"], [[3, 3], [1, 1]])
    np.testing.assert_array_equal(x["b"], [3, 1])
    np.testing.assert_array_equal(y, [3, 1])
    np.testing.assert_array_equal(weights, [0.5, 0.5])
    assert x["a"].dtype == np.float32


def test_hdf5_indices_may_repeat_and_fall(data, tmp_path):
    source = ArraySource(*on_disk(tmp_path, *data))
    x, y, _ = source[np.array([7, 3, 7, 0])]
    np.testing.assert_array_equal(x, data[0][[7, 3, 7, 0]])
    np.testing.assert_array_equal(y, data[1][[7, 3, 7, 0]])


X, Y = np.zeros((N, 2), np.float32), np.arange(N) % 3


@pytest.mark.parametrize(
    ("importance", "x", "arguments", "text"),
    [
        ("approx", lambda: streams(X, Y)["tf.data"](), {}, "`importance` must be 'oracle', 'gnorm', 'pcg' or 'uniform' on batches"),
        (
            "approx",
            lambda: ((X[:B], Y[:B], {"index": np.ones((B, 2), int)}) for _ in range(9)),
            {},
            '`x` must give an "index" for each sample, a whole number >= 0',
        ),
        ("oracle", lambda: streams(X, Y)["tf.data"](), dict(y=Y), "`y` must come with the batches of `x`"),
        ("oracle", lambda: streams(X, Y)["PyDataset"](), dict(sample_weight=Y), "`sample_weight` must come with the batches"),
        ("oracle", lambda: streams(X, Y)["tf.data"](), dict(validation_split=0.1), "`validation_split` needs arrays"),
        ("oracle", lambda: iter([]), dict(steps_per_epoch=1), "`x` must have at least one batch. Received: one that is empty"),
        ("oracle", lambda: streams(X, Y)["tf.data"]().take(0), {}, "`x` must have at least one batch. Received: one that is empty"),
        ("oracle", lambda: tf.data.Dataset.from_tensor_slices(X).batch(5), {}, "`y` must be given for this loss"),
        ("pcg", lambda: Items(X, Y), {}, "`y` must be given for an importance that tells classes apart"),
        ("oracle", lambda: Items(X), {}, r"`x` must give samples as \(x, y\) or \(x, y, sample_weight\), or `y` must be given"),
        ("oracle", lambda: Items(X), dict(y=Y[:7]), r"must have the same length. Received: len\(x\)=120, len\(y\)=7"),
        ("oracle", lambda: Items([], []), {}, "`x` must have at least one sample"),
        ("oracle", lambda: X, dict(y=(Y, Y), class_weight={0: 2.0}), "`class_weight` must go with one output. Received: y=tuple"),
        ("oracle", lambda: Items(X, Y), dict(class_weight={0: 2.0}), "`y` must be given with `class_weight`"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_first_step(importance, x, arguments, text):
    model = classifier()
    assert_refused(model, lambda: ImportanceTraining(model, importance, presample=60).fit(x(), verbose=0, **arguments), text)


def test_a_generator_that_is_refused_keeps_its_first_batch():
    batches = streams(X, Y)["generator"]()
    for arguments in ({"steps_per_epoch": 0}, {"steps_per_epoch": 1, "validation_split": 0.5}):
        with pytest.raises(ValueError, match="`(steps_per_epoch|validation_split)`"):
            ImportanceTraining(classifier(), "oracle", presample=60).fit(batches, verbose=0, **arguments)
    assert len(list(batches)) == len(list(streams(X, Y)["generator"]()))


def test_a_batch_that_is_larger_than_the_first_is_trained_on_whole():
    """As by uniform sampling: a generator that was read from begins with a short batch."""
    sizes = [4, 32, 32, 32, 4, 32]
    batches = lambda: ((np.full((size, 2), i, np.float32), np.arange(size) % 3) for i, size in enumerate(sizes))  # noqa: E731
    taken = {}
    for importance in ("uniform", "pcg", "oracle"):
        draws = []
        training = ImportanceTraining(
            classifier(), importance, seed=0, on_step=lambda draw, _, draws=draws: draws.append((len(draw.indices), draw.pool_size))
        )
        training.fit(batches(), steps_per_epoch=len(sizes), verbose=0)
        taken[importance] = [size for size, _ in draws]
    assert taken["uniform"] == taken["pcg"] == taken["oracle"] == sizes
    assert draws[1] == (32, 96)  # three batches of that size, and not three of the first


def test_what_is_no_dataset_is_given_no_indices():
    with pytest.raises(
        TypeError, match="`dataset` must be a tf.data.Dataset; other batches take the form .* Received: dataset=Told"
    ):
        with_indices(Told())


def test_batches_that_bring_their_indices():
    class Indexed(Told):
        def __getitem__(self, i):
            return *super().__getitem__(i), {"index": np.arange(4 * i, 4 * i + 4)}

    drawn = []
    training = ImportanceTraining(classifier(), "history", presample=8, seed=0, on_step=lambda draw, _: drawn.append(draw))
    training.fit(Indexed(), shuffle=False, verbose=0)
    for draw in drawn:
        np.testing.assert_array_equal(draw.indices // 4, draw.read()[0][:, 0])


@pytest.mark.parametrize("importance", ["history", lambda: LSTMImportance(history=3, units=4)])
def test_a_regression_that_begins_with_whole_numbers(importance):
    """Its first batches look like classes."""
    targets = np.zeros(96, np.float32)
    targets[50::7] = 0.37
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(96, 2)).astype(np.float32)
    data = with_indices(tf.data.Dataset.from_tensor_slices((x, targets))).batch(16)
    importance = importance if isinstance(importance, str) else importance()
    ImportanceTraining(model, importance, presample=32, seed=0).fit(data, epochs=2, verbose=0)
    callback = ImportanceSampling(8, importance, seed=0)
    model.fit(data, epochs=2, shuffle=False, callbacks=[callback], verbose=0)
    assert int(model.optimizer.iterations) == 24
