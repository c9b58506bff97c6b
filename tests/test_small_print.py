"""The small print: where a user would trip, plain Keras is the measure."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import (
    ArraySource,
    ImportanceSampling,
    ImportanceTraining,
    ItemSource,
    PerClassGaussian,
    with_indices,
)
from tests.models import L, classifier, small_lstm

N = 96
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 2)).astype(np.float32)
Y = np.arange(N) % 3


def still(**compiling):
    """A classifier that does not learn: its losses are known."""
    return classifier(optimizer=keras.optimizers.SGD(0.0), **compiling)


def uniform(model, **settings):
    return ImportanceTraining(model, "uniform", seed=0, **settings)


def test_class_weight_does_not_weigh_the_validation_data():
    arguments = dict(x=X, y=Y, batch_size=16, class_weight={0: 10.0, 1: 1.0, 2: 0.5}, validation_split=0.25, verbose=0)
    model = still()
    expected = model.fit(**arguments).history
    assert uniform(model).fit(**arguments).history["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-5)


@pytest.mark.parametrize("kind", ["weights", "labels with class_weight", "labels", "frame", "variable"])
def test_data_changed_in_place_between_fits_are_seen(kind):
    """What was learnt about the samples stays, their values do not."""
    model, x, y, weights = still(), X.copy(), Y.copy(), np.ones(N)
    arguments = {"weights": dict(sample_weight=weights), "labels with class_weight": dict(class_weight={0: 1.0, 1: 2.0, 2: 100.0})}
    if kind == "frame":
        x = pytest.importorskip("pandas").DataFrame({"a": X[:, 0], "b": X[:, 1].astype(np.float64)})
    if kind == "variable":
        x = tf.Variable(x)
    draws = []
    training = ImportanceTraining(model, "pcg", presample=32, seed=0, on_step=lambda draw, _: draws.append(draw))
    fit = lambda: training.fit(x, y, batch_size=32, verbose=0, **arguments.get(kind, {})).history["loss"][0]  # noqa: E731
    fit()
    sampler = training.sampler
    if kind == "frame":
        x[:] = 0
    elif kind == "variable":
        x.assign(0 * X)
    elif kind == "weights":
        weights[:] = 0
    else:
        y[:] = (y + 1) % 3
    draws.clear()
    after = fit()
    assert training.sampler is sampler
    for draw in draws:
        np.testing.assert_array_equal(draw.labels, y[draw.indices])
    expected = model.fit(x, y, batch_size=N, verbose=0, **arguments.get(kind, {})).history["loss"][0]
    assert after == pytest.approx(expected, rel=0.3, abs=1e-6)


class Annealed(keras.Model):
    """Counts its losses in a float, and its calls."""

    def __init__(self):
        super().__init__()
        self.dense = L.Dense(3, activation="softmax")
        self.beta = self.add_weight(shape=(), initializer="ones", trainable=False)
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.calls.assign_add(1.0)
        return self.dense(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        self.beta.assign(self.beta * 0.9)
        return self.beta * super().compute_loss(x, y, y_pred, sample_weight)


def test_what_a_model_counts_is_not_counted_by_looking_at_it():
    found = []
    for fit in (lambda m: m.fit, lambda m: uniform(m).fit, lambda m: ImportanceTraining(m, "oracle", presample=48, seed=0).fit):
        keras.utils.set_random_seed(0)
        model = Annealed()
        model(X[:1])
        model.calls.assign(0.0)
        model.compile("sgd", "sparse_categorical_crossentropy")
        history = fit(model)(X, Y, batch_size=16, shuffle=False, verbose=0)
        found.append((float(model.beta), float(model.calls), history.history["loss"][0]))
    assert found[0][:2] == found[1][:2] == found[2][:2] == (pytest.approx(0.9**6), 6.0)
    assert found[0][2] == pytest.approx(found[1][2], rel=1e-5)


def test_a_short_generator_trains_on_a_smaller_pool():
    batches = lambda: ((X[i : i + 16], Y[i : i + 16]) for i in range(0, N, 16))  # noqa: E731
    draws = []
    training = ImportanceTraining(classifier(), "oracle", on_step=lambda draw, _: draws.append((len(draw), draw.pool_size)))
    training.fit(batches(), steps_per_epoch=1, verbose=0)
    assert draws == [(16, N)]


def test_uniform_takes_batches_as_they_come():
    """Of any size and width, as plain fit."""
    samples = lambda: ((np.ones(3 if i < 60 else 5, "int32"), Y[i]) for i in range(N))  # noqa: E731
    signature = (tf.TensorSpec((None,), tf.int32), tf.TensorSpec((), tf.int64))
    data = tf.data.Dataset.from_generator(samples, output_signature=signature).padded_batch(20)
    results = []
    for fit in (lambda m: m.fit, lambda m: uniform(m).fit):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((None,)), L.Embedding(5, 4), L.GlobalAveragePooling1D(), L.Dense(3, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy")
        results.append(fit(model)(data, shuffle=False, steps_per_epoch=5, verbose=0).history["loss"][0])
    assert results[0] == pytest.approx(results[1], rel=1e-5)
    with pytest.raises(ValueError, match="`x` must give samples of one shape"):
        ImportanceTraining(model, "oracle", presample=80).fit(data, steps_per_epoch=5, verbose=0)


def test_an_interrupted_fit_does_not_reach_into_the_next():
    """An exception between the callback and the step: plain fit is plain again, from its first step on."""
    sizes = []

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(3, activation="softmax")

        def call(self, x):
            return self.dense(x)

        def train_step(self, data):
            sizes.append(len(data[0]))
            return super().train_step(data)

    class Interrupted(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 2:
                raise KeyboardInterrupt

    model = Model()
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=16, callbacks=[ImportanceSampling(8, "oracle"), Interrupted()], verbose=0)
    sizes.clear()
    model.fit(X, Y, batch_size=16, verbose=0)
    assert sizes == 6 * [16]
    assert "importance_sampling" not in model.train_function.__module__


def test_a_stop_from_another_callback_is_heard():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 2:
                self.model.stop_training = True

    for order in (1, -1):
        model = classifier()
        model.fit(X, Y, batch_size=16, epochs=3, callbacks=[ImportanceSampling(8, "pcg"), Stop()][::order], verbose=0)
        assert int(model.optimizer.iterations) == 3 and model.stop_training is True


def test_two_engines_on_one_model_are_refused():
    model = classifier()
    with pytest.raises(ValueError, match="`callbacks` must have no ImportanceSampling"):
        uniform(model).fit(X, Y, callbacks=[ImportanceSampling(8, "uniform")], verbose=0)
    with pytest.raises(ValueError, match="`callbacks` must have one ImportanceSampling"):
        model.fit(X, Y, callbacks=[ImportanceSampling(8, "uniform"), ImportanceSampling(4, "uniform")], verbose=0)
    model.fit(X, Y, batch_size=32, verbose=0)
    assert int(model.optimizer.iterations) == 3


def test_training_inside_of_a_callback_is_plain_training():
    seen = []

    class Other(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.train_on_batch(X[:4], Y[:4])

    model = classifier()
    training = uniform(model, on_step=lambda draw, _: seen.append(len(draw)))
    training.fit(X, Y, batch_size=16, callbacks=[Other()], verbose=0)
    assert seen == 6 * [16] and int(model.optimizer.iterations) == 12


def test_compiling_while_fit_runs_is_refused():
    model = classifier()
    compile_again = lambda epoch, logs: model.compile("adam", "sparse_categorical_crossentropy")  # noqa: E731
    again = keras.callbacks.LambdaCallback(on_epoch_end=compile_again)
    with pytest.raises(ValueError, match="`model.compile` must not be called while `fit` runs"):
        uniform(model).fit(X, Y, epochs=2, callbacks=[again], verbose=0)


def test_a_make_train_function_of_the_users_own_is_refused():
    class Model(keras.Sequential):
        def make_train_function(self, force=False):
            return super().make_train_function(force)

    model = Model([keras.Input((2,)), L.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="`model.make_train_function` must be that of Keras"):
        uniform(model).fit(X, Y, verbose=0)


class NoCall(keras.Model):
    """As many a generative model: all in `train_step`."""

    def __init__(self):
        super().__init__()
        self.dense = L.Dense(2)

    def train_step(self, data):
        return {"loss": keras.ops.mean(self.dense(data[0]) ** 2)}


class NoLoss(NoCall):
    def call(self, x):
        return self.dense(x)


@pytest.mark.parametrize("make", [NoCall, NoLoss])
@pytest.mark.parametrize("y", [Y, None], ids=["targets", "no targets"])
def test_a_train_step_that_computes_all_by_itself_is_refused_with_the_reason(make, y):
    model = make()
    model.compile("sgd")
    with pytest.raises(ValueError, match="`model.train_step` must compute its loss as"):
        uniform(model).fit(X, y, verbose=0)


def test_outputs_that_are_no_numbers_are_left_alone():
    inputs = keras.Input((2,))
    p = L.Dense(3, activation="softmax", name="p")(inputs)
    model = keras.Model(inputs, {"p": p, "sure": L.Lambda(lambda t: t > 0.5, name="sure")(p)})
    model.compile("sgd", {"p": "sparse_categorical_crossentropy"})
    assert np.isfinite(ImportanceTraining(model, "oracle", presample=48).fit(X, {"p": Y}, verbose=0).history["loss"][0])


@pytest.mark.parametrize("importance", ["uniform", "oracle"])
@pytest.mark.parametrize("kind", ["array", "tensor", "tf.data", "callback"])
def test_text(kind, importance):
    words = np.array(["a", "b", "c"])[Y]
    inputs = keras.Input((), dtype="string")
    hidden = L.CategoryEncoding(4, output_mode="one_hot")(L.StringLookup(vocabulary=["a", "b", "c"])(inputs))
    model = keras.Model(inputs, L.Dense(3, activation="softmax")(hidden))
    model.compile(keras.optimizers.SGD(2.0), "sparse_categorical_crossentropy")
    dataset = tf.data.Dataset.from_tensor_slices((words, Y)).batch(32)
    if kind == "callback":
        history = model.fit(dataset, epochs=3, shuffle=False, callbacks=[ImportanceSampling(16, importance)], verbose=0)
    else:
        data = {"array": dict(x=words, y=Y), "tensor": dict(x=tf.constant(words), y=Y), "tf.data": dict(x=dataset)}[kind]
        history = ImportanceTraining(model, importance, presample=48, seed=0).fit(**data, epochs=3, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_a_stateful_network_of_a_fixed_batch_size():
    """Close to plain fit: the state of the layer, which the model does not own, has seen one batch more."""
    results = []
    for fit in (lambda m: m.fit, lambda m: uniform(m).fit):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input(batch_shape=(16, 2, 1)), L.LSTM(3, stateful=True), L.Dense(3, activation="softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy")
        results.append(fit(model)(X[:, :, None], Y, batch_size=16, shuffle=False, epochs=2, verbose=0).history["loss"])
    assert results[0] == pytest.approx(results[1], rel=1e-3)


def test_class_weight_of_soft_labels_goes_by_the_largest():
    soft = (0.7 * np.eye(3) + 0.1)[Y].astype(np.float32)
    model = still(loss="categorical_crossentropy")
    arguments = dict(x=X, y=soft, class_weight={0: 3.0, 1: 1.0, 2: 0.1}, batch_size=N, verbose=0)
    assert uniform(model).fit(**arguments).history["loss"] == pytest.approx(model.fit(**arguments).history["loss"], rel=1e-5)


def test_a_refused_fit_takes_nothing_from_a_generator():
    batches = iter([(X[:16], Y[:16])] * 6)
    with pytest.raises(ValueError, match="`pools` must be None"):
        ImportanceTraining(classifier(), "pcg", pools="random").fit(batches, steps_per_epoch=2, verbose=0)
    assert len(list(batches)) == 6


@pytest.mark.parametrize("batch_size", [128, 2000])
@pytest.mark.parametrize("importance", ["uniform", "pcg"])
def test_a_batch_may_be_larger_than_the_data(importance, batch_size):
    """One step an epoch on all samples, as in plain fit."""
    model, draws = classifier(), []
    training = ImportanceTraining(model, importance, seed=0, on_step=lambda draw, _: draws.append(len(draw)))
    training.fit(X, Y, batch_size=batch_size, epochs=2, verbose=0)
    assert draws == [N, N]


def test_a_presample_that_is_not_given_grows_with_the_batch():
    x, y = np.zeros((9000, 2), np.float32), np.arange(9000) % 3
    pools = []
    training = ImportanceTraining(classifier(), "pcg", seed=0, on_step=lambda draw, _: pools.append(draw.pool_size))
    for batch_size in (32, 1024):
        training.fit(x, y, batch_size=batch_size, steps_per_epoch=1, verbose=0)
    assert pools == [1024, 3072]


def test_indices_are_taken_for_indices_with_any_importance():
    """And not for sample weights, which would go up to the number of samples."""
    data = with_indices(tf.data.Dataset.from_tensor_slices((X, Y))).batch(48)
    losses = []
    for importance in ("oracle", "pcg", small_lstm()):
        callback = ImportanceSampling(16, importance, seed=0)
        losses.append(still().fit(data, shuffle=False, callbacks=[callback], verbose=0).history["loss"][0])
    assert max(losses) < 3


@pytest.mark.parametrize(
    "data",
    [
        lambda: tf.data.Dataset.from_tensor_slices((X, Y, np.linspace(0, 1, N))).batch(48),
        lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(48),
    ],
    ids=["weights", "none"],
)
def test_what_is_no_index_is_refused(data):
    with pytest.raises(ValueError, match="a history of losses needs a stable index of each sample"):
        callback = ImportanceSampling(16, small_lstm())
        classifier().fit(data(), shuffle=False, callbacks=[callback], verbose=0)


@pytest.mark.parametrize("way", ["training", "callback"])
@pytest.mark.parametrize(
    ("batches", "received"),
    [
        (lambda: tf.data.Dataset.from_tensor_slices((X, Y, {"index": np.linspace(0, 1, N)})).batch(48), "float"),
        (lambda: tf.data.Dataset.from_tensor_slices((X, Y, {"index": np.arange(N) - 1})).batch(48), "int64 of shape"),
        (lambda: with_indices(tf.data.Dataset.from_tensor_slices((X, Y)).batch(48)), r"int64 of shape \(\) for 48"),
    ],
    ids=["floats", "negative", "batched first"],
)
def test_what_is_no_index_of_a_sample_is_refused(batches, received, way):
    with pytest.raises(ValueError, match=f'`x` must give an "index" for each sample, a whole number >= 0.* Received: {received}'):
        if way == "training":
            ImportanceTraining(classifier(), small_lstm()).fit(batches(), verbose=0)
        else:
            classifier().fit(batches(), shuffle=False, callbacks=[ImportanceSampling(16, small_lstm())], verbose=0)


def test_items_of_pairs_may_come_with_their_targets():
    items = [(X[i], Y[i]) for i in range(N)]
    x, y, _ = ItemSource(items, Y)[np.array([5, 2])]
    np.testing.assert_array_equal(x, X[[5, 2]])
    np.testing.assert_array_equal(y, Y[[5, 2]])
    model = classifier()
    training = ImportanceTraining(model, small_lstm(), presample=48, seed=0)
    training.fit(ItemSource(items, Y), batch_size=16, verbose=0)
    with pytest.raises(ValueError, match="`y` must be in the source. Received: x=ArraySource, y=ndarray"):
        training.fit(ArraySource(X, Y), Y, verbose=0)


def test_the_oracle_reads_each_candidate_once():
    reads = []

    class Items:
        def __len__(self):
            return N

        def __getitem__(self, i):
            reads.append(i)
            return X[i], Y[i]

    training = ImportanceTraining(classifier(), "oracle", presample=48, seed=0)
    training.fit(Items(), batch_size=16, steps_per_epoch=2, verbose=0)
    looks = len(reads) - 2 * 48  # at the first samples, for shapes
    assert looks == 16 and len(set(reads[looks : looks + 48])) == 48


@pytest.mark.parametrize("y", [np.where(Y == 1, np.nan, Y), Y.astype(str)], ids=["nan", "text"])
def test_bad_targets_are_found_in_every_kind_of_data(y):
    items = [X[i] for i in range(N)]
    whole = tf.data.Dataset.from_tensor_slices((X, y)).batch(32)

    class Items:
        __len__ = lambda self: N  # noqa: E731
        __getitem__ = lambda self, i: items[i]  # noqa: E731

    for fit in (
        lambda model: uniform(model).fit(X, y, verbose=0),
        lambda model: uniform(model).fit(Items(), y, verbose=0),
        lambda model: uniform(model).fit(whole, verbose=0),
        lambda model: model.fit(whole, shuffle=False, callbacks=[ImportanceSampling(16, "uniform")], verbose=0),
    ):
        with pytest.raises(ValueError, match="`y` must be finite|`y` must be numbers"):
            fit(classifier())


def test_samples_that_are_not_batched_are_refused_with_a_sentence():
    with pytest.raises(ValueError, match="`y` must be an array with the samples along its first axis"):
        uniform(classifier()).fit(tf.data.Dataset.from_tensor_slices((X, Y)), verbose=0)


def test_states_of_other_data_or_importances_are_refused():
    training = ImportanceTraining(classifier(), "pcg", presample=32, seed=0)
    training.fit(X, Y, verbose=0)
    state = training.get_state()
    with pytest.raises(ValueError, match="`state` must be what `get_state` returned. Received: "):
        training.set_state({"a": 1})
    training.set_state(state)
    with pytest.raises(ValueError, match="`state` must be of 60 samples, as the data. Received: of 96"):
        training.fit(X[:60], Y[:60], verbose=0)
    training.fit(X, Y, verbose=0)  # what was learnt is still there for the right data
    assert training.get_state()["fits"] == state["fits"]
    training.set_state(state)
    for wrong in (dict(y=np.ones((N, 7))), dict(y=Y, callbacks=[ImportanceSampling(8)])):  # refused later on
        with pytest.raises(ValueError):
            training.fit(X, verbose=0, **wrong)
    training.fit(X, Y, verbose=0)
    assert training.get_state()["fits"] == state["fits"]
    training.set_state(state)
    training.set_state(None)
    training.fit(X[:60], Y[:60], verbose=0)
    other = ImportanceTraining(classifier(), small_lstm(), presample=32, seed=0)
    other.set_state(state)
    with pytest.raises(ValueError, match="`state` must be of a LSTMImportance. Received: of a PerClassGaussian"):
        other.fit(X, Y, verbose=0)


def test_an_importance_of_ones_own_is_told_what_it_lacks():
    class Own(PerClassGaussian):
        pass

    own = Own()
    own.quantity = "entropy"
    with pytest.raises(
        ValueError, match="`importance.quantity` must be None or one of loss, gnorm, full_gnorm. Received: quantity='entropy'"
    ):
        ImportanceTraining(classifier(), own)

    class Half:
        quantity = "loss"

        def score(self, pool):
            return np.ones(len(pool))

    with pytest.raises(
        ValueError,
        match="`importance` must have bind, build, .*, update, .* defaults of all but score, update. Received: Half without",
    ):
        ImportanceTraining(classifier(), Half())


def test_numbers_that_are_no_classes_do_not_make_a_huge_table():
    y = (np.arange(N) * 50_000).astype(np.int64)
    model = keras.Sequential([L.Dense(1)])
    model.compile("sgd", "mae")
    assert np.isfinite(ImportanceTraining(model, small_lstm(), presample=48).fit(X, y, verbose=0).history["loss"][0])
    with pytest.raises(ValueError, match="`y` must be class ids below 1000000. Received: y="):
        model.fit(X, y, batch_size=48, callbacks=[ImportanceSampling(16, "pcg")], verbose=0)


@pytest.mark.parametrize("kinds", [("losses", "scores"), ("scores", "losses")])
def test_one_warning_does_not_hide_another(kinds):
    from importance_sampling import ImportanceSampler

    class Broken(PerClassGaussian):
        broken = False

        def score(self, pool):
            return np.full(len(pool), np.nan if self.broken else 1.0)

    sampler = ImportanceSampler(ArraySource(X, Y), Broken(), presample=32, seed=0)

    def losses():
        sampler.update(sampler.draw(8), -np.ones(8))

    def scores():
        sampler.importance.broken = True
        sampler.draw(8)
        sampler.importance.broken = False

    for kind in kinds:
        with pytest.warns(RuntimeWarning, match={"losses": "negative loss", "scores": "must be finite"}[kind]):
            {"losses": losses, "scores": scores}[kind]()


def test_pools_that_would_be_ignored_are_refused():
    with pytest.raises(
        ValueError, match="`shuffle` must be True where `pools` is given. Received: shuffle=False, pools=RandomPools"
    ):
        ImportanceTraining(classifier(), "pcg", pools="random").fit(X, Y, shuffle=False, verbose=0)
    with pytest.raises(ValueError, match="`pools` must be None: batches come in their own order"):
        ImportanceTraining(classifier(), "pcg", pools="random").fit(tf.data.Dataset.from_tensor_slices((X, Y)).batch(8), verbose=0)


@pytest.mark.parametrize("own", [PerClassGaussian(quantity="gnorm"), "gnorm"], ids=["pcg", "oracle"])
def test_the_gradient_norm_reaches_an_importance_through_fit(own):
    """At the logits of a softmax it is |softmax - one-hot|."""
    model, steps = still(), []
    p = np.asarray(model(X))
    expected = np.linalg.norm(p - np.eye(3)[Y], axis=1)
    training = ImportanceTraining(model, own, presample=48, seed=0, on_step=lambda draw, _: steps.append(draw))
    training.fit(X, Y, batch_size=48, epochs=10, verbose=0)
    if own == "gnorm":
        training.fit(X, Y, batch_size=16, verbose=0)
        np.testing.assert_allclose(steps[-1].scores, expected[steps[-1].indices], rtol=1e-3)
    else:
        means = [expected[c == Y].mean() for c in range(3)]
        np.testing.assert_allclose(training.sampler.importance.mean, means, rtol=0.1)
        assert not np.allclose(means, [-np.log(p[c == Y, c]).mean() for c in range(3)], rtol=0.2)


def test_bytes_keep_the_zeros_at_their_end():
    """Pictures and sound are read as bytes, to be decoded after the choice."""
    raw = RNG.integers(0, 3, (32, 4)).astype(np.uint8)
    expected, found = raw.sum(axis=1), []
    items = [(row.tobytes(), int(row.sum())) for row in raw]
    column = np.array([row.tobytes() for row in raw], object)

    def decode(x, y):
        return tf.ensure_shape(tf.cast(tf.io.decode_raw(x, tf.uint8), tf.float32), (4,)), y

    keep = lambda draw, _: found.append((draw.indices, draw.read()[0].numpy().sum(axis=1)))  # noqa: E731
    for data in (
        dict(x=ItemSource(items), batch_size=8),
        dict(x=column, y=expected, batch_size=8),
        dict(x=tf.constant(column), y=expected, batch_size=8),
        dict(x=tf.data.Dataset.from_tensor_slices((column, expected)).batch(8)),
    ):
        model = keras.Sequential([keras.Input((4,)), L.Dense(1)])
        model.compile("sgd", "mse")
        found.clear()
        ImportanceTraining(model, "uniform", map=decode, on_step=keep).fit(**data, verbose=0)
        for indices, sums in found:
            np.testing.assert_array_equal(sums, expected[indices])
        assert len(found) == 4


def test_a_refused_fit_keeps_the_state_that_was_set():
    first = ImportanceTraining(still(), "pcg", presample=32, seed=0)
    first.fit(X, Y, batch_size=16, verbose=0)
    draws = []
    second = ImportanceTraining(still(), "pcg", presample=32, seed=0, on_step=lambda draw, _: draws.append(draw))
    second.set_state(first.get_state())
    with pytest.raises(ValueError, match="`presample` must be >= batch_size"):
        second.fit(X, Y, batch_size=64, verbose=0)
    second.fit(X, Y, batch_size=16, steps_per_epoch=1, verbose=0)
    assert len(set(draws[0].pool_scores)) == 3  # the means of the classes, not the 1 of a new one


def test_after_an_interrupted_fit_others_train_the_model():
    class Interrupted(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise KeyboardInterrupt

    model = classifier()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, callbacks=[ImportanceSampling(8), Interrupted()], verbose=0)
    model.fit(X, Y, batch_size=32, callbacks=[ImportanceSampling(8)], verbose=0)
    uniform(model).fit(X, Y, batch_size=32, verbose=0)
    assert int(model.optimizer.iterations) == 6


def test_looking_at_the_loss_leaves_no_trace_in_the_logs_of_its_outputs():
    found = []
    for callbacks in ([], [ImportanceSampling(16, "uniform")]):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((2,))
        model = keras.Model(inputs, [L.Dense(1, name="a")(inputs), L.Dense(1, name="b")(inputs)])
        model.compile("sgd", ["mse", "mse"], metrics=[["mae"], ["mae"]])
        targets = [X[:, :1], 10 * X[:, 1:]]
        found.append(model.fit(X, targets, batch_size=16, shuffle=False, callbacks=callbacks, verbose=0).history)
    assert found[0] == {name: pytest.approx(values, rel=1e-5) for name, values in found[1].items()}


def test_a_column_of_tuples_is_no_pair():
    class Table:
        def __len__(self):
            return 20

        def __getitem__(self, key):
            return np.zeros(20) if key == "label" else {"pair": (np.ones(2), np.zeros(3), 7.0), "label": 0.0}

    x, _, weights = ItemSource(Table(), "label")[np.arange(2)]
    assert [part.shape for part in x] == [(2, 2), (2, 3), (2,)] and weights is None


@pytest.mark.parametrize("weights", [np.ones(30), np.ones(10), [np.ones(N)] * 2], ids=["long", "short", "nested"])
def test_weights_beside_items_must_fit_them(weights):
    class Items:
        __len__ = lambda self: N  # noqa: E731
        __getitem__ = lambda self, i: (X[i], Y[i])  # noqa: E731

    with pytest.raises(ValueError, match=r"`sample_weight` must be an array of shape \(96,\) beside single samples"):
        uniform(classifier()).fit(Items(), sample_weight=weights, verbose=0)


def test_states_of_other_settings_are_refused():
    for ours, theirs in ((dict(pools="permutation"), dict(pools="random")), (dict(smoothing="adaptive"), dict(smoothing=0.5))):
        first, second = (ImportanceTraining(classifier(), "pcg", presample=32, **settings) for settings in (theirs, ours))
        first.fit(X, Y, verbose=0)
        second.set_state(first.get_state())
        with pytest.raises(ValueError, match="`state` must be of an object made with the same arguments"):
            second.fit(X, Y, verbose=0)


def test_the_oracle_needs_a_model_of_any_batch_size():
    model = keras.Sequential([keras.Input(batch_shape=(8, 2, 1)), L.GRU(2, stateful=True), L.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="`model` must take batches of any size, to score a pool. Received: batches of 8 only"):
        ImportanceTraining(model, "oracle", presample=32).fit(X[:, :, None], Y, batch_size=8, verbose=0)


@pytest.mark.parametrize("change", [lambda y: y + 0.5, lambda y: np.where(y == 0, 4, y)], ids=["numbers", "a new class"])
def test_other_classes_in_the_same_array_start_anew(change):
    y = Y.astype(np.float32)
    model = keras.Sequential([keras.Input((2,)), L.Dense(5)])
    model.compile("sgd", lambda t, p: keras.ops.square(keras.ops.reshape(t, (-1,)) - p[:, 0]))
    training = ImportanceTraining(model, small_lstm(), presample=32, seed=0)
    training.fit(X, y, batch_size=16, verbose=0)
    sampler = training.sampler
    y[:] = change(y)
    training.fit(X, y, batch_size=16, verbose=0)
    assert training.sampler is not sampler


def test_class_weight_of_classes_below_zero():
    y = 2.0 * (Y == 0) - 1
    model = keras.Sequential([keras.Input((2,)), L.Dense(1)])
    model.compile(keras.optimizers.SGD(0.0), "hinge")
    arguments = dict(x=X, y=y, class_weight={-1: 3.0, 1: 0.5}, batch_size=N, verbose=0)
    expected = model.fit(**arguments).history["loss"]
    assert uniform(model).fit(**arguments).history["loss"] == pytest.approx(expected, rel=1e-5)
