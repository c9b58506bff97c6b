"""The engine: lets Keras's own `fit` train on chosen samples and tells the sampler what they lost.

`Model.fit` calls `model.train_function(iterator)` for every step. The engine puts a function of its own there just before,
and that function first puts back what was there: between steps, and whatever exception ends them, the model is as it was
found. The function gets the samples of the step, runs the model's own `train_step`, and gives the losses to the sampler.

There are two ways of getting the samples: `DrawingEngine` lets a sampler draw them and hands them to the data set that `fit`
iterates over; the callback `ImportanceSampling` chooses them out of the batch that `fit` brings.
"""

import time

import keras
import numpy as np


class Engine(keras.callbacks.Callback):
    """Swaps the train function of the model for each step.

    Attributes:
        seconds: where the steps spent their time: dictionary of `"draw"`, `"read"`, `"step"` and `"update"`.
    """

    def __init__(self):
        super().__init__()
        self.seconds = {"draw": 0.0, "read": 0.0, "step": 0.0, "update": 0.0}
        self._found = None

    def on_train_begin(self, logs=None):
        self.close()  # an exception in another callback, just before a step, may have left the last `fit` unfinished
        refuse_several_devices(self.model)

    def on_train_batch_begin(self, batch, logs=None):
        if self._found is None:
            self._found = self.model.train_function
            self.model.train_function = self._train_function

    def on_train_end(self, logs=None):
        self.close()

    def close(self):
        """Leaves the model as it was found."""
        if self._found is not None:
            self.model.train_function, self._found = self._found, None

    def _train_function(self, iterator):
        """Runs the steps of one execution, fewer where the epoch ends. Returns the logs of the last."""
        Engine.close(self)
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
        drawn = time.perf_counter()
        batch = self._read(draw, iterator)
        read = time.perf_counter()
        logs, per_sample = self._step(*batch, draw.weights)
        losses, gnorms = (_unweighted(values, draw) for values in per_sample)
        trained = time.perf_counter()
        self._chooser.update(draw, losses, gnorms)
        spent = (drawn - start, read - drawn, trained - read, time.perf_counter() - trained)
        for name, duration in zip(self.seconds, spent):
            self.seconds[name] += duration
        return logs


class DrawingEngine(Engine):
    """Trains on the draws of a sampler.

    Args:
        step: the `TrainStep` of the model.
        sampler: an `ImportanceSampler` or `StreamSampler`.
        feed: the `Feed` of the data set that `fit` iterates over.
        batch_size: b.
        steps_per_epoch: updates in each epoch.
    """

    def __init__(self, step, sampler, feed, batch_size, steps_per_epoch):
        super().__init__()
        self._step = step
        self._chooser = sampler
        self._feed = feed
        self._batch_size = batch_size
        self._steps_per_epoch = steps_per_epoch

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        x, y, _ = self._chooser.example(self._batch_size)
        self._step.prepare(x, y)
        self._feed.open()

    def on_epoch_begin(self, epoch, logs=None):
        self._left = self._steps_per_epoch

    def close(self):
        """Leaves the model as it was found. Also called when training ends by an exception."""
        self._feed.close()
        super().close()

    def _steps(self):
        return min(super()._steps(), self._left)

    def _draw(self, iterator):
        self._left -= 1
        try:
            return self._chooser.draw(self._batch_size)
        except StopIteration:
            self._feed.close()  # `fit` now drops its iterator, which must not go on waiting for a batch
            self.model.stop_training = True
            raise

    def _read(self, draw, iterator):
        self._feed.put(draw.read())
        return keras.utils.unpack_x_y_sample_weight(next(iterator))


def refuse_several_devices(model):
    """Refuses a model under a strategy with more than one replica.

    Raises:
        ValueError: it is.
    """
    replicas = model.distribute_strategy.num_replicas_in_sync
    if replicas > 1:
        raise ValueError(f"`model` must be on one device. Received: a strategy with {replicas} replicas")


def _unweighted(values, draw):
    """What each sample contributed without its importance weight, `(b,)`; NaN where that weight is 0."""
    if values is None:
        return None
    contributions = np.asarray(values, np.float64)
    return np.divide(contributions, draw.weights, out=np.full(len(draw), np.nan), where=draw.weights > 0)
