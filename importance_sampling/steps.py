"""The two compiled functions of the model that is trained: one step of training, and the scores of candidates.

Both return values of single samples beside what Keras gives, through a `LossRecorder`.
"""

import keras
import tensorflow as tf

from importance_sampling.losses import LossRecorder, forward, metrics_kept
from importance_sampling.probe import loss_reduction

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

    def prepare(self, x, y):
        """Finds out from a few samples whether and how the model's loss can be taken apart; updates nothing.

        Raises:
            ValueError: it cannot; see `loss_reduction`.
        """
        self._step = self._compiled.get(x, y)

    def __call__(self, data):
        """One update of the model.

        Args:
            data: `(x, y, sample_weight)` with weights of shape `(b, 1)` or more.

        Returns:
            The logs of `train_step` and a `PerSample`.
        """
        return self._step(data)

    def _build(self, x, y):
        recorder = LossRecorder(self._model, self._gnorm, loss_reduction(self._model, x, y))

        def step(data):
            with recorder:
                logs = self._model.train_step(data)
            return logs, recorder.take()

        return _compile(self._model, step)


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

    def __call__(self, x, y, sample_weight):
        """Returns `(n,)` float32 scores. `sample_weight` is the user's own, shaped `(n, 1)` or more."""
        return self._compiled.get(x, y)(x, y, sample_weight)

    def _build(self, x, y):
        self._recorder = LossRecorder(self._model, self._score == "gnorm", loss_reduction(self._model, x, y))
        return _compile(self._model, self._each if self._score == "full_gnorm" else self._batch)

    def _batch(self, x, y, sample_weight):
        with metrics_kept(self._model):
            losses, gnorms = self._forward(x, y, sample_weight)
        return gnorms if self._score == "gnorm" else losses

    def _each(self, x, y, sample_weight):
        weights = self._model.trainable_variables

        def one(sample):
            sample = keras.tree.map_structure(lambda a: a[None], sample)
            with tf.GradientTape() as tape:
                loss = self._forward(*sample).losses  # (1,), free of regularisers
            gradients = tape.gradient(loss, [w.value for w in weights])
            return tf.linalg.global_norm([g for g in gradients if g is not None])

        with metrics_kept(self._model):
            return tf.map_fn(one, (x, y, sample_weight), fn_output_signature=tf.float32)

    def _forward(self, x, y, sample_weight):
        y_pred = forward(self._model, x)
        return self._recorder.record(x, y, y_pred, sample_weight)


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
    return tf.function(function, jit_compile=model.jit_compile, reduce_retracing=True)
