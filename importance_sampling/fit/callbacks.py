"""The drop-in callback: importance sampling inside the `model.fit` that a user has."""

import copy
import weakref

import keras
import numpy as np

from importance_sampling import importance as importances
from importance_sampling.copying import deep_copied
from importance_sampling.data.arrays import of_fit
from importance_sampling.data.inputs import check_targets
from importance_sampling.data.labels import Apart
from importance_sampling.data.streams import checked_indices
from importance_sampling.data.structures import map_arrays, size_of, take, without_gaps
from importance_sampling.fit.engine import Engine
from importance_sampling.model.replicas import local_batch, out_of_scope
from importance_sampling.model.steps import TrainStep
from importance_sampling.sampling.pool_sampler import Chooser
from importance_sampling.sampling.sampler import check_batch_size
from importance_sampling.sampling.stream_sampler import pool_of


class ImportanceSampling(Engine):
    """Importance sampling inside a plain `model.fit`: each batch of `fit` is the pool that the training batch is chosen from.

    Nothing else changes: arrays, `tf.data`, `PyDataset` and generators, class weights and sample weights go to `fit` as ever;
    only where `size` is given, as `"approx"` needs it, the place of the sample weights is taken by indices.
    Give `fit` the size of the pool as its batch size, and the callback that of the training batch. An epoch then has
    `N / fit's batch size` updates. Where the last batch of an epoch is no larger than the training batch, all of it is trained on.

    The model is left as it was found, also after an exception. Give it as the last of the callbacks: of one that comes after it and
    fails just before a step, this callback learns in the next `fit` only, whose first step then undoes what was left. On the same
    model the callback goes on with what it has learnt; take a new one for other data. On another model it starts anew.

    Args:
        batch_size: b, how many samples of each batch of `fit` are trained on; at most fit's own batch size.
        importance: `"oracle"`, `"gnorm"`, `"full_gnorm"`, `"pcg"`, `"uniform"`, or an importance object. `"approx"` keeps a
            history of each sample: for it the data set gives `(x, y, indices)`, whole numbers in place of sample weights,
            see `with_indices`.
        k, smoothing, draws, reweighting, seed: see `ImportanceSampler`.
        size: N, the number of samples. Given, the data set gives `(x, y, indices)`, as `"approx"` needs it.
        classes: number of classes, for `"approx"`; 0 for data without classes.
        map: a function for every chosen sample, see `ImportanceTraining`.
        on_step: a function called after each step with the `Draw` and its losses, see `ImportanceTraining`. Without
            `with_indices` its indices count the samples as they come.

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
        map=None,
        on_step=None,
    ):
        super().__init__(map, on_step)
        check_batch_size(batch_size)
        importances.resolve(importance, keras.Model)
        self._settings = dict(k=k, smoothing=smoothing, draws=draws, reweighting=reweighting, seed=seed)
        Chooser("uniform", **self._settings)  # refuses bad settings now
        self._importance = importance
        self._batch_size = batch_size
        self._size, self._classes = size, classes
        self._chooser = self._model_of_step = self._step = None
        self._seen = 0

    @property
    def sampler(self):
        """What chooses; None before the first `fit`."""
        return self._chooser

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._apart = Apart(self.model, self._classes)
        known = self._model_of_step is not None and self._model_of_step() is self.model
        if not known or self._step is None:
            importance = importances.resolve(self._importance, self.model)
            if importance.uses_indices and self._size is None:
                raise ValueError(
                    "`size` must be given for an importance that keeps a history of each sample. Received: size=None, "
                    f"importance={type(importance).__name__}"
                )
            chooser = Chooser(importance, **self._settings)
            out_of_scope(chooser.build, self._size, self._apart.more(self._classes))
            if known:  # by the callback that this is a copy of
                chooser.set_state(self._chooser.get_state())
            self._chooser = chooser
            self._step = TrainStep(self.model, gnorm=importance.of == "gnorm", weighted=importance.of is not None)
            self._model_of_step = weakref.ref(self.model)
        self._prepared = False

    def __deepcopy__(self, memo):
        """The same settings and what was learnt, for any model; with that of this callback it goes on, with another it starts anew.

        The model is not copied. The user's functions are shared, and so is the model of an `Oracle` that was given.
        """
        model = self._model_of_step and self._model_of_step()
        copied = deep_copied(self, memo, shared=("_importance", "_chooser", "_step", "_model", "_found", "_map", "_on_step"))
        copied._importance = copy.deepcopy(self._importance, {**memo, id(model): memo.get(id(model), model)})
        copied._chooser = copy.deepcopy(self._chooser, {**memo, id(model): None})
        copied._step = copied._model = copied._found = None
        return copied

    def _draw(self, iterator):
        batch = keras.utils.unpack_x_y_sample_weight(next(iterator))
        x, y, own = local_batch(self.model.distribute_strategy, map_arrays(of_fit, batch))
        found = size_of(x)
        own = without_gaps(own, found)
        indices = np.arange(self._seen, self._seen + found)
        self._seen += found
        if self._size is not None:
            indices, own = checked_indices(own, found, "batches (x, y, indices) where `size` is given, see with_indices"), None
        if not self._prepared:
            if found < self._batch_size:
                raise ValueError(
                    f"`batch_size` of ImportanceSampling must be at most that of fit. Received: {self._batch_size} of {found}"
                )
            check_targets(y)
            out_of_scope(self._step.prepare, *self._example(take((x, y, own), slice(self._batch_size)))[:2])
            self._check_finite((x, y, own), indices)
            self._prepared = True
        if found < self._batch_size and found % self._replicas:  # the last batch: some samples twice, so that it can be shared
            repeated = np.resize(np.arange(found), found + self._replicas - found % self._replicas)
            (x, y, own), indices = take((x, y, own), repeated), indices[repeated]
        pool = pool_of((x, y, own), self._chooser.labelled, indices, self._apart)
        return out_of_scope(self._chooser.choose, pool, self._batch_size)


def with_indices(dataset):
    """Puts the place of each sample where `ImportanceSampling` looks for it.

    Args:
        dataset: a `tf.data.Dataset` of single samples `(x, y)`, before it is shuffled and batched.

    Returns:
        A `tf.data.Dataset` of `(x, y, index)`. It is for training alone: in validation data the indices would be sample weights.

    Raises:
        ValueError: the samples are not `(x, y)`.

    Example:
        >>> import tensorflow as tf
        >>> dataset = with_indices(tf.data.Dataset.from_tensor_slices(([[1.0], [2.0]], [0, 1]))).shuffle(2).batch(2)
    """
    if not (isinstance(dataset.element_spec, tuple) and len(dataset.element_spec) == 2):
        raise ValueError(f"`dataset` must give samples (x, y). Received: {dataset.element_spec}")
    return dataset.enumerate().map(lambda index, sample: (*sample, index))
