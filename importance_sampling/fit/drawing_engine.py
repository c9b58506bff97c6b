"""The engine of `ImportanceTraining`: a sampler draws, `fit` counts the steps."""

import contextlib
import math

import keras
import numpy as np

from importance_sampling.data.dataset import endless_dataset
from importance_sampling.data.inputs import check_targets
from importance_sampling.data.structures import size_of
from importance_sampling.fit.engine import Engine
from importance_sampling.fit.read_ahead import ReadAhead
from importance_sampling.model.replicas import check_divisible


class DrawingEngine(Engine):
    """Trains on the draws of a sampler.

    Args:
        step: the `TrainStep` of the model.
        sampler: an `ImportanceSampler` or `StreamSampler`.
        batch_size: b.
        steps_per_epoch: updates in each epoch; None ends each where the sampler's draws run out, as Keras does at the end of data.
        doubtful: `(n,)` ints, samples whose targets are not finite: a loss that masks them is to be shown one.
        hooks, logs: see `Engine`.
        read_ahead: whether the samples of the next step are read while a step runs.
    """

    def __init__(self, step, sampler, batch_size, steps_per_epoch, doubtful, hooks, logs, read_ahead):
        super().__init__(hooks, batch_size, logs)
        self._read_ahead = ReadAhead(sampler.coming, super()._read) if read_ahead else None
        self._step = step
        self._sampler = sampler
        self._steps_per_epoch = steps_per_epoch
        self._doubtful = doubtful

    def dataset(self, held_out):
        """What `fit` iterates over: it takes the shapes of a batch from there, to build the model, and no batch at all.

        Args:
            held_out (bool): whether samples are held back for validation, which `map` does not see.

        Raises:
            ValueError: the first samples cannot be trained on.
        """
        first = self._sampler.example(self._batch_size)
        check_targets(first[1])
        self._first, self._given = self._example(first, held_out), first
        return endless_dataset(self._first)

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        x, y, own = self._first
        self._outside(self._prepare_step)(x, y, own)
        self._prepare_sampler(self._sampler.pool_size(self._batch_size))
        if len(self._doubtful):
            self._check_finite(self._sampler.source[self._doubtful], self._doubtful)
        else:
            self._check_finite(self._given, np.arange(size_of(self._given)))
        del self._given
        self._draw_one, self._learn = self._outside(self._sampler.draw), self._outside(self._sampler.update)
        self._resume(self._sampler.get_state, self._sampler.set_state)
        self._swap()

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        self._left = math.inf if self._steps_per_epoch is None else self._steps_per_epoch
        self._sampler.begin_epoch(to_the_end=self._steps_per_epoch is None)

    def close(self):
        """Leaves the model as it was found, and ends the reading of the data."""
        self._sampler.close()
        if self._read_ahead is not None:
            self._read_ahead.close()
        super().close()

    def _train_function(self, iterator):
        if not self._due:  # another callback trains the model in a way of its own
            return self._found(iterator)
        self._due = False
        steps = min(self.model.steps_per_execution, self._left)
        self._left -= steps
        return self._train(iterator, steps)

    def _read(self, draw, step):
        return super()._read(draw, step) if self._read_ahead is None else self._read_ahead(draw, step)

    def _passed(self, iterator):
        self._sampler.pass_over()
        return self._first[:2]

    def _draw(self, iterator):
        draw = self._draw_one(self._batch_size)
        check_divisible(len(draw.indices), self._replicas)
        return draw


@contextlib.contextmanager
def joined(callbacks, engine):
    """The user's callbacks and the engine, last, so that no other comes between it and the step; a `CallbackList` gets it only
    for the time of the context."""
    a_list = isinstance(callbacks, keras.callbacks.CallbackList)
    given = list(callbacks.callbacks) if a_list else [] if callbacks is None else keras.tree.flatten(callbacks)
    if any(isinstance(callback, Engine) for callback in given):
        raise ValueError("`callbacks` must have no ImportanceSampling: ImportanceTraining chooses already. Received: one")
    ours = [*given, engine]
    if not a_list:
        yield ours
        return
    callbacks.callbacks[:] = ours
    engine.set_params(callbacks.params)
    try:
        yield callbacks
    finally:
        callbacks.callbacks[:] = given
