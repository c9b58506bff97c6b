"""Backups beside those of `keras.callbacks.BackupAndRestore`, whose own files a kill can break."""

import contextlib
import json
import os
import warnings
from pathlib import Path

import h5py
import keras

from importance_sampling.data.state_file import StateFileError, read_state

FILE = "importance.h5"  # ours, within the directory of the backup
_OF_KERAS = ("latest.weights.h5", "training_metadata.json")  # what keras.callbacks.BackupAndRestore writes, in this order


class BesideKeras:
    """The backups beside those of a `keras.callbacks.BackupAndRestore`, written whenever it has written.

    That it has is seen by its file, whose name is not in Keras's documentation: were it another, no backup would be written. The
    tests of all versions that are allowed look.
    """

    delete_checkpoint = False  # it deletes its whole directory, if it is to
    on_error = "warn"

    def __init__(self, callback):
        self.directory = os.fspath(callback.backup_dir)
        self._callback = callback

    def serve(self):
        self._stamp = self._found()
        self.begun = self._stamp is not None

    def is_due(self):
        before, self._stamp = self._stamp, self._found()
        return self._stamp not in (None, before)

    def first_after(self, steps):
        """After how many updates, at most, Keras saves for the first time; None where nobody knows."""
        freq = self._callback.save_freq
        return steps if freq == "epoch" else freq + self._callback.model.steps_per_execution - 1

    def end(self):
        """Deletes the files of Keras, if they are to be, in such an order that a kill leaves all of a moment: Keras will delete the
        whole directory, in any."""
        if self._callback.delete_checkpoint:
            for name in reversed(_OF_KERAS):
                Path(self.directory, name).unlink(missing_ok=True)

    def _found(self):
        with contextlib.suppress(OSError):
            stat = os.stat(os.path.join(self.directory, _OF_KERAS[-1]))
            return stat.st_mtime_ns, stat.st_size, stat.st_ino


def delete_broken(callbacks):
    """Deletes files of a `BackupAndRestore` that a kill has broken, by which it would refuse to begin, where the backup beside them
    has all that was in them.

    Warns:
        RuntimeWarning: it has done so.
    """
    for callback in keras.tree.flatten(callbacks):
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            files = [Path(callback.backup_dir) / name for name in _OF_KERAS]
            if not _whole(*files) and _is_state(Path(callback.backup_dir) / FILE):
                for file in files:
                    file.unlink(missing_ok=True)
                text = f"The files of BackupAndRestore in {callback.backup_dir!r} were broken, and are deleted: {FILE} has all."
                warnings.warn(text, RuntimeWarning, stacklevel=3)


def _is_state(path):
    try:
        return bool(read_state(path))
    except (OSError, StateFileError):
        return False


def _whole(weights, metadata):
    """Whether files that Keras has written can be read. Nothing is also whole."""
    try:
        if metadata.exists():
            json.loads(metadata.read_text())["epoch"]
        if weights.exists():
            with h5py.File(weights) as file:
                file.visititems(lambda name, item: item[()] if isinstance(item, h5py.Dataset) else None)
    except BlockingIOError:  # another process has it open
        return True
    except (OSError, RuntimeError, KeyError, TypeError, ValueError):
        return False
    return True
