"""A `fit` that died, gone on with beside what users have: schedules, optimizers and metrics of their own, other data."""

import contextlib
import warnings

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import Backup, HistoryImportance, ImportanceSampling, ImportanceTraining
from importance_sampling.data.state_file import StateFileError, read_state
from importance_sampling.fit.backup import FILE
from tests.fit.test_resuming import BACKUPS, EPOCHS, SIZE, Died, DiesAt, X, Y, assert_same, everything, network, run, undisturbed

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of NumPy, about how Keras saves


class Halves(keras.callbacks.Callback):
    """The learning rate, at the end of each epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.optimizer.learning_rate = 0.5 * float(self.model.optimizer.learning_rate)


class DiesAfter(keras.callbacks.Callback):
    """Ends `fit` after so many steps of this process."""

    def __init__(self, steps):
        super().__init__()
        self._left = steps

    def on_train_batch_end(self, batch, logs=None):
        self._left -= 1
        if not self._left:
            raise Died


SCHEDULES = {
    "of the rate before": lambda: keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.5 * rate),
    "halved at the end": Halves,
}


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("backup", BACKUPS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_of_the_user(schedule, backup, first, tmp_path):
    """In the middle of the second epoch. What it has done to the model is in the backup: it must be done once, and not twice."""

    def callbacks():
        one, other = SCHEDULES[schedule](), BACKUPS[backup](tmp_path, 7)
        return [one, other] if first else [other, one]

    expected = run("pcg", SCHEDULES[schedule]())
    run("pcg", *callbacks(), DiesAt(47))
    assert_same(run("pcg", *callbacks()), expected)
    run("pcg", *callbacks(), DiesAt(31))  # the last backup is of the end of an epoch, or near to it
    assert_same(run("pcg", *callbacks()), expected)


class Own(keras.Model):
    """Trains by an optimizer of its own, of which `compile` knows nothing."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.mine = keras.optimizers.Adam(0.01)
        self.mine.build(self.trainable_variables)

    def train_step(self, data):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True), weights)
        self.mine.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


class Two(keras.Model):
    """Each layer by an optimizer of its own."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.others = [keras.optimizers.Adam(0.01)]
        self.others[0].build(self.trainable_variables[2:])

    def train_step(self, data):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True), weights)
        gradients = tape.gradient(loss, self.trainable_variables)
        for optimizer, part in ((self.optimizer, slice(2)), (self.others[0], slice(2, None))):
            optimizer.apply(gradients[part], self.trainable_variables[part])
        return {"loss": loss}


class WithF1(keras.Model):
    """With a metric that its step updates, and that gets its variables there."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.f1 = keras.metrics.F1Score(average="macro", name="f1")

    def train_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        self.f1.update_state(tf.one_hot(tf.cast(y, tf.int32), 3), self(x))
        return super().train_step(data)


def of_kind(kind, *callbacks, optimizer="adam", building=True, **fit):
    """A training of a model of that class: what it ends with, and the epochs it has trained."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((2,))
    model = kind(inputs, keras.layers.Dense(3, activation="softmax")(keras.layers.Dense(8, activation="tanh")(inputs)))
    model.compile(optimizer, "sparse_categorical_crossentropy")
    if kind is Two and building:
        model.optimizer.build(model.trainable_variables[:2])
    history, done = None, ImportanceTraining(model, "pcg", seed=0)
    with contextlib.suppress(Died):
        history = done.fit(X, Y, **{"batch_size": SIZE, "verbose": 0, "callbacks": list(callbacks), "epochs": EPOCHS, **fit}).epoch
    return [keras.ops.convert_to_numpy(v) for v in (*model.variables, *getattr(model, "mine", model.optimizer).variables)], history


@pytest.mark.parametrize("backup", BACKUPS)
@pytest.mark.parametrize(
    "kind,optimizer", [(Own, lambda: "sgd"), (keras.Model, lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=64))]
)
def test_steps_that_the_optimizer_of_compile_does_not_count(kind, optimizer, backup, tmp_path):
    expected, _ = of_kind(kind, optimizer=optimizer())
    of_kind(kind, BACKUPS[backup](tmp_path, "epoch"), DiesAfter(100), optimizer=optimizer())
    assert (tmp_path / FILE).exists()
    found, epochs = of_kind(kind, BACKUPS[backup](tmp_path, "epoch"), optimizer=optimizer())
    np.testing.assert_equal(found, expected)
    assert epochs == [3]


@pytest.mark.parametrize("backup", BACKUPS)
def test_a_model_of_two_optimizers(backup, tmp_path):
    expected, _ = of_kind(Two)
    of_kind(Two, BACKUPS[backup](tmp_path, 7), DiesAfter(47))
    found, _ = of_kind(Two, BACKUPS[backup](tmp_path, 7))
    np.testing.assert_equal(found, expected)


def test_an_optimizer_that_the_step_builds_in_its_own_way(tmp_path):
    """Nobody can know before the first step how; the training itself is not disturbed."""
    expected, _ = of_kind(Two, building=False)
    of_kind(Two, Backup(tmp_path, 7), DiesAfter(47), building=False)
    with pytest.raises(ValueError, match="which must be built before `fit`, as the model's own train_step does"):
        of_kind(Two, Backup(tmp_path, 7), building=False)
    found, _ = of_kind(Two, Backup(tmp_path, 7))
    np.testing.assert_equal(found, expected)
    found, _ = of_kind(Two, keras.callbacks.BackupAndRestore(tmp_path, save_freq=7), building=False)
    np.testing.assert_equal(found, expected)


@pytest.mark.parametrize("backup", BACKUPS)
def test_a_metric_that_only_the_step_builds(backup, tmp_path):
    """Its mean of the epoch is lost, and that is said; nothing else is."""
    expected, _ = of_kind(WithF1)
    of_kind(WithF1, BACKUPS[backup](tmp_path, 7), DiesAfter(47))
    with pytest.warns(RuntimeWarning, match="The metrics of this epoch count from here"):
        found, _ = of_kind(WithF1, BACKUPS[backup](tmp_path, 7))
    assert [array.shape for array in found] == [array.shape for array in expected]  # those of the metric too
    np.testing.assert_equal(found[:4], expected[:4])


def test_an_epoch_that_was_begun_with_other_steps(tmp_path):
    run("pcg", Backup(tmp_path, 7), DiesAt(29))
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    before = everything(network())
    for settings, rule in (({"batch_size": 100}, "same `batch_size`"), ({"steps_per_epoch": 5}, "same number of steps")):
        model = network()
        with pytest.raises(ValueError, match=f"the backup must be of the {rule}.* an epoch that was begun|.* one that was begun"):
            ImportanceTraining(model, "pcg", seed=0).fit(
                X, Y, verbose=0, callbacks=[Backup(tmp_path)], **{"batch_size": SIZE, **settings}
            )
        np.testing.assert_equal(everything(model)[: len(before)], before)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept
    run("pcg", Backup(tmp_path, "epoch"), DiesAt(31))
    longer = ImportanceTraining(network(), "pcg", seed=0)  # a new epoch may have others
    assert longer.fit(X, Y, batch_size=2 * SIZE, epochs=EPOCHS, verbose=0, callbacks=[Backup(tmp_path)]).epoch == [1, 2, 3]


@pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")  # of Keras, at the end of each
@pytest.mark.parametrize("known", [True, False])
def test_a_stream_that_has_become_shorter(known, tmp_path):
    """Whether or not it tells how many batches it has."""

    def streamed(count, *callbacks):
        data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(SIZE).take(count)
        data = data if known else data.filter(lambda x, y: True)
        with contextlib.suppress(Died):
            ImportanceTraining(network(), "pcg", seed=0).fit(data, epochs=3, verbose=0, callbacks=list(callbacks))

    streamed(30, Backup(tmp_path, 7), DiesAt(45))
    rule = "same number of steps in an epoch" if known else "the data must have as many batches as before .* Received: 4 of 12"
    with pytest.raises(ValueError, match=rule):
        streamed(4, Backup(tmp_path, 7))


def test_types_and_quantities_are_compared(tmp_path):
    def dense(dtype):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, activation="softmax", dtype=dtype)])
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        return model

    def fit(model, importance, *callbacks):
        with contextlib.suppress(Died):
            training = ImportanceTraining(model, importance, seed=0)
            training.fit(X, Y, batch_size=SIZE, epochs=2, verbose=0, callbacks=[Backup(tmp_path, 7), *callbacks])

    fit(dense("bfloat16"), "pcg", DiesAt(40))
    with pytest.raises(ValueError, match="the backup must be of the same model and optimizer: float32.*Received: uint16"):
        fit(dense("float32"), "pcg")
    fit(dense("bfloat16"), "pcg")
    fit(dense("float32"), "history", DiesAt(40))
    with pytest.raises(ValueError, match="must be of a HistoryImportance of loss. Received: of a HistoryImportance of gnorm"):
        fit(dense("float32"), HistoryImportance(quantity="loss"))


def test_files_that_are_no_backup(tmp_path):
    training = ImportanceTraining(network(), "pcg", seed=0)
    training.fit(X, Y, batch_size=SIZE, verbose=0)
    training.save_state(tmp_path / FILE)
    with pytest.raises(StateFileError, match="must be written by Backup. Received: a state of something else"):
        run("pcg", Backup(tmp_path))
    (tmp_path / FILE).unlink()
    run("pcg", Backup(tmp_path, 7), DiesAt(20))
    with pytest.raises(ValueError, match="made by the same kind of training: ImportanceSampling. Received: DrawingEngine"):
        network().fit(X, Y, batch_size=30, verbose=0, callbacks=[Backup(tmp_path), ImportanceSampling(SIZE, "pcg", seed=0)])


def test_what_cannot_be_deleted_is_told(tmp_path):
    """By root nothing is refused by rights: a directory of the same name is."""

    class Spoils(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == EPOCHS - 1:
                (tmp_path / (FILE + ".previous")).unlink()
                (tmp_path / (FILE + ".previous")).mkdir()

    expected = undisturbed("pcg")
    with pytest.warns(RuntimeWarning, match="The backup could not be deleted"):
        found = run("pcg", Backup(tmp_path, 7), Spoils())
    assert_same(found, expected)
    assert found[3] is not None


def test_files_of_keras_that_are_in_use_or_have_no_backup_beside_them_stay(tmp_path):
    run("history", keras.callbacks.BackupAndRestore(tmp_path, save_freq=7), DiesAt(47))
    weights = (tmp_path / "latest.weights.h5").read_bytes()
    (tmp_path / "training_metadata.json").write_text("")
    (tmp_path / FILE).write_bytes(b"nothing")
    with pytest.raises(ValueError, match="Expecting value"), warnings.catch_warnings():  # of Keras, which cannot read its file
        warnings.simplefilter("error")
        run("history", keras.callbacks.BackupAndRestore(tmp_path, save_freq=7))
    assert (tmp_path / "latest.weights.h5").read_bytes() == weights


def test_a_file_system_without_second_names(tmp_path, monkeypatch):
    """Simulated: there is none here."""

    def refused(*args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refused)
    run("pcg", Backup(tmp_path, 7), DiesAt(40))
    assert [read_state(tmp_path / name)["iterations"] for name in (FILE, FILE + ".previous")] == [35, 28]


def test_the_rights_of_a_file_are_those_of_a_new_file(tmp_path):
    run("pcg", Backup(tmp_path, 7), DiesAt(10))
    (tmp_path / "other").touch()
    assert (tmp_path / FILE).stat().st_mode == (tmp_path / "other").stat().st_mode
    assert h5py.is_hdf5(tmp_path / FILE)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(value):
    weights = np.ones(len(X), np.float32)
    weights[5] = value
    with pytest.raises(ValueError, match=f"`sample_weight` must be finite.* Received: {value} for sample 5"):
        ImportanceTraining(network(), "pcg", seed=0).fit(X, Y, sample_weight=weights, verbose=0)
