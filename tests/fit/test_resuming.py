"""A `fit` that died is gone on with: weights, draws, history and logs are those of one that was not disturbed."""

import contextlib
import functools
import shutil
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import Backup, ConstantVarianceImportanceTraining, ImportanceSampling, ImportanceTraining, with_indices
from importance_sampling.data.state_file import StateFileError
from importance_sampling.fit import backup
from importance_sampling.fit.backup import FILE
from importance_sampling.model.snapshot import assign, trained, values_of
from tests.models import small_lstm

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of NumPy, about how Keras saves
N, SIZE, EPOCHS = 300, 10, 4  # 30 steps an epoch
Y = np.arange(N) % 3
X = (3 * np.eye(3)[Y][:, :2] + np.random.default_rng(0).normal(size=(N, 2))).astype(np.float32)
KINDS = {
    "uniform": lambda model, **more: ImportanceTraining(model, "uniform", seed=0, **more),
    "pcg": lambda model, **more: ImportanceTraining(model, "pcg", seed=0, **more),
    "history": lambda model, **more: ConstantVarianceImportanceTraining(model, seed=0, **more),
    "approx": lambda model, **more: ImportanceTraining(model, small_lstm(), seed=0, **more),
    "oracle": lambda model, **more: ImportanceTraining(model, "oracle", seed=0, **more),
    "auto": lambda model, **more: ImportanceTraining(model, "auto", seed=0, **more),
    "measured": lambda model, **more: ImportanceTraining(model, "history", smoothing="measured", seed=0, **more),
}
BACKUPS = {
    "ours": lambda folder, save_freq: Backup(folder, save_freq),
    "keras": lambda folder, save_freq: keras.callbacks.BackupAndRestore(folder, save_freq=save_freq),
}


class Died(Exception):
    """What stands for a kill within one process."""


class DiesAt(keras.callbacks.Callback):
    """Ends `fit` at the end of an update."""

    def __init__(self, update):
        super().__init__()
        self._update = update

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == self._update:
            raise Died


def network():
    """With Dropout, whose seed moves on, and batch normalisation."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    hidden = [layers.Dense(8, activation="tanh"), layers.BatchNormalization(), layers.Dropout(0.2)]
    model = keras.Sequential([keras.Input((2,)), *hidden, layers.Dense(3, activation="softmax")])
    momentum = keras.optimizers.SGD(0.01, momentum=0.9)  # has a state of its own, and is traced in half the time of Adam
    model.compile(momentum, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def everything(model):
    return [keras.ops.convert_to_numpy(v) for v in (*model.variables, *model.optimizer.variables)]


def run(kind, *callbacks, steps=None, logs=False, epochs=EPOCHS):
    """A training by new objects, as in a new process: what it ends with, and the indices of each draw by update."""
    model, drawn = network(), {}
    training = KINDS[kind](
        model, logs=logs, on_step=lambda draw, losses: drawn.update({int(model.optimizer.iterations): draw.indices})
    )
    history = None
    with contextlib.suppress(Died):
        history = training.fit(
            X, Y, batch_size=SIZE, epochs=epochs, verbose=0, callbacks=list(callbacks), steps_per_epoch=steps
        ).history
    return everything(model), drawn, training.get_state(), history


def assert_same(found, expected):
    np.testing.assert_equal(found[0], expected[0])
    for update, indices in found[1].items():
        np.testing.assert_array_equal(indices, expected[1][update])
    np.testing.assert_equal(found[2]["sampler"], expected[2]["sampler"])


@functools.cache
def undisturbed(kind):
    return run(kind)


@pytest.mark.parametrize(
    ("kind", "backup", "dies_at"),
    [(kind, "ours", 47) for kind in KINDS]
    + [("uniform", "keras", 60), ("approx", "keras", 60), ("history", "keras", 90), ("auto", "ours", 90)],
)
def test_a_training_that_died_goes_on_bit_for_bit(kind, backup, dies_at, tmp_path):
    """In the middle of an epoch, at the end of one, and with batches that wait."""
    expected = undisturbed(kind)
    first = run(kind, BACKUPS[backup](tmp_path, 7), DiesAt(dies_at))
    assert first[3] is None and (tmp_path / FILE).exists()
    found = run(kind, BACKUPS[backup](tmp_path, 7))
    assert_same(found, expected)
    assert min(found[1]) > dies_at - 7 - (dies_at == 90)  # nothing was done again but what came after the backup
    for name in ("loss", "accuracy"):
        assert found[3][name][-1] == expected[3][name][-1]
    assert not (tmp_path / FILE).exists()  # as it is finished


@pytest.mark.parametrize("backup", BACKUPS)
def test_by_epochs_and_after_several_deaths(backup, tmp_path):
    expected = undisturbed("history")
    for dies_at in (10, 36, 95):
        run("history", BACKUPS[backup](tmp_path, "epoch"), DiesAt(dies_at))
    assert_same(run("history", BACKUPS[backup](tmp_path, "epoch")), expected)


def test_the_logs_of_an_epoch_that_died_are_those_of_one_that_did_not(tmp_path):
    expected = run("history", logs=True)[3]
    run("history", Backup(tmp_path, 7), DiesAt(47), logs=True)
    found = run("history", Backup(tmp_path, 7), logs=True)[3]
    for name, values in expected.items():
        assert found[name] == values[1:], name


def data_of(kind):
    if kind == "arrays":
        return {"x": X, "y": Y, "batch_size": 30, "shuffle": False}
    return {"x": with_indices(tf.data.Dataset.from_tensor_slices((X, Y))).batch(30), "shuffle": False}


def with_the_callback(kind, importance, *callbacks):
    model = network()
    ours = ImportanceSampling(SIZE, importance, seed=0)
    with contextlib.suppress(Died):
        model.fit(**data_of(kind), epochs=6, verbose=0, callbacks=[*callbacks, ours])
    return everything(model), ours.sampler.get_state()


@pytest.mark.parametrize("backup", BACKUPS)
@pytest.mark.parametrize("kind,importance", (("arrays", "oracle"), ("arrays", "pcg"), ("tf.data", "history")))
def test_so_does_a_plain_fit_with_the_callback(kind, importance, backup, tmp_path):
    expected = with_the_callback(kind, importance)
    with_the_callback(kind, importance, BACKUPS[backup](tmp_path, 4), DiesAt(27))
    found = with_the_callback(kind, importance, BACKUPS[backup](tmp_path, 4))
    np.testing.assert_equal(found, expected)


def streamed(*callbacks):
    model = network()
    training = ImportanceTraining(model, "pcg", seed=0)
    with contextlib.suppress(Died):
        training.fit(tf.data.Dataset.from_tensor_slices((X, Y)).batch(SIZE), epochs=3, verbose=0, callbacks=list(callbacks))
    return everything(model)


def test_so_do_batches_that_come_in_the_same_order(tmp_path):
    expected = streamed()
    streamed(Backup(tmp_path, 7), DiesAt(47))
    np.testing.assert_equal(streamed(Backup(tmp_path, 7)), expected)


def test_the_newest_moment_that_is_whole_is_chosen(tmp_path):
    """Keras has written and we have not: what a kill between the two leaves."""
    expected = undisturbed("history")
    run("history", keras.callbacks.BackupAndRestore(tmp_path, save_freq=7), DiesAt(47))
    kept = (tmp_path / FILE).read_bytes()
    run("history", keras.callbacks.BackupAndRestore(tmp_path, save_freq=7), DiesAt(50))
    (tmp_path / FILE).write_bytes(kept)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "__array__", DeprecationWarning)
        assert_same(run("history", keras.callbacks.BackupAndRestore(tmp_path, save_freq=7)), expected)


def killed_at(monkeypatch, target, name, count):
    """Has a function raise in place of its call number `count`, once: a kill at that moment."""
    function, calls = getattr(target, name), []

    def dies(*args, **settings):
        calls.append(None)
        if len(calls) == count:
            raise Died
        return function(*args, **settings)

    monkeypatch.setattr(target, name, dies)


@pytest.fixture
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "__array__", DeprecationWarning)
        yield


@pytest.mark.parametrize("freq", [7, "epoch"])
def test_a_kill_between_the_first_file_of_keras_and_ours(freq, tmp_path, monkeypatch, no_warnings):
    """The first that is written here is that of the beginning."""
    killed_at(monkeypatch, backup, "write_state", 2)
    first = run("history", keras.callbacks.BackupAndRestore(tmp_path, save_freq=freq))
    assert first[3] is None and (tmp_path / "training_metadata.json").exists()
    assert_same(run("history", keras.callbacks.BackupAndRestore(tmp_path, save_freq=freq)), undisturbed("history"))


def test_a_kill_in_the_first_save_of_keras(tmp_path, monkeypatch):
    killed_at(monkeypatch, backup, "write_state", 2)
    run("history", keras.callbacks.BackupAndRestore(tmp_path, save_freq=7))
    (tmp_path / "latest.weights.h5").write_bytes(b"cut off")
    (tmp_path / "training_metadata.json").unlink(missing_ok=True)
    with pytest.warns(RuntimeWarning, match="were broken, and are deleted"):
        assert_same(run("history", keras.callbacks.BackupAndRestore(tmp_path, save_freq=7)), undisturbed("history"))


@pytest.mark.parametrize("name", [FILE, "latest.weights.h5", "training_metadata.json"])
def test_a_kill_while_keras_deletes_its_directory(name, tmp_path, monkeypatch, no_warnings):
    """In whatever order it deletes: here one file is gone, and the rest is still there."""

    def deletes_one(path, *args, **settings):
        (tmp_path / name).unlink(missing_ok=True)
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", deletes_one)
        assert run("history", keras.callbacks.BackupAndRestore(tmp_path, save_freq=7))[3] is None
    assert_same(run("history", keras.callbacks.BackupAndRestore(tmp_path, save_freq=7)), undisturbed("history"))
    assert not tmp_path.exists()


def test_a_training_of_plain_fit_is_not_taken_back_to_its_beginning(tmp_path):
    """There is a backup of the beginning, and Keras has saved since, in fits without importance."""
    run("history", keras.callbacks.BackupAndRestore(tmp_path, save_freq=50), DiesAt(3))
    model = network()
    with pytest.raises(Died):
        callbacks = [keras.callbacks.BackupAndRestore(tmp_path), DiesAt(100)]
        model.fit(X, Y, batch_size=SIZE, epochs=EPOCHS, verbose=0, callbacks=callbacks)
    with pytest.warns(RuntimeWarning, match="older than that of the model, .* Received: update 0 of 90"):
        found = run("history", keras.callbacks.BackupAndRestore(tmp_path))
    assert min(found[1]) == 91


def test_what_was_learnt_long_before_the_model_does_not_take_it_back(tmp_path):
    run("history", keras.callbacks.BackupAndRestore(tmp_path, save_freq=7), DiesAt(37))
    model = network()
    with pytest.raises(Died):
        model.fit(
            X, Y, batch_size=SIZE, epochs=EPOCHS, verbose=0, callbacks=[keras.callbacks.BackupAndRestore(tmp_path), DiesAt(100)]
        )
    with pytest.warns(RuntimeWarning, match="older than that of the model"):
        found = run("history", keras.callbacks.BackupAndRestore(tmp_path))
    assert min(found[1]) == 96  # after Keras's backup: from update 35 it began the epoch again, and saved after two


def test_a_damaged_backup_gives_way_to_the_one_before(tmp_path):
    expected = undisturbed("history")
    run("history", Backup(tmp_path, 7), DiesAt(47))
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.warns(RuntimeWarning, match="from the backup before the last. .* damaged"):
        assert_same(run("history", Backup(tmp_path, 7)), expected)
    run("history", Backup(tmp_path, 7), DiesAt(47))
    for name in (FILE, FILE + ".previous"):
        (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(StateFileError, match="no state of this library"):
        run("history", Backup(tmp_path, 7))


def test_a_backup_of_something_else_is_refused(tmp_path):
    run("history", Backup(tmp_path, 7), DiesAt(47))
    with pytest.raises(ValueError, match="must be of a PerClassGaussian"):
        run("pcg", Backup(tmp_path, 7))
    other = ImportanceTraining(network(), "history", seed=0)
    with pytest.raises(ValueError, match="`state` must be of the same labels as the data"):
        other.fit(X, 2 - Y, batch_size=SIZE, callbacks=[Backup(tmp_path)], verbose=0)
    with pytest.raises(ValueError, match="`state` must be of 290 samples"):
        other.fit(X[:290], Y[:290], batch_size=SIZE, callbacks=[Backup(tmp_path)], verbose=0)
    wider = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, activation="softmax")])
    wider.compile("adam", "sparse_categorical_crossentropy")
    before = everything(wider)
    with pytest.raises(ValueError, match="must be of the same model and optimizer"):
        ImportanceTraining(wider, "history", seed=0).fit(X, Y, batch_size=SIZE, callbacks=[Backup(tmp_path)], verbose=0)
    np.testing.assert_equal(everything(wider)[: len(before)], before)


def test_callbacks_that_cannot_be_served(tmp_path):
    with pytest.raises(ValueError, match="must have ImportanceSampling after Backup"):
        network().fit(X, Y, verbose=0, callbacks=[Backup(tmp_path)])
    ours = ImportanceSampling(SIZE, "pcg", seed=0)
    with pytest.raises(ValueError, match="must have Backup before ImportanceSampling"):
        network().fit(X, Y, verbose=0, callbacks=[ours, Backup(tmp_path)])
    with pytest.raises(ValueError, match="must have one Backup or BackupAndRestore. Received: 2"):
        run("pcg", Backup(tmp_path), Backup(tmp_path))
    for wrong in (0, -1, "step", 1.5, True):
        with pytest.raises(ValueError, match="`save_freq` must be"):
            Backup(tmp_path, wrong)
    with pytest.raises(ValueError, match="`on_error` must be"):
        Backup(tmp_path, on_error="ignore")


def test_a_backup_that_is_kept_has_nothing_left_to_do(tmp_path):
    expected = run("pcg", Backup(tmp_path, delete_checkpoint=False))
    found = run("pcg", Backup(tmp_path, delete_checkpoint=False))
    assert not found[1] and found[3] == {}
    np.testing.assert_equal(found[0], expected[0])
    longer = run("pcg", Backup(tmp_path, delete_checkpoint=False), epochs=EPOCHS + 1)
    assert_same(longer, run("pcg", epochs=EPOCHS + 1))


def test_the_model_can_be_trained_again(tmp_path):
    """Keras leaves the epoch to begin at in the model."""
    run("pcg", Backup(tmp_path, 7), DiesAt(47))
    model = network()
    training = ImportanceTraining(model, "pcg", seed=0)
    for _ in range(2):
        history = training.fit(X, Y, batch_size=SIZE, epochs=EPOCHS, verbose=0, callbacks=[Backup(tmp_path)])
    assert history.epoch == [0, 1, 2, 3] and model._initial_epoch is None


def test_the_callback_saves_its_state_too(tmp_path):
    """Two fits of three epochs, with a new callback for the second, are one of six."""
    expected = with_the_callback("arrays", "pcg")
    model, first, second = network(), *(ImportanceSampling(SIZE, "pcg", seed=0) for _ in range(2))
    with pytest.raises(ValueError, match="`get_state` must come after `fit`"):
        first.save_state(tmp_path / "state.h5")
    model.fit(**data_of("arrays"), epochs=3, verbose=0, callbacks=[first])
    first.save_state(tmp_path / "state.h5")
    second.load_state(tmp_path / "state.h5")
    model.fit(**data_of("arrays"), epochs=3, verbose=0, callbacks=[second])
    np.testing.assert_equal((everything(model), second.sampler.get_state()), expected)
    other = ImportanceSampling(SIZE, "oracle", seed=0)
    other.load_state(tmp_path / "state.h5")
    with pytest.raises(ValueError, match="`state` must be of a Oracle of loss. Received: of a PerClassGaussian of loss"):
        model.fit(**data_of("arrays"), verbose=0, callbacks=[other])
    with pytest.raises(ValueError, match="`state` must be what `get_state` returned"):
        other.set_state({"a": 1})


def test_files_of_keras_that_a_kill_has_broken_are_out_of_the_way(tmp_path):
    expected = undisturbed("history")
    for name in ("latest.weights.h5", "training_metadata.json"):
        run("history", keras.callbacks.BackupAndRestore(tmp_path, save_freq=7), DiesAt(47))
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.warns(RuntimeWarning, match="files of BackupAndRestore .* were broken, and are deleted"):
            assert_same(run("history", keras.callbacks.BackupAndRestore(tmp_path, save_freq=7)), expected)


def test_states_of_layers_and_generators_of_losses_are_in_it():
    """What Keras does not count among the variables of a model, and no variable of a metric."""
    layers = keras.layers

    class Noisy(keras.losses.Loss):
        def __init__(self):
            super().__init__()
            self.generator = keras.random.SeedGenerator(0)

        def call(self, y_true, y_pred):
            return (y_true - y_pred + keras.random.normal(keras.ops.shape(y_pred), seed=self.generator)) ** 2

    model = keras.Sequential(
        [keras.Input((3, 2), batch_size=4), layers.GRU(3, stateful=True), layers.Dropout(0.5), layers.Dense(1)]
    )
    model.compile("adam", Noisy(), metrics=["mae"])
    kept = {id(variable) for variable in trained(model)}
    gru, dropout, _ = model.layers
    own = [*keras.tree.flatten(gru.states), dropout.seed_generator.state, model.loss.generator.state, *model.optimizer.variables]
    assert {id(variable) for variable in own} <= kept and not {id(variable) for variable in model.metrics_variables} & kept
    values = values_of(trained(model))
    before = [keras.ops.convert_to_numpy(variable) for variable in trained(model)]
    model.fit(np.ones((8, 3, 2)), np.ones(8), batch_size=4, verbose=0)
    changed = [keras.ops.convert_to_numpy(variable) for variable in trained(model)]
    assert sum(not np.array_equal(one, other) for one, other in zip(before, changed)) > len(before) / 2
    assign(trained(model), values)
    np.testing.assert_equal([keras.ops.convert_to_numpy(variable) for variable in trained(model)], before)


def test_bfloat16_comes_back():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, dtype="bfloat16")])
    model.compile("sgd", "mse")
    values = values_of(model.variables)
    assert all(value.dtype.kind in "biuf" for value in values.values())
    before = model.get_weights()
    model.set_weights([0 * weight for weight in before])
    assign(model.variables, values)
    for one, other in zip(model.get_weights(), before):
        np.testing.assert_array_equal(one.astype("float32"), other.astype("float32"))


def test_whole_numbers_of_numpy_are_whole_numbers(tmp_path):
    assert Backup(tmp_path, np.int64(7)).save_freq == 7


@pytest.mark.parametrize("backup", BACKUPS)
def test_steps_between_backups_may_be_more_than_an_epoch_has(backup, tmp_path):
    """They are counted across epochs, as Keras counts them."""
    expected = undisturbed("history")
    assert run("history", BACKUPS[backup](tmp_path, 40), DiesAt(95))[3] is None
    found = run("history", BACKUPS[backup](tmp_path, 40))
    assert_same(found, expected)
    assert min(found[1]) == 81  # two backups were made


def test_callbacks_see_the_same_keys_in_steps_that_are_passed_over(tmp_path):
    keys = []
    seen = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: keys.append(sorted(logs)))
    run("history", Backup(tmp_path, 7), DiesAt(47), seen, logs=True)
    died = len(keys)
    run("history", Backup(tmp_path, 7), seen, logs=True)
    assert len(keys) > died > 40 and all(found == keys[0] for found in keys) and "samples" in keys[0]
