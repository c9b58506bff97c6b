"""The two compiled functions of the model that is trained: one step of training, and the scores of candidates.

Both return values of single samples beside what Keras gives, through a `LossRecorder`.
"""

import contextlib

import keras
import tensorflow as tf

from importance_sampling.losses import LossRecorder, forward, step_refused, unchanged
from importance_sampling.probe import loss_form
from importance_sampling.replicas import gathered, on_average, part_of_replica
from importance_sampling.structures import arrays_of, map_arrays

SCORES = ("loss", "gnorm", "full_gnorm")


class TrainStep:
    """The model's own `train_step`, compiled, which also returns what each sample contributed.

    `prepare` comes first; it traces again where the model was compiled again since.

    Args:
        model: a compiled `keras.Model`.
        gnorm: also return the gradient-norm bound.
    """

    def __init__(self, model, gnorm=False):
        self._model = model
        self._gnorm = gnorm
        self._compiled = _CompiledWith(model, self._build)

    def __deepcopy__(self, memo):
        """For the copy of the model where that was copied before, else for the model; nothing is compiled yet."""
        return TrainStep(memo.get(id(self._model), self._model), self._gnorm)

    def prepare(self, x, y):
        """Finds out from a few samples whether and how the model's loss can be taken apart; updates nothing.

        Raises:
            ValueError: it cannot; see `loss_form`.
        """
        self._step = self._compiled.get(x, y)

    def __call__(self, x, y, sample_weight, alpha):
        """One update of the model.

        Args:
            x, y: a batch of b samples.
            sample_weight: the user's own weights, or None.
            alpha: `(b,)` importance weights.

        Returns:
            The logs of `train_step` and a `PerSample`.
        """
        return self._step(x, y, sample_weight, alpha)

    def _build(self, x, y):
        form = loss_form(self._model, x, y)
        recorder = LossRecorder(self._model, form.reduction, self._gnorm, form.divisor)
        strategy = self._model.distribute_strategy

        def step(x, y, sample_weight, alpha):
            with _told_of_weights(self._model):
                logs = self._model.train_step((x, y, form.weigh(sample_weight, alpha)))
            return logs, recorder.take(alpha.shape[0])

        def alone(*batch):
            with recorder:
                return step(*map_arrays(tf.convert_to_tensor, batch))  # in eager mode they are arrays still

        def in_replica(*batch):
            logs, per_sample = step(*part_of_replica(batch))
            return map_arrays(tf.convert_to_tensor, logs), per_sample  # in eager mode Keras may give numbers

        def together(*batch):
            with recorder:  # once, outside the threads of the replicas
                logs, per_sample = strategy.run(in_replica, args=batch)
            return on_average(strategy, logs), gathered(strategy, per_sample)

        return _compile(self._model, alone if strategy.num_replicas_in_sync == 1 else together)


@contextlib.contextmanager
def _told_of_weights(model):
    """Says what is wrong with a `train_step` that takes `(x, y)` only."""
    try:
        yield
    except ValueError as error:
        if "too many values to unpack (expected 2" in str(error) and type(model).train_step is not keras.Model.train_step:
            raise step_refused(model) from error
        raise


class Scorer:
    """Per-sample scores of a model as it is: a forward pass with `training=False` that leaves no trace in the model.

    Args:
        model: a compiled `keras.Model`.
        score: `"loss"`; `"gnorm"`, the gradient norm with respect to the output; `"full_gnorm"`, the exact norm of the
            gradient with respect to all trainable weights, one sample at a time (slow: for reference).
    """

    def __init__(self, model, score="loss"):
        self._model = model
        self._score = score
        self._compiled = _CompiledWith(model, self._build)

    def __deepcopy__(self, memo):
        """For the copy of the model where that was copied before, else for the model; nothing is compiled yet."""
        return Scorer(memo.get(id(self._model), self._model), self._score)

    def __call__(self, x, y, sample_weight=None):
        """Returns `(n,)` float32 scores. `sample_weight` is the user's own."""
        return self._compiled.get(x, y)(x, y, sample_weight)

    def separable(self, x, y):
        """Whether the score of a sample is the same in any batch; see `LossForm`."""
        self._compiled.get(x, y)
        return self._form.separable

    def _build(self, x, y):
        self._form = loss_form(self._model, x, y)
        self._recorder = LossRecorder(self._model, self._form.reduction, self._score == "gnorm")
        return _compile(self._model, self._each if self._score == "full_gnorm" else self._batch)

    def _batch(self, x, y, sample_weight):
        with unchanged(self._model, self._form.states):
            losses, gnorms = self._forward(x, y, sample_weight)
        return gnorms if self._score == "gnorm" else losses

    def _each(self, x, y, sample_weight):
        weights = self._model.trainable_variables
        given = (x, y, sample_weight)
        present = [part for part in given if part is not None]

        def one(sample):
            parts = iter(map_arrays(lambda a: a[None], sample))
            x, y, own = (None if part is None else next(parts) for part in given)
            with tf.GradientTape() as tape:
                loss = self._forward(x, y, own).losses  # (1,), free of regularisers
            gradients = tape.gradient(loss, [w.value for w in weights])
            # as dense tensors: the rows of an embedding that occur twice must be added before the norm is taken
            return tf.linalg.global_norm([tf.convert_to_tensor(g) for g in gradients if g is not None])

        with unchanged(self._model, self._form.states):
            return tf.map_fn(one, present, fn_output_signature=tf.float32)

    def _forward(self, x, y, sample_weight):
        y_pred = forward(self._model, x)
        b = tf.shape(arrays_of(x)[0])[0]
        return self._recorder.record(x, y, y_pred, self._form.weigh(sample_weight, tf.ones(b)))


class _CompiledWith:
    """A function built from a compiled model and a first batch, built anew after `model.compile` was called again."""

    def __init__(self, model, build):
        self._model = model
        self._build = build
        self._key = None
        self._built = None

    def get(self, x, y):
        if self._key is None or not _same(self._key, self._compilation()):
            self._built = self._build(x, y)
            self._key = self._compilation()
        return self._built

    def _compilation(self):
        """Objects that `compile` replaces: at least the loss tracker, the first of the metrics."""
        model = self._model
        return (model.optimizer, model.loss, model.jit_compile, model.run_eagerly, *model.metrics)


def _same(objects, others):
    return len(objects) == len(others) and all(a is b for a, b in zip(objects, others))


def _compile(model, function):
    if model.run_eagerly:
        return function
    return tf.function(function, jit_compile=model.jit_compile, reduce_retracing=True, autograph=False)  # as Keras does
