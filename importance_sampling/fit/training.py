"""`ImportanceTraining(model).fit(...)` in place of `model.fit(...)`."""

import keras
import numpy as np

from importance_sampling.arguments import number, truth, whole_number
from importance_sampling.copying import deep_copied
from importance_sampling.data.dataset import HeldOut
from importance_sampling.data.indices import without_indices
from importance_sampling.data.inputs import checked_class_weight
from importance_sampling.data.state_file import Saved
from importance_sampling.fit.beside_keras import delete_broken
from importance_sampling.fit.drawing_engine import DrawingEngine, joined
from importance_sampling.fit.given import Given
from importance_sampling.fit.hooks import Hooks
from importance_sampling.model.probe import check_fit
from importance_sampling.model.replicas import check_divisible, out_of_scope, replicas_of
from importance_sampling.model.steps import TrainStep
from importance_sampling.sampling.seeds import seeds_of
from importance_sampling.sampling.settings import Settings


class ImportanceTraining(Saved):
    """Trains a compiled Keras model by importance sampling.

    It is still `model.fit` that trains: callbacks, validation, progress bar and `History` are Keras's own, and so are the
    optimizer and the metrics. Only which samples make up a batch, and with what weights, is decided here.

    Calling `fit` again with the same arrays goes on with what was learnt about their samples, at the values they have by then;
    other data start anew.

    The parts (importance, smoothing, drawing rule, pools, reweighting, batch-size rule) may be given by name, as a class, an object
    or a function; see `register`.

    Args:
        model (keras.Model): compiled.
        importance (default "approx"): how important a sample is. `"approx"`: the loss predicted by an LSTM from the sample's past
            losses and its class (the paper's method); `"auto"`: what is measured to pay, see `Auto`; `"history"`: the moving mean
            of the gradient-norm bounds that its steps gave;
            `"oracle"`: the loss by a forward pass of the model itself; `"pcg"`: the mean loss of its class; `"gnorm"`,
            `"full_gnorm"`: by a forward pass, the bound on or the exact gradient norm; `"uniform"`.
        k (float, default None): number <= 1. 1 gives unbiased gradients; smaller moves towards the maximum loss (eq. 12 to 16).
            None is 0.5, and 1 for "auto" and for batches of equal variance.
        smoothing (default None): `"adaptive"` (half the mean training loss), `"measured"`, a constant >= 0, or `additive`,
            `adaptive`, `power`. None is "adaptive"; "auto" has its own.
        presample (int, default None): B, the candidates of each step, out of which the batch is chosen; above N it means all
            samples. None is 64 batches for "approx", "history" and "pcg" on arrays, and 1,024, or three batches, on batches of
            data, which are held in memory; three batches for "oracle", "gnorm" and "full_gnorm".
        draws, pools, reweighting, batch_size_rule: see `ImportanceSampler`.
        map (function, default None): of one sample, `(x, y)` to `(x, y)`, such as decoding or augmentation. It runs after the
            choice, for the chosen samples only, several at once. If it has a parameter `seed`, it is given one, `(2,)` int32, for
            stateless random functions. Importances that score by the model see the samples without it.
        on_step (function, default None): called after each step with its `Draw` and the losses of its samples: `(b,)` float64,
            times the user's own weights and without the importance weights, NaN for an importance weight of 0. `draw.read()` gives
            the samples as they were trained on.
        seed (int or numpy.random.SeedSequence, default None): with the same seed (and `keras.utils.set_random_seed` for the model's
            own randomness) training is the same, bit for bit, on a CPU.
        read_ahead (bool, default False): whether the samples of the next step are read and mapped in a thread while a step runs.
            Only the time changes: less where reading is dear, as of files. Data in batches have a `prefetch` of their own.
        logs (bool, default False): whether the logs of steps and epochs, and so the progress bar, `History` and other callbacks,
            also have `variance_ratio`, `batch_size`, `effective_sample_size`, `samples` and `uniform_samples`.

    Attributes:
        sampler: the `ImportanceSampler` of the last `fit`, or `StreamSampler` where it was given batches; None before the first.
        seconds: where the last `fit` spent its steps: dictionary of `"draw"`, `"read"`, `"step"` and `"update"`.

    Raises:
        TypeError: `model` is not a Keras model.
        ValueError: an argument breaks one of the rules above.

    Example:
        >>> import keras, numpy as np
        >>> x = np.random.default_rng(0).normal(size=(256, 4)).astype("float32")
        >>> y = (x.sum(axis=1) > 0).astype("int64")
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
        >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> history = ImportanceTraining(model, importance="pcg", seed=0).fit(x, y, epochs=2, verbose=0)
        >>> sorted(history.history)
        ['accuracy', 'loss']

    References:
        arXiv:1706.00043.
    """

    def __init__(
        self,
        model,
        importance="approx",
        k=None,
        smoothing=None,
        presample=None,
        draws="systematic",
        pools=None,
        reweighting="rescaled",
        seed=None,
        map=None,
        on_step=None,
        batch_size_rule=None,
        logs=False,
        read_ahead=False,
    ):
        if not isinstance(model, keras.Model):
            raise TypeError(f"`model` must be a keras.Model. Received: model={model!r}")
        settings = Settings.of(importance, k, smoothing, presample, draws, pools, reweighting, batch_size_rule)
        self._hooks, self._logs, self._read_ahead = Hooks(map, on_step), truth("logs", logs), truth("read_ahead", read_ahead)
        self.model = model
        self.sampler = self.seconds = None
        self._seeds = seeds_of(seed)
        self._settings = settings.bound(model)
        self._step = TrainStep(model, gnorm=settings.uses_gnorms, weighted=settings.weighs)
        self._held_out = HeldOut()
        self._data, self._restored, self._fits = None, None, 0  # fits on different data; each draws by a seed of its own

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        initial_epoch=0,
        steps_per_epoch=None,
        validation_steps=None,
        validation_batch_size=None,
        validation_freq=1,
    ):
        """Trains the model; the arguments are those of `keras.Model.fit`, with Keras's meaning.

        Every batch has `batch_size` samples, also the last of an epoch. The training loss that is reported is the weighted
        loss of the drawn samples; metrics given to `compile(metrics=...)` are plain means over them, and since hard
        samples are drawn more often, training accuracy reads lower than it is on the whole data.

        Args:
            x: inputs: an array `(N, ...)` in memory or on disk (NumPy, SciPy, pandas, tensor, HDF5), a nested structure of
                them, an object that gives one sample at a time by `__len__` and `__getitem__`, or an `ArraySource` or `ItemSource`
                of these. Or batches with their targets: a `tf.data.Dataset`, a `keras.utils.PyDataset`, a loader or a generator,
                which "oracle", "gnorm", "pcg" and "uniform" choose from; "approx", "history" and "auto" need a stable index of
                each sample, see `with_indices`.
            y: targets, likewise; None where `x` gives them.
            batch_size: b; 32 by default. It must not exceed the presample. Where `x` gives batches theirs counts, as in Keras.
            shuffle: False takes the candidates in the order of the data.
            class_weight: dictionary from class id to weight; may be combined with `sample_weight`.
            sample_weight: the user's own weights, `(N,)` or more. A sample's loss counts times its weight, when it is
                drawn as when it is trained on.
            steps_per_epoch: updates in an epoch; `ceil(N / batch_size)` by default, as in `model.fit`; of batches, as many as there
                are, also where only reading to their end tells how many.
            epochs, verbose, callbacks, initial_epoch, validation_freq: as in `keras.Model.fit`.
            validation_split, validation_data, validation_steps, validation_batch_size: likewise; `map` is not applied to them.

        Returns:
            The `keras.callbacks.History` of `model.fit`.

        Raises:
            ValueError: before the first step. The model is not compiled; x and y do not fit each other, the batch size, the
                presample or the importance; the loss has no per-sample value. (Only with `run_eagerly=True`, a user's own
                `train_step` that drops the sample weights is not found out before it has run once.)
        """
        check_fit(self.model)
        delete_broken(callbacks)
        batch_size = whole_number("batch_size", batch_size, least=1, or_none=True)
        steps_per_epoch = whole_number("steps_per_epoch", steps_per_epoch, least=1, or_none=True)
        validation_batch_size = whole_number("validation_batch_size", validation_batch_size, least=0, or_none=True)
        known = self.sampler, self._data, self._restored, self._fits
        validation_split = number("validation_split", validation_split or 0, "in [0, 1]", lambda split: 0 <= split <= 1)
        validation_split = 0.0 if validation_data is not None else validation_split
        given = Given(x, y, sample_weight, checked_class_weight(class_weight), shuffle, validation_split)
        if given.held_out is not None:
            validation_data = self._held_out.dataset(given.held_out, validation_batch_size or batch_size or 32)
        validation_batch_size = validation_batch_size or batch_size  # as it was given, as in Keras
        batch_size = self._sampler_for(given, batch_size)
        steps = self.sampler.steps(batch_size) if steps_per_epoch is None else steps_per_epoch
        options = self._hooks, self._logs, self._read_ahead
        engine = DrawingEngine(self._step, self.sampler, batch_size, steps, given.doubtful, *options)
        engine.set_model(self.model)
        self.seconds = engine.seconds
        try:
            with joined(callbacks, engine) as callbacks:
                return self.model.fit(
                    engine.dataset(held_out=given.held_out is not None),
                    epochs=epochs,
                    verbose=verbose,
                    callbacks=callbacks,
                    shuffle=False,
                    validation_data=without_indices(validation_data),
                    initial_epoch=initial_epoch,
                    steps_per_epoch=steps,
                    validation_steps=validation_steps,
                    validation_batch_size=validation_batch_size,
                    validation_freq=validation_freq,
                )
        except BaseException:
            if not engine.seconds["step"]:  # refused before the first: nothing of what was learnt is lost
                self.sampler, self._data, self._restored, self._fits = known
            raise
        finally:
            engine.close()
            self._held_out.close()

    def __deepcopy__(self, memo):
        """The same settings and what was learnt, with a copy of the model. Data and the user's functions are shared."""
        return deep_copied(self, memo, shared=("_data", "_restored", "_hooks"), model=self.model)

    def get_state(self):
        """What was learnt about the samples, and what the next draw depends on; not the model, which Keras saves.

        Raises:
            ValueError: `fit` was not called yet.
        """
        if self.sampler is None:
            raise ValueError("`get_state` must come after `fit`. Received: no fit")
        return {"sampler": self.sampler.get_state(), "fits": self._fits}

    def set_state(self, state):
        """Makes the next `fit` go on from `get_state`, in an object made with the same arguments, on the same data.

        A `fit` that is refused leaves it for the next. None takes back a state that was set.

        Raises:
            ValueError: it is no such state; from `fit`, where it is of other data or another importance.
        """
        if state is not None and (not isinstance(state, dict) or set(state) != {"sampler", "fits"}):
            raise ValueError(f"`state` must be what `get_state` returned. Received: {state!r:.60}")
        self._restored = state

    def _sampler_for(self, given, batch_size):
        """Keeps the sampler if the data are those of the last `fit`, else makes one. Returns the batch size that is meant."""
        replicas = replicas_of(self.model)
        kept = self._data is not None and self._restored is None and given.is_as(self._data)
        sampler = self.sampler
        if not (kept and given.serves(self.model, sampler)):
            kept = False
            seed = np.random.SeedSequence(self._seeds.entropy, spawn_key=(*self._seeds.spawn_key, self._fits))
            sampler = out_of_scope(given.sampler, self.model, self._settings, seed)
        batch_size = sampler.batch_size_of(batch_size)
        sampler.check_batch_size(batch_size)
        check_divisible(batch_size, replicas)
        if not kept:
            if self._restored is not None:
                sampler.set_state(self._restored["sampler"])
                self._fits, self._restored = int(self._restored["fits"]) - 1, None
            self.sampler, self._data = sampler, given
            self._fits += 1
        return batch_size
