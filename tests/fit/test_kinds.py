"""The table: kinds of models x kinds of data x importances, each trained, or refused with the sentence that says why.

Trained means: the loss on the data falls, the history has the keys of plain `fit`, the losses that the sampler is told are
those of its samples, and nothing but `fit` itself has touched the model.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import ImportanceSampling, ImportanceTraining, LSTMImportance, with_indices
from importance_sampling.data.structures import take
from tests.checks import assert_refused
from tests.kinds import KINDS, LABELS, TARGET, WITH_CLASSES, N, X, compiled, dense
from tests.loaders import Batches, Items, Loader, Table, frames, generator, memory_map, on_disk

B, POOL = 8, 24
# whose loss of one sample alone, with training=False, is not its loss in the first batch
NOT_ALONE = {"BatchNorm and dropout", "regularisers", "add_loss", "masked sequences", "own compute_loss"}
IMPORTANCES = ["uniform", "oracle", "gnorm", "approx", "pcg"]


def importance_of(name, **options):
    return LSTMImportance(history=2, units=4, jit_compile=False, **options) if name == "approx" else name


def all_weights(model):
    return [*model.get_weights(), *(v.numpy() for v in model.optimizer.variables)]


@pytest.mark.parametrize("kind", KINDS)
def test_uniform_importance_is_plain_fit(kind):
    """On the same order of data: weights, optimizer and history are those of `model.fit`, to float32 round-off."""
    make, x, y = KINDS[kind]
    results = []
    for wrap in (lambda model: model.fit, lambda model: ImportanceTraining(model, "uniform").fit):
        keras.utils.set_random_seed(0)
        model = make()
        history = wrap(model)(x, y, batch_size=B, epochs=3, shuffle=False, verbose=0)
        results.append((all_weights(model), history.history))
    (theirs, expected), (ours, history) = results
    assert list(history) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-4, atol=1e-6)
    tolerance = 1e-2 if kind.startswith("mixed") else 1e-5
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("importance", ["oracle", "approx", "pcg"])
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_models(kind, importance):
    make, x, y = KINDS[kind]
    model, steps = make(), []
    keep = lambda *step: steps.append(step)  # noqa: E731
    training = ImportanceTraining(model, importance_of(importance), presample=POOL, seed=0, on_step=keep)
    if importance == "pcg" and kind not in WITH_CLASSES:
        assert_refused(model, lambda: training.fit(x, y, batch_size=B, verbose=0), "`y` must be class ids|must do without classes")
        return
    loss_of(model, x, y)  # makes the weights
    start = model.get_weights()
    assert_trains(model, x, y, lambda **arguments: training.fit(x, y, batch_size=B, **arguments))
    if kind not in NOT_ALONE:
        model.set_weights(start)
        draw, losses = steps[0]
        expected = [loss_of(model, *take((x, y), slice(i, i + 1))) for i in draw.indices]
        np.testing.assert_allclose(losses, expected, rtol=2e-2 if kind.startswith("mixed") else 1e-4, atol=1e-6)


@pytest.mark.parametrize("compiling", [{"jit_compile": True}, {"run_eagerly": True}, {"steps_per_execution": 4}], ids=str)
@pytest.mark.parametrize("importance", ["oracle", "approx"])
def test_compiling_changes_nothing_in_the_history(importance, compiling):
    """The same draws, and the same losses of them, as without."""
    found = []
    for options in ({}, compiling):
        keras.utils.set_random_seed(0)
        steps = []
        keep = lambda draw, losses: steps.append((draw.indices, losses))  # noqa: B023, E731
        training = ImportanceTraining(compiled(dense(), **options), importance_of(importance), presample=POOL, seed=0, on_step=keep)
        training.fit(X, LABELS, batch_size=B, epochs=3, verbose=0)
        found.append((steps, training.sampler.importance))
    (steps, own), (others, other) = found
    assert len(steps) == len(others) == 18
    for (indices, losses), (expected, expected_losses) in zip(others, steps):
        np.testing.assert_array_equal(indices, expected)
        np.testing.assert_allclose(losses, expected_losses, rtol=1e-4)
    if importance == "approx":
        (losses, count), (others, other_count) = (kept.losses.window(np.arange(N)) for kept in (own, other))
        np.testing.assert_array_equal(count, other_count)
        np.testing.assert_allclose(losses, others, rtol=1e-4)


def slices(x, y):
    return tf.data.Dataset.from_tensor_slices((x, y))


# name: arguments of fit from a folder, x, y and the size of a batch
RANDOM_ACCESS = {
    "arrays": lambda folder, x, y, b: dict(x=x, y=y, batch_size=b),
    "tensors": lambda folder, x, y, b: dict(x=tf.constant(x), y=tf.constant(y), batch_size=b),
    "pandas": lambda folder, x, y, b: dict(zip("xy", frames(folder, x, y.ravel())), batch_size=b),
    "memory map": lambda folder, x, y, b: dict(zip("xy", memory_map(folder, x, y)), batch_size=b),
    "hdf5": lambda folder, x, y, b: dict(zip("xy", on_disk(folder, x, y)), batch_size=b),
    "items and targets": lambda folder, x, y, b: dict(x=Items(x), y=y, batch_size=b),
    "a column": lambda folder, x, y, b: dict(x=Table(x, y), y="target", batch_size=b),
}
WITHOUT_TARGETS = {"items": lambda folder, x, y, b: dict(x=Items(x, y), batch_size=b)}
STREAMS = {
    "tf.data": lambda folder, x, y, b: dict(x=slices(x, y).batch(b)),
    "PyDataset": lambda folder, x, y, b: dict(x=Batches(x, y, b)),
    "PyDataset with workers": lambda folder, x, y, b: dict(x=Batches(x, y, b, workers=2, max_queue_size=2)),
    "loader": lambda folder, x, y, b: dict(x=Loader(x, y, b)),
    "generator": lambda folder, x, y, b: dict(x=generator(x, y, b), steps_per_epoch=N // b),
}
INDEXED = {
    "indexed tf.data": lambda folder, x, y, b: dict(x=with_indices(slices(x, y)).batch(b)),
}
INPUTS = {**RANDOM_ACCESS, **WITHOUT_TARGETS, **STREAMS, **INDEXED}
OF_KERAS = [name for name in (*RANDOM_ACCESS, *STREAMS) if name not in ("items and targets", "a column", "loader")]


def why_not(inputs, importance, y):
    """The sentence that a combination is refused with, None where it trains."""
    if importance == "approx" and inputs in STREAMS:
        return "`importance` must be 'oracle', 'gnorm', 'pcg' or 'uniform' on batches without indices"
    if importance == "pcg" and inputs in WITHOUT_TARGETS:
        return "`y` must be given for an importance that tells classes apart"
    if importance == "pcg" and y is not LABELS:
        return "`y` must be class ids|must do without classes"
    return None


@pytest.mark.parametrize(
    ("target", "importance"),
    [*(("classes", name) for name in IMPORTANCES), *(("regression", name) for name in ("oracle", "approx", "pcg"))],
)
@pytest.mark.parametrize("inputs", INPUTS)
def test_kinds_of_data(tmp_path, target, inputs, importance):
    model, y = data_of(target)
    training = ImportanceTraining(model, importance_of(importance), presample=POOL, seed=0)
    make = lambda: INPUTS[inputs](tmp_path, X, y, B)  # noqa: E731
    refusal = why_not(inputs, importance, y)
    if refusal:
        assert_refused(model, lambda: training.fit(**make(), verbose=0), refusal)
    else:
        assert_trains(model, X, y, lambda **arguments: training.fit(**make(), **arguments))


@pytest.mark.parametrize("importance", ["oracle", "approx", "pcg"])
@pytest.mark.parametrize("inputs", OF_KERAS)
@pytest.mark.parametrize("target", ["classes", "regression"])
def test_kinds_of_data_through_the_callback(tmp_path, target, inputs, importance):
    model, y = data_of(target)
    callback = ImportanceSampling(B, importance_of(importance), seed=0)
    refusal = None
    if importance == "approx":
        refusal = "a history of losses needs a stable index of each sample"
    elif importance == "pcg" and y is not LABELS:
        refusal = "`y` must be class ids"
    make = lambda: INPUTS[inputs](tmp_path, X, y, POOL)  # noqa: E731
    if refusal:
        assert_refused(model, lambda: model.fit(**make(), shuffle=False, callbacks=[callback], verbose=0), refusal)
    else:
        fit = lambda callbacks=(), **arguments: model.fit(  # noqa: E731
            **make(), shuffle=False, callbacks=[callback, *callbacks], **arguments
        )
        assert_trains(model, X, y, fit)


@pytest.mark.parametrize("target", ["classes", "regression"])
def test_an_indexed_data_set_through_the_callback(target):
    model, y = data_of(target)
    callback = ImportanceSampling(B, importance_of("approx"), seed=0)
    data = with_indices(slices(X, y)).batch(POOL)
    assert_trains(model, X, y, lambda **arguments: model.fit(data, shuffle=False, callbacks=[callback], **arguments))


@pytest.mark.parametrize("importance", ["history", "auto"])
def test_large_whole_numbers_in_batches_are_no_classes(importance):
    """Prices, of a model that does not tell before it is built how many outputs it has."""
    model = compiled(keras.Sequential([keras.layers.Dense(1)]), "mae", keras.optimizers.SGD(1000.0), metrics=())
    prices = (2_000_000 + 100_000 * TARGET).round().astype(np.int64)
    training = ImportanceTraining(model, importance_of(importance), presample=POOL, seed=0)
    history = training.fit(with_indices(slices(X, prices)).batch(B), epochs=4, verbose=0).history["loss"]
    assert history[-1] < history[0]


def data_of(target):
    if target == "classes":
        return compiled(dense()), LABELS
    return compiled(dense(units=1, activation=None), "mse", metrics=["accuracy"]), TARGET


def assert_trains(model, x, y, fit):
    start = loss_of(model, x, y)
    history = fit(epochs=4, verbose=0)
    assert loss_of(model, x, y) < start
    assert sorted(history.history) == sorted(["loss", *names_of_metrics(model)]), history.history
    assert all(np.all(np.isfinite(values)) for values in history.history.values())
    assert "compute_loss" not in vars(model) and "importance_sampling" not in model.train_function.__module__


def loss_of(model, x, y):
    model.reset_metrics()  # Keras 3.8 goes on with the mean of earlier batches
    return model.test_on_batch(x, y, return_dict=True)["loss"]


def names_of_metrics(model):
    return [name for name in model.get_metrics_result() if name != "loss"]
