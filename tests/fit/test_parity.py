"""Every argument and callback of `model.fit`, against plain Keras with the same one.

With uniform importance and the data in order the two train on the same batches, so whatever an argument does shows.
"""

import csv
import inspect
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import ImportanceTraining
from tests.fit.test_training import Recorder
from tests.models import classifier

# Keras's own, from saving with numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")

N, B = 120, 20
WEIGHTS = np.linspace(0.5, 2, N).astype(np.float32)


@pytest.fixture
def data(blobs):
    return blobs[0][:N], blobs[1][:N]


def both(data, arguments, callbacks=lambda where: [], **compiling):
    """What plain Keras and importance sampling come to: a dictionary of findings for each."""
    found = []
    for where, wrap in enumerate((lambda model: model.fit, lambda model: ImportanceTraining(model, "uniform").fit)):
        keras.utils.set_random_seed(0)
        model = classifier(metrics=["accuracy"], **compiling)
        recorder = Recorder()
        given = dict(x=data[0], y=data[1], batch_size=B, verbose=0, shuffle=False)
        history = wrap(model)(**{**given, **arguments(*data)}, callbacks=[*callbacks(where), recorder])
        found.append(
            dict(
                calls=recorder.calls,
                history=history.history,
                params=history.params,
                epoch=history.epoch,
                updates=int(model.optimizer.iterations),
                rate=float(model.optimizer.learning_rate),
                weights=model.get_weights(),
            )
        )
    return found


def assert_same(theirs, ours, but=()):
    for name in set(theirs) - {"history", "weights", *but}:
        assert ours[name] == theirs[name], name
    assert list(ours["history"]) == list(theirs["history"])
    for name, values in theirs["history"].items():
        np.testing.assert_allclose(ours["history"][name], values, rtol=1e-4, err_msg=name)
    for a, b in zip(ours["weights"], theirs["weights"]):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def held_out(x, y):
    return x[::3], y[::3]


ARGUMENTS = {
    "x, y": lambda x, y: {},
    "batch_size": lambda x, y: dict(batch_size=30),
    "epochs": lambda x, y: dict(epochs=3),
    "initial_epoch": lambda x, y: dict(epochs=4, initial_epoch=2),
    "steps_per_epoch": lambda x, y: dict(steps_per_epoch=3, epochs=2),
    "validation_split": lambda x, y: dict(validation_split=1 / 3),
    "validation_split with sample_weight": lambda x, y: dict(validation_split=1 / 3, sample_weight=WEIGHTS),
    "validation_data of arrays": lambda x, y: dict(validation_data=held_out(x, y)),
    "validation_data of lists": lambda x, y: dict(validation_data=list(held_out(x, y))),
    "validation_data with weights": lambda x, y: dict(validation_data=(*held_out(x, y), WEIGHTS[::3])),
    "validation_data of tf.data": lambda x, y: dict(validation_data=tf.data.Dataset.from_tensor_slices(held_out(x, y)).batch(7)),
    "validation_data before validation_split": lambda x, y: dict(validation_data=held_out(x, y), validation_split=0.5),
    "validation_batch_size": lambda x, y: dict(validation_data=held_out(x, y), validation_batch_size=40),
    "validation_steps": lambda x, y: dict(validation_data=held_out(x, y), validation_batch_size=10, validation_steps=2),
    "validation_freq": lambda x, y: dict(validation_data=held_out(x, y), epochs=4, validation_freq=2),
    "validation_freq in a list": lambda x, y: dict(validation_data=held_out(x, y), epochs=4, validation_freq=[1, 4]),
    "sample_weight": lambda x, y: dict(sample_weight=WEIGHTS),
    "class_weight": lambda x, y: dict(class_weight={0: 2.0, 1: 0.5, 2: 1.0}),
}


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_arguments(data, argument):
    assert_same(*both(data, ARGUMENTS[argument]))


def test_every_argument_of_fit_is_taken():
    ours = inspect.signature(ImportanceTraining.fit).parameters
    theirs = inspect.signature(keras.Model.fit).parameters
    assert {name: p.default for name, p in ours.items()} == {name: p.default for name, p in theirs.items()}


@pytest.mark.parametrize("verbose", [0, 1, 2, "auto"])
def test_verbose(data, verbose, capsys):
    """The same lines, but for the numbers of milliseconds."""
    printed = []
    for wrap in (lambda model: model.fit, lambda model: ImportanceTraining(model, "uniform").fit):
        keras.utils.set_random_seed(0)
        wrap(classifier())(*data, batch_size=B, epochs=2, shuffle=False, verbose=verbose)
        lines = re.split(r"[\r\n\b]+", capsys.readouterr().out)
        printed.append(
            [re.sub(r"\d+m?u?s(/step|/epoch)?", "", line).rstrip() for line in lines if "Epoch" in line or "6/6" in line]
        )
    assert printed[0] == printed[1] and bool(printed[0]) == (verbose != 0)


def test_verbose_and_other_settings_of_an_earlier_fit_do_not_stay(data):
    model = classifier()
    training = ImportanceTraining(model, "pcg", presample=60, seed=0)
    training.fit(*data, batch_size=B, validation_split=0.5, epochs=2, verbose=0)
    assert list(training.fit(*data, batch_size=B, verbose=0).history) == ["loss"]


CALLBACKS = {
    "LearningRateScheduler": lambda folder: keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5),
    "ReduceLROnPlateau": lambda folder: keras.callbacks.ReduceLROnPlateau(monitor="loss", min_delta=10, patience=0),
    "EarlyStopping": lambda folder: keras.callbacks.EarlyStopping("val_loss", min_delta=10, restore_best_weights=True),
    "ModelCheckpoint": lambda folder: keras.callbacks.ModelCheckpoint(str(folder / "{epoch}-{val_loss:.2f}.keras")),
    "CSVLogger": lambda folder: keras.callbacks.CSVLogger(str(folder / "log.csv")),
    "TensorBoard": lambda folder: keras.callbacks.TensorBoard(str(folder), update_freq=2, write_graph=False),
    "TerminateOnNaN": lambda folder: keras.callbacks.TerminateOnNaN(),
    "BackupAndRestore": lambda folder: keras.callbacks.BackupAndRestore(str(folder / "backup")),
    "LambdaCallback": lambda folder: keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: (folder / f"{batch} {sorted(logs)}").touch()
    ),
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_callbacks_of_keras(data, tmp_path, name):
    """They see what they see in plain fit, do what they do there, and leave the same files."""
    folders = [tmp_path / "plain", tmp_path / "importance"]
    for folder in folders:
        folder.mkdir()
    broken = np.where(np.arange(N)[:, None] < N / 2, 0, np.nan) if name == "TerminateOnNaN" else 0  # from the fourth batch on
    arguments = lambda x, y: dict(x=x + broken, validation_data=held_out(x, y), epochs=3)  # noqa: E731
    theirs, ours = both(data, arguments, lambda where: [CALLBACKS[name](folders[where])])
    assert_same(theirs, ours)
    assert ours["updates"] == {"TerminateOnNaN": 4, "EarlyStopping": 12}.get(name, 18)
    names = [sorted(re.sub(r"\d{6,}.*", "", str(path.relative_to(f))) for path in f.rglob("*")) for f in folders]
    assert names[0] == names[1]
    if name == "CSVLogger":
        rows, expected = (list(csv.DictReader((f / "log.csv").read_text().splitlines())) for f in (folders[1], folders[0]))
        assert [list(row) for row in rows] == [list(row) for row in expected]
        np.testing.assert_allclose([float(r["loss"]) for r in rows], [float(r["loss"]) for r in expected], rtol=1e-4)


class Interrupted(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("importance", ["uniform", "pcg"])
def test_an_interrupted_training_goes_on_from_its_backup(data, tmp_path, importance):
    """`BackupAndRestore` brings back model, optimizer and epoch."""
    model = classifier(optimizer="adam")
    training = ImportanceTraining(model, importance, presample=60, seed=0)
    backup = lambda: keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))  # noqa: E731
    with pytest.raises(KeyboardInterrupt):
        training.fit(*data, batch_size=B, epochs=4, callbacks=[backup(), Interrupted()], verbose=0)
    again = classifier(optimizer="adam")
    history = ImportanceTraining(again, importance, presample=60, seed=0).fit(
        *data, batch_size=B, epochs=4, callbacks=[backup()], verbose=0
    )
    assert history.epoch == [2, 3] and int(again.optimizer.iterations) == 24


def test_every_row_of_the_parity_table_names_a_test_that_exists():
    root = Path(__file__).parents[2]
    text = (root / "docs" / "from_model_fit.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and "shown by" not in line]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", row)
        assert named, row
        for file, test in named:
            source = (root / "tests" / file).read_text()
            assert f"def {test}(" in source if test else source, (file, test)


def test_every_argument_of_fit_has_a_row_in_the_parity_table():
    text = (Path(__file__).parents[2] / "docs" / "from_model_fit.md").read_text()
    for name in inspect.signature(keras.Model.fit).parameters:
        assert name == "self" or re.search(rf"^\| .*`{name}`.* \|", text, re.M), name


@pytest.mark.parametrize("batch_size", [None, 24])
def test_validation_without_a_batch_size_of_its_own(batch_size):
    """It is that of `fit`, or Keras's default, and not that of the batches."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(96, 2)).astype(np.float32), rng.integers(0, 3, 96)
    found = []
    for wrap in (lambda model: model, lambda model: ImportanceTraining(model, "uniform", seed=0)):
        keras.utils.set_random_seed(0)
        model = classifier(optimizer=keras.optimizers.SGD(0.0))
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(48)
        held = dict(validation_data=(x, y), validation_steps=1)
        history = wrap(model).fit(data, batch_size=batch_size, shuffle=False, **held, verbose=0)
        found.append(history.history["val_loss"])
    assert found[0] == found[1]
