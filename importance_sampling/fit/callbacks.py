"""The drop-in callback: importance sampling inside the `model.fit` that a user has."""

import copy
import dataclasses
import warnings
import weakref

import numpy as np

from importance_sampling.arguments import truth, whole_number
from importance_sampling.copying import deep_copied
from importance_sampling.data.arrays import of_fit
from importance_sampling.data.indices import checked_indices, unpacked
from importance_sampling.data.inputs import check_targets
from importance_sampling.data.labels import Apart
from importance_sampling.data.state_file import Saved
from importance_sampling.data.structures import check_lengths, map_arrays, size_of, take, without_gaps
from importance_sampling.fit.engine import Engine
from importance_sampling.fit.hooks import Hooks
from importance_sampling.fit.sampler_of import check_indexed, classes_of_batch
from importance_sampling.importance.base import check_kind
from importance_sampling.model.replicas import check_divisible, local_batch
from importance_sampling.model.steps import TrainStep
from importance_sampling.sampling.batch_size import Fixed
from importance_sampling.sampling.pool_sampler import PoolSampler
from importance_sampling.sampling.seeds import seeds_of
from importance_sampling.sampling.settings import Settings
from importance_sampling.sampling.stream_sampler import labels_of, shared
from importance_sampling.types import Pool


class ImportanceSampling(Saved, Engine):
    """Importance sampling inside a plain `model.fit`: each batch of `fit` is the pool that the training batch is chosen from.

    Nothing else changes: arrays, `tf.data`, `PyDataset` and generators, class weights and sample weights go to `fit` as ever.
    Give `fit` the size of the pool as its batch size, and the callback that of the training batch. An epoch then has
    `N / fit's batch size` updates. Where both sizes are the same there is nothing to choose, which is warned of. Where the last
    batch of an epoch is no larger than the training batch, all of it is trained on.

    The model is left as it was found, also after an exception. Give it as the last of the callbacks: of one that comes after it and
    fails just before a step, this callback learns in the next `fit` only, whose first step then undoes what was left. On the same
    model the callback goes on with what it has learnt; take a new one for other data. On another model it starts anew.

    Args:
        batch_size (int): b, how many samples of each batch of `fit` are trained on; at most fit's own batch size.
        importance (name, class, object or function, default "oracle"): see `ImportanceTraining`. `"approx"` keeps a history of each
            sample, for which it needs a stable index: see `with_indices`.
        k, smoothing, draws, reweighting, batch_size_rule, seed: see `ImportanceSampler`.
        map (function, default None): applied to every chosen sample, see `ImportanceTraining`.
        on_step (function, default None): called after each step with the `Draw` and its losses, see `ImportanceTraining`. Without
            `with_indices` its indices count the samples as they come.
        logs (bool, default False): whether logs also tell of the draws, see `ImportanceTraining`.

    Attributes:
        sampler: what chooses; None before the first `fit`.
        seconds: where the steps spent their time: dictionary of `"draw"`, `"read"`, `"step"` and `"update"`.

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
        k=None,
        smoothing=None,
        draws="systematic",
        reweighting="rescaled",
        seed=None,
        map=None,
        on_step=None,
        batch_size_rule=None,
        logs=False,
    ):
        super().__init__(Hooks(map, on_step), whole_number("batch_size", batch_size, least=1), truth("logs", logs))
        self._settings = Settings.of(
            importance, k=k, smoothing=smoothing, draws=draws, reweighting=reweighting, batch_size_rule=batch_size_rule
        )
        self._seed = seed
        seeds_of(seed)  # refuses what is none
        self._model_of_step = None
        self._built = False
        self._seen = 0
        self._restored = None

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        known = self._model_of_step is not None and self._model_of_step() is self.model
        if not known or self._step is None:
            learnt = self._sampler.get_state() if known and self._built else None  # by the callback that this is a copy of
            settings = self._settings.bound(self.model)
            self._sampler = PoolSampler(settings, self._seed, self._replicas)
            self._step = TrainStep(self.model, gnorm=settings.uses_gnorms, weighted=settings.weighs)
            self._model_of_step = weakref.ref(self.model)
            self._built, self._learnt = False, learnt
        self._learn = self._outside(self._sampler.update)
        self._prepared = False
        if self._restored is not None:
            self._go_on_with(self._restored)
        self._resume(self._state, self._go_on_with)

    def get_state(self):
        """What was learnt about the samples, and what the next choice depends on; not the model, which Keras saves.

        Raises:
            ValueError: it has not trained yet.
        """
        if not self._built:
            raise ValueError("`get_state` must come after `fit`. Received: no fit")
        return self._state()

    def set_state(self, state):
        """Makes the next `fit` go on from `get_state`, in an object made with the same arguments, on the same data.

        A `fit` that is refused leaves it for the next. None takes back a state that was set.

        Raises:
            ValueError: it is no such state; from `fit`, where it is of another importance.
        """
        if state is not None and not (isinstance(state, dict) and {"seen", "kind"} <= set(state)):
            raise ValueError(f"`state` must be what `get_state` returned. Received: {state!r:.60}")
        self._restored = state

    def _state(self):
        return {**self._sampler.get_state(), "seen": self._seen}

    def _go_on_with(self, state):
        check_kind(state, self._sampler.importance)
        self._built, self._learnt, self._seen = False, state, int(state["seen"])  # the first batch builds the sampler

    def __deepcopy__(self, memo):
        """The same settings and what was learnt, for any model; with that of this callback it goes on, with another it starts anew.

        The model is not copied. The user's functions are shared, and so is the model of an `Oracle` that was given.
        """
        model = self._model_of_step and self._model_of_step()
        copied = deep_copied(
            self, memo, shared=("_settings", "_sampler", "_step", "_model", "_found", "_hooks", "_fit", "_learn", "resuming")
        )
        importance = copy.deepcopy(self._settings.importance, {**memo, id(model): memo.get(id(model), model)})
        copied._settings = dataclasses.replace(self._settings, importance=importance)
        copied._sampler = copy.deepcopy(self._sampler, {**memo, id(model): None})
        copied._step = copied._model = copied._found = copied._fit = copied._learn = copied.resuming = None
        return copied

    def _train_function(self, iterator):
        """Runs the steps of one execution, once the model is again as it was found."""
        found = self._found
        self._restore()
        if getattr(self.model, "history", None) is not self._fit:  # the `fit` that this step belonged to never came to it
            return found(iterator)
        return self._train(iterator, self.model.steps_per_execution)

    def _passed(self, iterator):
        _, batch = self._next_batch(iterator)
        return self._hooks.looked_at(take(batch, slice(self._batch_size)))[:2]

    def _next_batch(self, iterator):
        """The next batch of `fit`: its indices or None, and `(x, y, sample_weight)`."""
        indices, batch = unpacked(next(iterator))
        indices, *batch = local_batch(self.model.distribute_strategy, map_arrays(of_fit, (indices, *batch)))
        check_lengths(*batch, where=" in each batch")
        return indices, (batch[0], batch[1], without_gaps(batch[2], size_of(batch[0])))

    def _draw(self, iterator):
        indices, (x, y, own) = self._next_batch(iterator)
        found = size_of(x)
        if not self._prepared:
            self._outside(self._prepare)((x, y, own), indices, found)
        if indices is None:
            indices = np.arange(self._seen, self._seen + found)
        else:
            indices = checked_indices(indices, found)
        self._seen += found
        pool = Pool(indices, labels_of((x, y, own), self._sampler, self._apart), lambda rows: take((x, y, own), rows))
        if found < self._batch_size:  # the last batch: some samples twice where the replicas cannot share it otherwise
            pool = shared(pool, self._replicas)
        draw = self._outside(self._sampler.choose)(pool, self._batch_size)
        check_divisible(len(draw.indices), self._replicas)
        return draw

    def _prepare(self, batch, indices, found):
        """Looks at the first batch of a `fit`, before the first step.

        Raises:
            ValueError: it cannot be trained on.
        """
        if found < self._batch_size:
            raise ValueError(
                f"`batch_size` of ImportanceSampling must be at most that of fit. Received: {self._batch_size} of {found}"
            )
        check_targets(batch[1])
        importance = self._sampler.importance
        check_indexed(importance, indices is not None, "or give the arrays to ImportanceTraining(model).fit")
        if found == self._batch_size and self._settings.weighs and isinstance(self._sampler.batch_size_rule, Fixed):
            warnings.warn(
                "There is nothing to choose: give `fit` a larger `batch_size`, that of the pool, of which ImportanceSampling takes "
                f"{found}. Received: batches of {found}, all of which are trained on",
                RuntimeWarning,
                stacklevel=2,
            )
        if not self._built:
            self._apart = Apart(self.model)
            self._sampler.build(None, classes_of_batch(self.model, importance, batch[1], self._apart))
            if self._learnt is not None:
                self._sampler.set_state(self._learnt)
                if self._restored is not None:  # what was decided before this fit is not said again
                    self._said_before = self._shown = len(self._decisions)
            self._built, self._learnt, self._restored = True, None, None
        x, y, own = self._example(take(batch, slice(self._batch_size)))
        self._prepare_step(x, y, own)
        self._prepare_sampler(found)
        self._check_finite(batch, np.arange(found) if indices is None else indices)
        self._prepared = True
