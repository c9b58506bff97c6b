"""Backups of a `fit`: where they are, and when it is time for one."""

import contextlib
import os
import warnings
from pathlib import Path

import keras

from importance_sampling.arguments import is_path, whole_number
from importance_sampling.data.state_file import StateFileError, previous, read_state, write_state
from importance_sampling.fit.beside_keras import FILE, BesideKeras


class Backup(keras.callbacks.Callback):
    """Saves a `fit` as it runs, and goes on with it after a crash: bit for bit the training that it would have been.

    It is for the callbacks of `ImportanceTraining.fit`, or, before `ImportanceSampling`, of a plain `model.fit`. One file has all:
    model, optimizer, metrics, the seeds of Dropout, what was learnt about the samples, epoch and step. It takes its name when it is
    whole, so that a kill at any moment leaves a good one. Start the same script again, and training goes on after the step of the
    last backup. In an epoch that was begun, the steps that are done are passed over without training: callbacks see them again.

    `keras.callbacks.BackupAndRestore` can be given in its place; the same file is then written beside its own two. Those can be
    broken by a kill while they are written: `ImportanceTraining.fit` then deletes them, with a warning, and goes on with this one.

    Args:
        directory (path): of the backups of one training; made where there is none.
        save_freq ("epoch" or int, default "epoch"): after each epoch, or after so many steps.
        delete_checkpoint (bool, default True): whether the backups are deleted when training is finished.
        on_error ("warn" or "raise", default "warn"): what happens where one cannot be written, as on a full disk: training goes on
            with a warning, said once, or ends with an OSError. The backup before is as it was.

    Raises:
        ValueError: an argument breaks one of these rules; from `fit`, where nothing trains that it could save, or where the backup
            is of another model, other data or another importance.
        StateFileError: from `fit`, where the backup is damaged and so is the one before it.

    Warns:
        RuntimeWarning: the last backup is damaged, training goes on from the one before; one cannot be written.

    Example:
        >>> import keras, numpy as np, tempfile
        >>> from importance_sampling import ImportanceTraining
        >>> x, y = np.random.default_rng(0).normal(size=(256, 4)).astype("float32"), np.arange(256) % 2
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
        >>> model.compile("adam", "sparse_categorical_crossentropy")
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     backup = Backup(directory, save_freq=20)
        ...     history = ImportanceTraining(model, "history", seed=0).fit(x, y, epochs=3, callbacks=[backup], verbose=0)
    """

    begun = False  # nothing but its file tells whether there was a backup before

    def __init__(self, directory, save_freq="epoch", delete_checkpoint=True, on_error="warn"):
        super().__init__()
        if not (isinstance(save_freq, str) and save_freq == "epoch"):
            save_freq = whole_number("save_freq", save_freq, least=1, other="'epoch'")
        if on_error not in ("warn", "raise"):
            raise ValueError(f"`on_error` must be 'warn' or 'raise'. Received: on_error={on_error!r}")
        if not is_path(directory):
            raise ValueError(f"`directory` must be a path. Received: directory={directory!r}")
        self.directory = os.fspath(directory)
        self.save_freq = save_freq
        self.delete_checkpoint = delete_checkpoint
        self.on_error = on_error
        self._served = False  # by an engine
        self._last, self._since, self._due = -1, 0, False  # step of this epoch; steps since a backup was due

    def on_train_begin(self, logs=None):
        self._served, self._since, self._due = False, 0, False

    def on_epoch_begin(self, epoch, logs=None):
        self._last = -1
        if not self._served:
            raise ValueError(
                "`callbacks` must have ImportanceSampling after Backup, where it is not ImportanceTraining that trains"
            )

    def on_train_batch_end(self, batch, logs=None):
        if self.save_freq != "epoch":  # steps of one execution come together
            self._since, self._last = self._since + batch - self._last, batch
            if self._since >= self.save_freq:
                self._since, self._due = 0, True

    def on_epoch_end(self, epoch, logs=None):
        self._due = self._due or self.save_freq == "epoch"

    def serve(self):
        """Told that its backups will be written."""
        self._served = True

    def is_due(self):
        """Whether it is time for a backup; asked once for each."""
        due, self._due = self._due, False
        return due

    def first_after(self, steps):
        """After how many updates, at most, the first comes, if there must be one before it: here there need not."""

    def end(self):
        """Told when the last epoch is over, just before `on_train_end`."""


KINDS = (Backup, keras.callbacks.BackupAndRestore)


def backup_among(callbacks, engine):
    """The `Backup` among callbacks, or what stands for Keras's own; None where there is neither.

    Raises:
        ValueError: there are several, or one comes after the engine.
    """
    found = [callback for callback in callbacks if isinstance(callback, KINDS)]
    if not found:
        return None
    if len(found) > 1:
        raise ValueError(f"`callbacks` must have one Backup or BackupAndRestore. Received: {len(found)}")
    (callback,) = found
    if engine in callbacks and callbacks.index(engine) < callbacks.index(callback):
        name = type(callback).__name__
        raise ValueError(
            f"`callbacks` must have {name} before ImportanceSampling, so that both save the same moment. Received: after"
        )
    backup = callback if isinstance(callback, Backup) else BesideKeras(callback)
    backup.serve()
    return backup


class BackupFile:
    """The file of a backup.

    Args:
        backup: a `Backup` or `BesideKeras`.

    Attributes:
        path: of the file.
    """

    def __init__(self, backup):
        self._backup = backup
        self.path = Path(backup.directory) / FILE
        self._warned = False

    def read(self):
        """The state in it; that of the one before where it is damaged; None where there is none. Makes the directory.

        Raises:
            StateFileError: both are damaged.
        """
        with self._tolerant():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for part in self.path.parent.glob(f"{FILE}.*part"):  # left by a kill
                part.unlink(missing_ok=True)
        try:
            return read_state(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except StateFileError as error:
            before = previous(self.path)
            if not os.path.exists(before):
                raise
            state = read_state(before)
            warnings.warn(f"Training goes on from the backup before the last. {error}", RuntimeWarning, stacklevel=2)
            return state

    def write(self, state):
        """Writes a state; where that fails, warns once or raises."""
        with self._tolerant():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_state(self.path, state)

    @contextlib.contextmanager
    def _tolerant(self, done="written"):
        try:
            yield
        except OSError as error:
            if self._backup.on_error == "raise":
                raise
            if not self._warned:
                self._warned = True
                text = f"The backup could not be {done}, training goes on without: {error}. What was there is as it was."
                warnings.warn(text, RuntimeWarning, stacklevel=2)

    def delete(self):
        """Deletes it, if it is to be, and the directory with it, if nothing else is in there."""
        if self._backup.delete_checkpoint:
            with self._tolerant("deleted"):
                for path in (Path(previous(self.path)), self.path):  # in this order: a kill leaves the last, or none
                    path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.path.parent.rmdir()
