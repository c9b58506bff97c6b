"""The engine: lets Keras's own `fit` train on chosen samples and tells the sampler what they lost.

`Model.fit` calls `model.train_function(iterator)` for every step. The engine puts a function of its own there just before,
and that function first puts back what was there: between steps, and whatever exception ends them, the model is as it was
found. The function gets the samples of the step, runs the model's own `train_step`, and gives the losses to the sampler.
An exception of another callback, between the two, leaves the function there; the next `fit` resets `model.stop_training`, by
which the function sees that its step is over, and puts back what was there.

There are two ways of getting the samples: `DrawingEngine` lets a sampler draw them, and `fit` iterates over nothing but a
look at their shapes; the callback `ImportanceSampling` chooses them out of the batch that `fit` brings.
"""

import contextlib
import dataclasses
import math
import time

import keras
import numpy as np

from importance_sampling.data.dataset import endless_dataset
from importance_sampling.data.inputs import check_targets
from importance_sampling.data.mapping import SampleMap
from importance_sampling.data.structures import size_of, take
from importance_sampling.importance import Oracle
from importance_sampling.model.finite import not_finite
from importance_sampling.model.replicas import check_divisible, out_of_scope, replicas_of


class Engine(keras.callbacks.Callback):
    """Swaps the train function of the model for each step.

    Args:
        map: None or a function for every chosen sample, see `SampleMap`, or that object.
        on_step: None or a function that is called after each step with its `Draw` and the losses of its samples.

    Attributes:
        seconds: where the steps spent their time: dictionary of `"draw"`, `"read"`, `"step"` and `"update"`.
    """

    def __init__(self, map=None, on_step=None):
        super().__init__()
        self.seconds = {"draw": 0.0, "read": 0.0, "step": 0.0, "update": 0.0}
        self._map = map if map is None or isinstance(map, SampleMap) else SampleMap(map)
        if on_step is not None and not callable(on_step):
            raise TypeError(f"`on_step` must be a function of (draw, losses). Received: on_step={on_step!r}")
        self._on_step = on_step
        self._found = None

    def on_train_begin(self, logs=None):
        left = getattr(self.model.train_function, "__self__", None)
        if isinstance(left, Engine):  # by an exception in another callback, just before a step of an earlier `fit`
            left._restore()
        self._replicas = replicas_of(self.model)
        check_divisible(self._batch_size, self._replicas)
        if type(self.model).make_train_function is not keras.Model.make_train_function:
            raise ValueError(
                "`model.make_train_function` must be that of Keras, whose steps this library makes its own. "
                f"Received: one of {type(self.model).__name__}"
            )

    def on_train_batch_begin(self, batch, logs=None):
        found = self.model.train_function
        if found is None:
            raise ValueError("`model.compile` must not be called while `fit` runs. Received: a model compiled since it began")
        if isinstance(getattr(found, "__self__", None), Engine) and self._found is None:
            raise ValueError("`callbacks` must have one ImportanceSampling. Received: a model that another one trains")
        self._found = self._found or found
        self.model.train_function = self._train_function
        self.model.stop_training = self.model.stop_training or _Now()

    def on_train_end(self, logs=None):
        self.close()

    def close(self):
        """Leaves the model as it was found. Also called when training ends by an exception."""
        self._restore()

    def _restore(self):
        if self._found is not None:
            self.model.train_function, self._found = self._found, None

    def _train_function(self, iterator):
        """Runs the steps of one execution, fewer where the epoch ends. Returns the logs of the last."""
        found, stop = self._found, self.model.stop_training
        self._restore()
        if stop is False:  # a later `fit` has begun, the one that this step belonged to never came to it
            return found(iterator)
        self.model.stop_training = bool(stop)
        logs = None
        for _ in range(self._steps()):
            try:
                logs = self._train_once(iterator)
            except StopIteration:
                if logs is None:
                    raise
                break
        return logs

    def _steps(self):
        return self.model.steps_per_execution

    def _train_once(self, iterator):
        start = time.perf_counter()
        draw = self._draw(iterator)
        check_divisible(len(draw), self._replicas)
        drawn = time.perf_counter()
        batch = self._mapped(draw.read(), self._chooser.rng)
        read = time.perf_counter()
        alpha = draw.weights if self._chooser.importance.of else None  # plain fit has none
        logs, per_sample = self._step(*batch, alpha)
        losses, gnorms = (_unweighted(values, draw) for values in per_sample)
        trained = time.perf_counter()
        out_of_scope(self._chooser.update, draw, losses, gnorms)
        spent = (drawn - start, read - drawn, trained - read, time.perf_counter() - trained)
        for name, duration in zip(self.seconds, spent):
            self.seconds[name] += duration
        if self._on_step is not None:  # without the pool, which a draw that is kept would keep alive
            self._on_step(dataclasses.replace(draw, read=lambda: batch), losses)
        return logs

    def _mapped(self, batch, rng):
        return batch if self._map is None else self._map(batch, rng)

    def _check_finite(self, batch, places):
        """Refuses targets of a batch as it is read that are not finite and that the loss does not mask."""
        rows = not_finite(batch[1])
        if len(rows):
            x, y, _ = self._mapped(take(batch, rows), np.random.default_rng(0))
            out_of_scope(self._step.check_finite, x, y, places[rows])

    def _example(self, batch):
        """A batch as the model will see it, before the first step.

        Raises:
            ValueError: `map` makes of it what the importance cannot score.
        """
        example = self._mapped(batch, np.random.default_rng(0))
        if self._map and isinstance(self._chooser.importance, Oracle) and _form(example[0]) != _form(batch[0]):
            raise ValueError(
                "`map` must keep the shape and type of x for an importance that scores by the model, which sees the samples "
                f"without it. Received: {_form(example[0])} for {_form(batch[0])}"
            )
        return example


class DrawingEngine(Engine):
    """Trains on the draws of a sampler.

    Args:
        step: the `TrainStep` of the model.
        sampler: an `ImportanceSampler` or `StreamSampler`.
        batch_size: b.
        steps_per_epoch: updates in each epoch; None ends each where the sampler's draws run out, as Keras does at the end of data.
        doubtful: `(n,)` ints, samples whose targets are not finite: a loss that masks them is to be shown one.
        map, on_step: see `Engine`.
    """

    def __init__(self, step, sampler, batch_size, steps_per_epoch, doubtful=(), map=None, on_step=None):
        super().__init__(map, on_step)
        self._step = step
        self._chooser = sampler
        self._batch_size = batch_size
        self._steps_per_epoch = steps_per_epoch
        self._doubtful = doubtful

    def dataset(self):
        """What `fit` iterates over: it takes the shapes of a batch from there, to build the model, and no batch at all.

        Raises:
            ValueError: the first samples cannot be trained on.
        """
        first = self._chooser.example(self._batch_size)
        check_targets(first[1])
        self._first, self._given = self._example(first), first
        return endless_dataset(self._first)

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        x, y, _ = self._first
        out_of_scope(self._step.prepare, x, y)
        if len(self._doubtful):
            self._check_finite(self._chooser.source[self._doubtful], self._doubtful)
        else:
            self._check_finite(self._given, np.arange(size_of(self._given)))
        del self._given

    def on_epoch_begin(self, epoch, logs=None):
        self._left = math.inf if self._steps_per_epoch is None else self._steps_per_epoch
        self._chooser.begin_epoch(to_the_end=self._steps_per_epoch is None)

    def close(self):
        """Leaves the model as it was found, and ends the reading of the data."""
        self._chooser.close()
        super().close()

    def _steps(self):
        return min(super()._steps(), self._left)

    def _draw(self, iterator):
        self._left -= 1
        return out_of_scope(self._chooser.draw, self._batch_size)


class _Now:
    """What `model.stop_training` is from `on_train_batch_begin` to the step; as false as the False of a `fit` that begins."""

    def __bool__(self):
        return False


def _form(structure):
    """Shapes and types of single samples."""
    return keras.tree.map_structure(lambda leaf: f"{keras.backend.standardize_dtype(leaf.dtype)}{tuple(leaf.shape[1:])}", structure)


def _unweighted(values, draw):
    """What each sample contributed without its importance weight, `(b,)`; NaN where that weight is 0."""
    if values is None:
        return None
    contributions = np.asarray(values, np.float64)
    return np.divide(contributions, draw.weights, out=np.full(len(draw), np.nan), where=draw.weights > 0)


@contextlib.contextmanager
def joined(callbacks, engine):
    """The user's callbacks and the engine, last, so that no other comes between it and the step; a `CallbackList` gets it only
    for the time of the context."""
    a_list = isinstance(callbacks, keras.callbacks.CallbackList)
    given = callbacks.callbacks if a_list else [] if callbacks is None else keras.tree.flatten(callbacks)
    if any(isinstance(callback, Engine) for callback in given):
        raise ValueError("`callbacks` must have no ImportanceSampling: ImportanceTraining chooses already. Received: one")
    if not a_list:
        yield [*given, engine]
        return
    callbacks.callbacks.append(engine)
    try:
        yield callbacks
    finally:
        callbacks.callbacks.remove(engine)
