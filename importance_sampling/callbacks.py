"""The engine: lets Keras's own `fit` train on drawn samples and tells the sampler what they lost.

`Model.fit` calls `model.train_function(iterator)` for every step. The engine puts a function of its own there just before,
and that function first puts back what was there: between steps, and whatever exception ends them, the model is as it was
found. The function asks the sampler for a draw, hands it to the data set, takes the batch from Keras's iterator, runs the
model's own `train_step`, and gives the losses to the sampler.
"""

import time

import keras
import numpy as np


class ImportanceEngine(keras.callbacks.Callback):
    """Swaps the train function of the model for each step.

    Args:
        step: the `TrainStep` of the model.
        sampler: an `ImportanceSampler`.
        feed: the `DrawFeed` of the data set that `fit` iterates over.
        batch_size: b.
        steps_per_epoch: updates in each epoch.
    """

    def __init__(self, step, sampler, feed, batch_size, steps_per_epoch):
        super().__init__()
        self.seconds = {"draw": 0.0, "read": 0.0, "step": 0.0, "update": 0.0}
        self._step = step
        self._sampler = sampler
        self._feed = feed
        self._batch_size = batch_size
        self._steps_per_epoch = steps_per_epoch
        self._found = None

    def on_train_begin(self, logs=None):
        x, y, _ = self._sampler.source[np.arange(self._batch_size)]
        self._step.prepare(x, y)
        self._feed.open()

    def on_epoch_begin(self, epoch, logs=None):
        self._left = self._steps_per_epoch

    def on_train_batch_begin(self, batch, logs=None):
        self._found = self.model.train_function
        self.model.train_function = self._train_function

    def on_train_end(self, logs=None):
        self.close()

    def close(self):
        """Leaves the model as it was found. Also called when training ends by an exception."""
        self._feed.close()
        self._give_back()

    def _give_back(self):
        if self._found is not None:
            self.model.train_function, self._found = self._found, None

    def _train_function(self, iterator):
        """Runs `steps_per_execution` steps, no further than the end of the epoch. Returns the logs of the last."""
        self._give_back()
        for _ in range(min(self.model.steps_per_execution, self._left)):
            logs = self._train_once(iterator)
            self._left -= 1
        return logs

    def _train_once(self, iterator):
        start = time.perf_counter()
        draw = self._sampler.draw(self._batch_size)
        drawn = time.perf_counter()
        self._feed.put(draw)
        data = next(iterator)
        read = time.perf_counter()
        x, y, own = keras.utils.unpack_x_y_sample_weight(data)
        logs, per_sample = self._step(x, y, own, draw.weights)
        losses, gnorms = (self._unweighted(values, draw) for values in per_sample)
        trained = time.perf_counter()
        self._sampler.update(draw, losses, gnorms)
        for name, spent in zip(
            ("draw", "read", "step", "update"),
            (drawn - start, read - drawn, trained - read, time.perf_counter() - trained),
        ):
            self.seconds[name] += spent
        return logs

    @staticmethod
    def _unweighted(values, draw):
        """What each sample contributed without its importance weight, `(b,)`; NaN where that weight is 0."""
        if values is None:
            return None
        contributions = np.asarray(values, np.float64)
        return np.divide(contributions, draw.weights, out=np.full(len(draw), np.nan), where=draw.weights > 0)
