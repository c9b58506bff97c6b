"""The engine: lets Keras's own `fit` train on chosen samples and tells the sampler what they lost.

`Model.fit` calls `model.train_function(iterator)` for every step. The engine puts a function of its own there just before,
and that function first puts back what was there: between steps, and whatever exception ends them, the model is as it was
found. The function gets the samples of the step, runs the model's own `train_step`, and gives the losses to the sampler.

Two ways of getting the samples: `DrawingEngine` lets a sampler draw them and hands them to the data set that `fit` iterates
over; `ImportanceSampling` chooses them out of the batch that `fit` brings.
"""

import time

import keras
import numpy as np

from importance_sampling import importance as importances
from importance_sampling.chooser import Chooser
from importance_sampling.sampler import check_batch_size
from importance_sampling.steps import TrainStep
from importance_sampling.stream_sampler import pool_of


class Engine(keras.callbacks.Callback):
    """Swaps the train function of the model for each step.

    Attributes:
        seconds: where the steps spent their time: dictionary of `"draw"`, `"read"`, `"step"` and `"update"`.
    """

    def __init__(self):
        super().__init__()
        self.seconds = {"draw": 0.0, "read": 0.0, "step": 0.0, "update": 0.0}
        self._found = None

    def on_train_batch_begin(self, batch, logs=None):
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
        self.model.train_function, self._found = self._found, None
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
            raise

    def _read(self, draw, iterator):
        self._feed.put(draw.read())
        return keras.utils.unpack_x_y_sample_weight(next(iterator))


class ImportanceSampling(Engine):
    """Importance sampling inside a plain `model.fit`: each batch of `fit` is the pool that the training batch is chosen from.

    Nothing else changes: arrays, `tf.data`, `PyDataset` and generators, class weights and sample weights go to `fit` as ever.
    Give `fit` the size of the pool as its batch size, and the callback that of the training batch. An epoch then has
    `N / fit's batch size` updates. The model is left as it was found, also after an exception.

    Args:
        batch_size: b, how many samples of each batch of `fit` are trained on; at most fit's own batch size.
        importance: `"oracle"`, `"gnorm"`, `"full_gnorm"`, `"pcg"`, `"uniform"`, or an importance object. `"approx"` keeps a
            history of each sample: for it the data set gives `(x, y, indices)`, whole numbers in place of sample weights,
            see `with_indices`.
        k, smoothing, draws, reweighting, seed: see `ImportanceSampler`.
        size: N, the number of indices, for `"approx"`.
        classes: number of classes, for `"approx"`.

    Raises:
        ValueError: an argument breaks one of these rules; from `fit`, before the first step, where the data do.

    Example:
        >>> import keras, numpy as np
        >>> x = np.random.default_rng(0).normal(size=(512, 4)).astype("float32")
        >>> y = (x.sum(axis=1) > 0).astype("int64")
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
        >>> model.compile("adam", "sparse_categorical_crossentropy")
        >>> callback = ImportanceSampling(batch_size=32, importance="oracle", seed=0)
        >>> history = model.fit(x, y, batch_size=128, epochs=2, callbacks=[callback], verbose=0)
        >>> int(model.optimizer.iterations)
        8
    """

    def __init__(
        self,
        batch_size,
        importance="oracle",
        k=0.5,
        smoothing="adaptive",
        draws="multinomial",
        reweighting="rescaled",
        seed=None,
        size=None,
        classes=None,
    ):
        super().__init__()
        check_batch_size(batch_size)
        importances.resolve(importance, keras.Model)
        self._settings = dict(k=k, smoothing=smoothing, draws=draws, reweighting=reweighting, seed=seed)
        Chooser("uniform", **self._settings)  # refuses bad settings now
        self._importance = importance
        self._batch_size = batch_size
        self._size, self._classes = size, classes
        self._chooser = None
        self._seen = 0

    @property
    def sampler(self):
        """What chooses; None before the first `fit`."""
        return self._chooser

    def on_train_begin(self, logs=None):
        if self._chooser is None:
            importance = importances.resolve(self._importance, self.model)
            if importance.uses_indices and self._size is None:
                raise ValueError(
                    "`size` must be given for an importance that keeps a history of each sample. Received: size=None, "
                    f"importance={type(importance).__name__}"
                )
            self._chooser = Chooser(importance, **self._settings)
            self._chooser.build(self._size, self._classes)
            self._step = TrainStep(self.model, gnorm=importance.of == "gnorm")
        self._prepared = False

    def _draw(self, iterator):
        batch = keras.utils.unpack_x_y_sample_weight(next(iterator))
        x, y, own = (None if part is None else keras.tree.map_structure(np.asarray, part) for part in batch)
        found = len(keras.tree.flatten(x)[0])
        indices = np.arange(self._seen, self._seen + found)
        self._seen += found
        if self._chooser.importance.uses_indices:
            if own is None or keras.tree.is_nested(own) or own.dtype.kind not in "iu":
                raise ValueError(
                    "`x` must give batches (x, y, indices) for an importance that keeps a history of each sample; see "
                    "with_indices. Received: batches without whole numbers in the place of sample weights"
                )
            indices, own = own, None
        if not self._prepared:
            if found < self._batch_size:
                raise ValueError(
                    f"`batch_size` of ImportanceSampling must be at most that of fit. Received: {self._batch_size} of {found}"
                )
            self._step.prepare(x, y)
            self._prepared = True
        return self._chooser.choose(pool_of((x, y, own), self._chooser.importance, indices), self._batch_size)

    def _read(self, draw, iterator):
        return draw.read()


def with_indices(dataset):
    """Puts the place of each sample where `ImportanceSampling` looks for it.

    Args:
        dataset: a `tf.data.Dataset` of single samples `(x, y)`, before it is shuffled and batched.

    Returns:
        A `tf.data.Dataset` of `(x, y, index)`.

    Example:
        >>> import tensorflow as tf
        >>> dataset = with_indices(tf.data.Dataset.from_tensor_slices(([[1.0], [2.0]], [0, 1]))).shuffle(2).batch(2)
    """
    return dataset.enumerate().map(lambda index, sample: (*sample, index))


def _unweighted(values, draw):
    """What each sample contributed without its importance weight, `(b,)`; NaN where that weight is 0."""
    if values is None:
        return None
    contributions = np.asarray(values, np.float64)
    return np.divide(contributions, draw.weights, out=np.full(len(draw), np.nan), where=draw.weights > 0)
