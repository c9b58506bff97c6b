"""The two compiled functions of the model that is trained: one step of training, and the scores of candidates.

Both return values of single samples beside what Keras gives, through a `LossRecorder`.
"""

import contextlib
import inspect

import keras
import tensorflow as tf

from importance_sampling.data.structures import arrays_of, map_arrays
from importance_sampling.model.finite import check_finite
from importance_sampling.model.handing import HANDED_ON
from importance_sampling.model.losses import LossRecorder, LossRefused, forward, scaled, step_refused
from importance_sampling.model.metrics import metric_weights
from importance_sampling.model.probe import fixed_batch_size, loss_form
from importance_sampling.model.replicas import gathered, on_average, part_of_replica
from importance_sampling.model.unchanged import unchanged

SCORES = ("loss", "gnorm", "full_gnorm")


class TrainStep:
    """The model's own `train_step`, compiled, which also returns what each sample contributed.

    `prepare` comes first; it traces again where the model was compiled again since.

    Args:
        model: a compiled `keras.Model`.
        gnorm: also return the gradient-norm bound.
        weighted: whether steps have importance weights.
    """

    def __init__(self, model, gnorm=False, weighted=True):
        self._model = model
        self._gnorm = gnorm
        self._weighted = weighted
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

    def check_finite(self, x, y, places):
        """Refuses targets that are not finite and that the loss does not mask; see `check_finite`. After `prepare`."""
        check_finite(self._model, self._form, x, y, places, fixed_batch_size(self._model))

    def __call__(self, x, y, sample_weight, alpha):
        """One update of the model.

        Args:
            x, y: a batch of b samples.
            sample_weight: the user's own weights, or None.
            alpha: `(b,)` importance weights; None where every sample counts the same: the step is then told of the user's alone.

        Returns:
            The logs of `train_step` and a `PerSample`.
        """
        try:
            return self._step(x, y, sample_weight, alpha)
        except tf.errors.InvalidArgumentError as error:
            if HANDED_ON in str(error):
                raise LossRefused(f"{HANDED_ON}, by {type(self._model).__name__}.train_step") from error
            raise

    def _build(self, x, y):
        model = self._model
        form = self._form = loss_form(model, x, y)
        recorder = LossRecorder(model, form.reduction, self._gnorm, form.divisor, form.shaped, form.of_samples)
        train_step = _own_step(model)
        metrics = metric_weights(model, x, y, fixed_batch_size(model)) if self._weighted else contextlib.nullcontext
        strategy = model.distribute_strategy

        def step(x, y, sample_weight, alpha):
            given = sample_weight if alpha is None else weighted(sample_weight, alpha)
            looked_at = None if alpha is None or model.jit_compile else given  # XLA checks nothing as it runs
            with _told_of_weights(model), _watching(looked_at) as tape:
                recorder.begin(alpha is None, looked_at, tape)
                logs = train_step((x, y, given))
            return logs, recorder.take(arrays_of(x)[0].shape[0])

        def alone(*batch):
            with recorder, metrics():
                return step(*map_arrays(tf.convert_to_tensor, batch))  # in eager mode they are arrays still

        def in_replica(*batch):
            logs, per_sample = step(*part_of_replica(batch))
            return map_arrays(tf.convert_to_tensor, logs), per_sample  # in eager mode Keras may give numbers

        def together(*batch):
            with recorder, metrics():  # once, outside the threads of the replicas
                logs, per_sample = strategy.run(in_replica, args=batch)
            return on_average(strategy, logs), gathered(strategy, per_sample)

        return _compile(model, alone if strategy.num_replicas_in_sync == 1 else together)


@contextlib.contextmanager
def _watching(weights):
    """A tape that sees what a step makes of its weights, None where there are none to look at."""
    if weights is None:
        yield None
        return
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(keras.tree.flatten(weights))
        yield tape


def weighted(sample_weight, alpha):
    """The user's weights, or none, times `alpha` `(b,)`, in the shape that Keras would hand them to the step."""
    if sample_weight is None:
        return alpha
    return keras.tree.map_structure(lambda w: alpha if w is None else scaled(w, alpha), sample_weight)


def _own_step(model):
    """The model's `train_step`. One that is a `tf.function` is compiled anew: what it had traced before records nothing, and what
    it traces here is not for plain `fit`."""
    function = getattr(inspect.getattr_static(type(model), "train_step"), "python_function", None)
    return model.train_step if function is None else tf.function(function.__get__(model))


@contextlib.contextmanager
def _told_of_weights(model):
    """Says what is wrong with a `train_step` that takes `(x, y)` only."""
    try:
        yield
    except ValueError as error:
        if "too many values to unpack (expected 2" in str(error) and type(model).train_step is not keras.Model.train_step:
            raise step_refused(model, "it unpacks `x, y`, but three values arrive, (x, y, sample_weight)") from error
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
        form = self._form
        gnorm = self._score == "gnorm"
        self._recorder = LossRecorder(self._model, form.reduction, gnorm, shaped=form.shaped, of_samples=form.of_samples)
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
        return self._recorder.record(x, y, y_pred, sample_weight)


class _CompiledWith:
    """A function built from a compiled model and a first batch, built anew after `model.compile` was called again, and for batches
    of another structure or rank, whose loss may take weights of another."""

    def __init__(self, model, build):
        self._model = model
        self._build = build
        self._key, self._ranks = (), None
        self._built = None

    def get(self, x, y):
        ranks = str(map_arrays(lambda leaf: len(leaf.shape), (x, y)))
        if ranks != self._ranks or not _same(self._key, self._compilation()):
            self._built = self._build(x, y)
            self._key, self._ranks = self._compilation(), ranks
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
