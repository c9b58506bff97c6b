"""One step of training: the model's own, which also tells what each sample contributed, through a `LossRecorder`."""

import contextlib
import inspect
import warnings

import keras
import numpy as np
import tensorflow as tf

from importance_sampling.data.structures import arrays_of, map_arrays, size_of, times
from importance_sampling.model.carrying import outside_of_graphs
from importance_sampling.model.compiling import CompiledWith, compiled_as
from importance_sampling.model.finite import check_finite
from importance_sampling.model.handing import HANDED_ON
from importance_sampling.model.losses import LossRecorder, LossRefused, NoBounds, PerSample, step_refused
from importance_sampling.model.metrics import metric_weights
from importance_sampling.model.probe import fixed_batch_size, loss_form
from importance_sampling.model.replicas import gathered, on_average, part_of_replica


class TrainStep:
    """The model's own `train_step`, compiled, which also returns what each sample contributed.

    `prepare` comes first; it traces again where the model was compiled again since.

    Args:
        model: a compiled `keras.Model`.
        gnorm: also return the gradient-norm bound. Where the model has none, its losses stand for them.
        weighted: whether steps have importance weights.
    """

    def __init__(self, model, gnorm=False, weighted=True):
        self._model = model
        self._gnorm = gnorm
        self._weighted = weighted
        self._without_bounds = False  # asked for, and not to be had
        self._plain = None  # the step without weights and bounds, once it is needed
        self._compiled = CompiledWith(model, self._build)

    def __deepcopy__(self, memo):
        """For the copy of the model where that was copied before, else for the model; nothing is compiled yet."""
        return TrainStep(memo.get(id(self._model), self._model), self._gnorm, self._weighted)

    def prepare(self, x, y, sample_weight=None, sizes=()):
        """Finds out from a few samples whether and how the model's loss can be taken apart; updates nothing.

        Args:
            x, y, sample_weight: a batch.
            sizes: tuple of the batch sizes that steps may have; None is any.

        Raises:
            ValueError: it cannot; see `loss_form`.

        Warns:
            RuntimeWarning: under XLA, where steps have several sizes, each of which is compiled when it first occurs; here or in
                the first step, where the model has no gradient-norm bounds.
        """
        self._step = self._compiled.get(x, y)
        if sizes is not None and len(sizes) < 2 or self._model.run_eagerly:
            return
        if self._model.jit_compile is True:
            text = "all that occur" if sizes is None else ", ".join(map(str, sizes))
            warnings.warn(
                f"`jit_compile=True` compiles the training step for each batch size when it first occurs: {text}.",
                RuntimeWarning,
                stacklevel=2,
            )
        else:  # traced for all sizes at once, before the first step
            alpha = np.ones(size_of(x), np.float32) if self._weighted else None
            specs = map_arrays(_of_any_size, (x, y, sample_weight, alpha))
            try:
                self._step.get_concrete_function(*specs)
            except NoBounds:
                self._do_without_bounds(x, y)
                self._step.get_concrete_function(*specs)

    @property
    def sums(self):
        """Whether the loss is a sum over the batch, so that fewer samples make it smaller. After `prepare`."""
        return self._form.reduction == "sum"

    def check_finite(self, x, y, places):
        """Refuses targets that are not finite and that the loss does not mask; see `check_finite`. After `prepare`."""
        check_finite(self._model, self._form, x, y, places, fixed_batch_size(self._model))

    def __call__(self, x, y, sample_weight, alpha):
        """One update of the model.

        Args:
            x, y: a batch of b samples.
            sample_weight: the user's own weights, or None.
            alpha: `(b,)` importance weights; None where every sample counts the same: the step is then told of the user's alone,
                and there are no gradient-norm bounds.

        Returns:
            The logs of `train_step` and a `PerSample`.
        """
        try:
            if alpha is None and self._weighted and self._plain is None:
                self._plain = self._made(self._form, False, contextlib.nullcontext)  # of uniform sampling
            step = self._plain if alpha is None and self._weighted else self._step
            logs, per_sample = step(x, y, sample_weight, alpha)
        except NoBounds:
            self._do_without_bounds(x, y)
            return self(x, y, sample_weight, alpha)
        except tf.errors.InvalidArgumentError as error:
            if HANDED_ON in str(error):
                raise LossRefused(f"{HANDED_ON}, by {type(self._model).__name__}.train_step") from error
            raise
        return logs, PerSample(per_sample.losses, per_sample.losses) if self._without_bounds else per_sample

    def _do_without_bounds(self, x, y):
        """Makes the step of a model that has no gradient-norm bounds, and says so."""
        warnings.warn(
            "Gradient-norm bounds need a loss computed from the model's output, here losses stand for them. Received: "
            f"{type(self._model).__name__}, whose loss is not",
            RuntimeWarning,
            stacklevel=3,
        )
        self._gnorm, self._without_bounds = False, True
        self._compiled = CompiledWith(self._model, self._build)
        self._step = self._compiled.get(x, y)

    def _build(self, x, y):
        model = self._model
        self._form, self._plain = loss_form(model, x, y), None
        metrics = metric_weights(model, x, y, fixed_batch_size(model)) if self._weighted else contextlib.nullcontext
        return self._made(self._form, self._gnorm, metrics)

    def _made(self, form, gnorm, metrics):
        model = self._model
        recorder = LossRecorder(model, form.reduction, gnorm, form.divisor, form.shaped, form.of_samples)
        train_step = _own_step(model)
        strategy = model.distribute_strategy

        def step(x, y, sample_weight, alpha):
            given = sample_weight if alpha is None else times(map_arrays(lambda w: tf.cast(w, tf.float32), sample_weight), alpha)
            looked_at = None if alpha is None or model.jit_compile else given  # XLA checks nothing as it runs
            with _told_of_weights(model), _watching(looked_at) as tape:
                recorder.begin(alpha is None, looked_at, tape)
                logs = train_step((x, y, given))
            return logs, recorder.take(arrays_of(x)[0].shape[0])

        def alone(*batch):
            with recorder, metrics(), _built_outside(model.optimizer):
                return step(*map_arrays(tf.convert_to_tensor, batch))  # in eager mode they are arrays still

        def in_replica(*batch):
            logs, per_sample = step(*part_of_replica(batch))
            return map_arrays(tf.convert_to_tensor, logs), per_sample  # in eager mode Keras may give numbers

        def together(*batch):
            with recorder, metrics():  # once, outside the threads of the replicas
                logs, per_sample = strategy.run(in_replica, args=batch)
            return on_average(strategy, logs), gathered(strategy, per_sample)

        return compiled_as(model, alone if strategy.num_replicas_in_sync == 1 else together)


@contextlib.contextmanager
def _watching(weights):
    """A tape that sees what a step makes of its weights, None where there are none to look at."""
    if weights is None:
        yield None
        return
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(keras.tree.flatten(weights))
        yield tape


@contextlib.contextmanager
def _built_outside(optimizer):
    """Lets a step create the variables of the optimizer outside of its graph: one that creates them in it is traced twice."""
    if optimizer is None or optimizer.built:
        yield
        return
    build = optimizer.build

    def in_scope(variables):
        with keras.name_scope(optimizer.name, caller=optimizer):  # as in `apply`, by which variables get their paths
            build(variables)

    optimizer.build = lambda variables: outside_of_graphs(in_scope, variables)
    try:
        yield
    finally:
        del optimizer.build


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


def _of_any_size(array):
    return tf.TensorSpec((None, *array.shape[1:]), array.dtype)
