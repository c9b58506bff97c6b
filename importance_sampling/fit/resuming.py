"""Going on with a `fit` that was killed: what is saved, when, and how it is taken up again.

One state has all that a step depends on, so that it is of one moment, whatever else was written or not when the process died.
"""

import inspect
import warnings

import keras

from importance_sampling.data.large import only_written
from importance_sampling.fit.backup import KINDS, BackupFile, backup_among
from importance_sampling.model.metrics import build_metrics
from importance_sampling.model.probe import fixed_batch_size
from importance_sampling.model.snapshot import assign, check_values, trained, value_of, values_of


class Resuming:
    """The backups of one `fit`, and its place in it. Without a callback that asks for backups it only counts.

    Args:
        engine: the callback that trains.
        get_state, set_state: functions, of what was learnt about the samples.

    Attributes:
        passes_over (int): so many steps are still to be passed over in this epoch, since they were done before a kill.
    """

    def __init__(self, engine, get_state, set_state):
        self._model, self._get_state, self._set_state = engine.model, get_state, set_state
        self._params = engine.params or {}
        self._epoch, self._step, self.passes_over = 0, 0, 0
        self._begin_at = self._metrics = None
        self._found = getattr(self._model, "_initial_epoch", None)
        backup = backup_among(_siblings(), engine)
        self._backup, self._file = backup, backup and BackupFile(backup)
        self._last, self._between = backup and self._updates(), 0  # updates at the last backup, and since that before

    def restore(self):
        """Goes on with the backup, if there is one: the model, and what was learnt. The first epoch is then that of the backup.

        Raises:
            ValueError: it is of another model, other data or another importance.
            StateFileError: it is damaged.
        """
        if self._file is None:
            return
        state = self._file.read()
        if state is None:
            self._begin()
            return
        variables = trained(self._model)
        check_values(variables, state["model"], "model and optimizer")
        if state["learnt"]:
            self._set_state(state["learnt"])
        if self._last > state["iterations"] + state["between"]:  # more than the one that a kill cost
            self._warn(
                "The backup of what was learnt about the samples is older than that of the model, which goes on with it. Received: "
                f"update {state['iterations']} of {self._last}"
            )
            return
        assign(variables, state["model"])
        self._last, self._between = state["iterations"], state["between"]
        self._begin_at, self._metrics = (state["epoch"], state["step"]), state["metrics"]
        self._model._initial_epoch = state["epoch"]  # private, as Keras's own BackupAndRestore does: there is no other way in a fit

    def begin_epoch(self, epoch):
        """Told at the beginning of an epoch, when metrics are reset."""
        self._epoch, self._step = epoch, 0
        begin_at, self._begin_at = self._begin_at, None
        self._leave_as_found()
        if begin_at is not None and begin_at[0] == epoch and begin_at[1]:
            self.passes_over = begin_at[1]

    def pass_over(self, x, y):
        """Told of each step that is passed over, and a batch as the model sees it. Returns the logs at the backup."""
        if self._metrics is not None:
            build_metrics(self._model, x, y, fixed_batch_size(self._model))
            check_values(self._model.metrics_variables, self._metrics, "metrics")
            assign(self._model.metrics_variables, self._metrics)
            self._metrics = None
        self._step += 1
        self.passes_over -= 1
        return self._model.get_metrics_result()

    def stepped(self):
        """Told of each step that was done."""
        self._step += 1

    def end_step(self):
        """Told after the steps of an execution: writes a backup if it is time."""
        self._write((self._epoch, self._step))

    def end_epoch(self):
        """Told after an epoch and its validation, likewise."""
        self._write((self._epoch + 1, 0))
        if self._backup and (self._model.stop_training or self._epoch + 1 == self._params.get("epochs")):
            self._backup.end()

    def end(self):
        """Told when training is finished."""
        if self._file is not None:
            self._file.delete()
        self._leave_as_found()

    def _leave_as_found(self):
        """Once Keras has read it."""
        if self._file is not None:
            self._model._initial_epoch = self._found

    def _begin(self):
        """Where there is no backup. Beside those of Keras one is written at once, of a training in which nothing was learnt: the
        first of Keras and ours are two files, and a kill may come between."""
        if self._backup.begun:
            self._warn("There is no backup of what was learnt about the samples: it begins anew.")
        elif self._backup.first_after(self._params.get("steps")):
            self._save((None, 0), dict, self._backup.first_after(self._params.get("steps")))

    def _write(self, place):
        if self._backup is None or not self._backup.is_due():
            return
        iterations = self._updates()
        if iterations == self._last:  # as where steps are passed over
            return
        self._between = max(self._between, iterations - self._last)
        self._save(place, self._get_state, self._between)
        self._last = iterations

    def _save(self, place, get_state, between):
        with only_written():
            state = {
                "epoch": place[0],
                "step": place[1],
                "iterations": self._updates(),
                "between": between,
                "model": values_of(trained(self._model)),
                "metrics": values_of(self._model.metrics_variables),
                "learnt": get_state(),
            }
            self._file.write(state)

    def _updates(self):
        return int(value_of(self._model.optimizer.iterations))

    def _warn(self, text):
        warnings.warn(text, RuntimeWarning, stacklevel=2)


class _Saves(keras.callbacks.Callback):
    """Lets the engine of `ImportanceTraining` write a backup as soon as the callback before has asked for one: nothing comes
    between. `ImportanceSampling`, which has no say in the order of callbacks, does so itself, as the last."""

    def __init__(self, engine):
        super().__init__()
        self._engine = engine

    def on_train_batch_end(self, batch, logs=None):
        self._engine.resuming.end_step()

    def on_epoch_end(self, epoch, logs=None):
        self._engine.resuming.end_epoch()


def with_saving(callbacks, engine):
    """The callbacks, and after each that asks for backups one that has them written."""
    pairs = [[callback, _Saves(engine)] if isinstance(callback, KINDS) else [callback] for callback in callbacks]
    return [callback for pair in pairs for callback in pair]


def _siblings():
    """The callbacks of the `fit` that is beginning. A callback is not told of the others: the list is found among its callers."""
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, keras.callbacks.CallbackList):
            return list(caller.callbacks)
        frame = frame.f_back
    return []
