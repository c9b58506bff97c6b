"""Going on with a `fit` that was killed: what is saved, when, and how it is taken up again.

One state has all that a step depends on, so that it is of one moment, whatever else was written or not when the process died.
"""

import inspect
import warnings

import keras

from importance_sampling.data.large import only_written
from importance_sampling.data.state_file import StateFileError
from importance_sampling.fit.backup import BackupFile, backup_among
from importance_sampling.fit.beside_keras import FILE
from importance_sampling.model.metrics import build_metrics
from importance_sampling.model.probe import fixed_batch_size
from importance_sampling.model.snapshot import assign, check_values, is_ready, trained, value_of, values_of


class Resuming:
    """The backups of one `fit`, and its place in it. Without a callback that asks for backups it only counts.

    Args:
        engine: the callback that trains.
        batch_size: b.
        get_state, set_state: functions, of what was learnt about the samples.

    Attributes:
        passes_over (int): so many steps are still to be passed over in this epoch, since they were done before a kill.
    """

    def __init__(self, engine, batch_size, get_state, set_state):
        self._model, self._get_state, self._set_state = engine.model, get_state, set_state
        self._params = engine.params or {}
        self._kind = {"by": type(engine).__name__, "batch_size": batch_size, "steps": self._params.get("steps")}
        self._epoch, self._step, self.passes_over = 0, 0, 0
        self._done = self._saved = self._between = 0  # steps in all; those at the last backup; the most between two
        self._restored = self._begin_at = None
        self._found = getattr(self._model, "_initial_epoch", None)
        backup = backup_among(_siblings(), engine)
        self._backup, self._file = backup, backup and BackupFile(backup)

    def restore(self):
        """Goes on with the backup, if there is one: the model, and what was learnt. The first epoch is then that of the backup.

        Raises:
            ValueError: it is of another model, other data or another importance, or, in an epoch that was begun, of other steps.
            StateFileError: it is damaged, or no backup.
        """
        if self._file is None:
            return
        state = self._file.read()
        if state is None:
            self._begin()
            return
        self._check(state)
        hint = "" if is_ready(self._model) else ", which must be built before `fit`, as the model's own train_step does"
        variables = trained(self._model)
        check_values(variables, state["model"], f"model and optimizer{hint}")
        if state["learnt"]:
            self._set_state(state["learnt"])
        self._check_place(state)
        updates = self._updates()
        if updates > state["iterations"] + state["between"]:  # more than the one that a kill cost
            self._warn(
                "The backup of what was learnt about the samples is older than that of the model, which goes on with it. Received: "
                f"update {state['iterations']} of {updates}"
            )
            return
        assign(variables, state["model"])
        self._done = self._saved = state["done"]
        self._between = state["between"]
        self._restored, self._begin_at = state, (state["epoch"], state["step"])
        self._model._initial_epoch = state["epoch"]  # private, as Keras's own BackupAndRestore does: there is no other way in a fit

    def begin_epoch(self, epoch):
        """Told at the beginning of an epoch, when metrics are reset."""
        self._epoch, self._step = epoch, 0
        begin_at, self._begin_at = self._begin_at, None
        self.leave_as_found()
        if begin_at is not None and begin_at[0] == epoch:
            self.passes_over = begin_at[1]
        if not self.passes_over:
            self._restored = None

    def pass_over(self, x, y):
        """Told of each step that is passed over, and a batch as the model sees it. Returns the logs at the backup."""
        if not self._step:
            self._restore_metrics(x, y)
        self._step += 1
        self.passes_over -= 1
        if not self.passes_over:  # what callbacks have done to the model at the beginning of this epoch they did before
            assign(trained(self._model), self._restored["model"])
            self._restored = None
        return self._model.get_metrics_result() if self._has_metrics else {}

    def check_end(self):
        """Told that the data of an epoch have come to their end.

        Raises:
            ValueError: more steps of it were done before.
        """
        if self.passes_over:
            rule = "the data must have as many batches as before the kill, of whose epoch a backup was made"
            raise ValueError(f"{rule}. Received: {self._step} of {self._step + self.passes_over}")

    def stepped(self):
        """Told of each step that was done."""
        self._step += 1
        self._done += 1

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
        self.leave_as_found()

    def leave_as_found(self):
        """Once Keras has read it."""
        if self._file is not None:
            self._model._initial_epoch = self._found

    def _begin(self):
        """Where there is no backup. Beside those of Keras one is written at once, of a training in which nothing was learnt: the
        first of Keras and ours are two files, and a kill may come between."""
        if self._backup.begun:
            self._warn("There is no backup of what was learnt about the samples: it begins anew.")
        elif is_ready(self._model) and (first_after := self._backup.first_after(self._params.get("steps"))):
            self._save((None, 0), dict, first_after)

    def _check(self, state):
        """Refuses a backup of another `fit`."""
        if not {"model", "learnt", "done", *self._kind} <= set(state):
            raise StateFileError(f"{FILE!r} must be written by Backup. Received: a state of something else, in {self._file.path!r}")
        self._check_same(state, "by", "made by the same kind of training")

    def _check_place(self, state):
        """Refuses one of an epoch that was begun with other steps; a new epoch may have others."""
        if state["step"]:
            self._check_same(state, "batch_size", "of the same `batch_size`, since it is of an epoch that was begun")
            self._check_same(state, "steps", "of the same number of steps in an epoch, since it is of one that was begun")

    def _check_same(self, state, name, rule):
        if state[name] != self._kind[name]:
            raise ValueError(f"the backup must be {rule}: {self._kind[name]}. Received: {state[name]}")

    def _restore_metrics(self, x, y):
        build_metrics(self._model, x, y, fixed_batch_size(self._model))
        variables, values = self._model.metrics_variables, self._restored["metrics"]
        try:
            check_values(variables, values, "metrics")
        except ValueError as error:  # as of a train_step that updates one of its own
            self._warn(f"The metrics of this epoch count from here, not from its beginning: {error}")
            self._has_metrics = False
        else:
            assign(variables, values)
            self._has_metrics = True

    def _write(self, place):
        if self._backup is None or not self._backup.is_due() or self._done == self._saved:  # as where steps are passed over
            return
        self._between = max(self._between, self._done - self._saved)
        self._save(place, self._get_state, self._between)
        self._saved = self._done

    def _save(self, place, get_state, between):
        with only_written():
            state = {
                **self._kind,
                "epoch": place[0],
                "step": place[1],
                "done": self._done,
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


def _siblings():
    """The callbacks of the `fit` that is beginning. A callback is not told of the others: the list is found among its callers."""
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, keras.callbacks.CallbackList):
            return list(caller.callbacks)
        frame = frame.f_back
    return []
