"""Whether a compiled model's loss can be taken apart into per-sample losses, found out before the first step.

Importance weights travel as sample weights, so the loss must be linear in them, with a value for each sample. A few
samples tell: their losses are computed together, alone, doubled and with other weights. The outputs are replaced by
perturbed ones, since a fresh model may give the same output for every sample.
"""

import contextlib
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from importance_sampling.losses import (
    LossRecorder,
    LossRefused,
    columns,
    forward,
    is_masked,
    loss_refused,
    scaled,
    step_refused,
    unchanged,
)
from importance_sampling.structures import map_arrays, size_of, take

_SAMPLES = 8
_TOLERANCE = 1e-3  # relative; losses may be computed in half precision


class LossForm(NamedTuple):
    """How a model's loss takes sample weights.

    Attributes:
        reduction: `"mean"` or `"sum"` over the batch.
        ranks: the number of dimensions that weights need to broadcast over the loss; an int, or a structure of them like
            the outputs. Losses for each pixel need `(b, 1, 1)` where others take `(b, 1)`; a `compute_loss` of the user's own may
            take `(b,)` only.
        separable: whether the loss of a sample is the same in any batch. With masks, and with the `ignore_class` of a loss, it is
            not: Keras divides by the valid steps of the whole batch.
        divisor: what the loss of a replica is divided by besides: Keras divides a mean by the number of replicas, so that
            their gradients add up; a `compute_loss` of the user's own may not.
        states: the variables that computing a loss changes: states of random generators, counters, and the like.
    """

    reduction: str
    ranks: Any
    separable: bool
    divisor: float = 1.0
    states: tuple = ()

    def weigh(self, sample_weight, alpha):
        """The user's weights, or none, times `alpha` `(b,)`, in the shape that the loss takes."""
        if sample_weight is None:
            return keras.tree.map_structure(lambda rank: columns(alpha, rank), self.ranks)
        return map_arrays(lambda w, rank: scaled(w, alpha, rank), sample_weight, self._ranks_of(sample_weight))

    def _ranks_of(self, sample_weight):
        try:
            keras.tree.assert_same_structure(sample_weight, self.ranks)
            return self.ranks
        except (TypeError, ValueError):  # the same weights for all outputs, or of some only
            first, *others = keras.tree.flatten(self.ranks)
            rank = first if all(other == first for other in others) else 2
            return keras.tree.map_structure(lambda _: rank, sample_weight)


def loss_form(model, x, y):
    """Finds how the model's loss takes sample weights.

    Args:
        model: a compiled and built `keras.Model`.
        x, y: a batch; a few samples of it are used.

    Raises:
        ValueError: the loss has no per-sample value, is normalised by the sample weights or does not depend on them, or is
            not reduced to a number.
    """
    x, y = map_arrays(tf.convert_to_tensor, take((x, y), slice(_size(model))))
    if type(model).call is keras.Model.call:  # it has none
        raise step_refused(model)
    with _explained(model, y):
        if not model.built:  # without computing anything, since that might count
            model(map_arrays(lambda a: keras.KerasTensor(a.shape, a.dtype.name), x))
        with unchanged(model):
            before = [v.numpy() for v in model.non_trainable_variables]
            ignored, divided = _ignored(model)
            y = map_arrays(lambda leaf: _without(leaf, ignored), y)
            y_pred = forward(model, x)
            for outputs in (_perturbed(y_pred), _perturbed(map_arrays(_opposite, y_pred))):
                probe = _Probe(model, x, y, outputs)
                if probe.together.any():  # a hinge loss may be 0 for all; then on the other side it is not
                    break
            separable = probe.proportional and not is_masked(y_pred) and not divided
            reduction, divisor = probe.reduction(), probe.divisor()
            states = [v for v, value in zip(model.non_trainable_variables, before) if not np.array_equal(v.numpy(), value)]
    return LossForm(reduction, probe.ranks, separable, divisor, tuple(states))


def _size(model):
    """How many samples tell: a few, or as many as the model takes where it takes no other number."""
    inputs = getattr(model, "inputs", None) or []
    return next((tensor.shape[0] for tensor in inputs if tensor.shape[0]), _SAMPLES)


@contextlib.contextmanager
def _explained(model, y):
    """Says what is missing where Keras cannot compute the loss of a model outside of its `train_step`."""
    try:
        yield
    except LossRefused:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        own_step = type(model).train_step is not keras.Model.train_step
        if own_step and type(model).compute_loss is keras.Model.compute_loss:
            raise step_refused(model) from error
        if y is None:
            raise LossRefused("`y` must be given for this loss, or come with `x`. Received: y=None") from error
        raise


class _Probe:
    """Per-sample contributions to the loss of a few samples, in several batches."""

    def __init__(self, model, x, y, y_pred):
        self._model = model
        self._data = (x, y, y_pred)
        self._n = size_of(x)
        by_outputs = keras.tree.map_structure(lambda a: max(len(a.shape) - 1, 2), y_pred)
        candidates = [by_outputs, 2, 1] if max(keras.tree.flatten(by_outputs)) > 2 else [2, 1]
        if any(self._take_apart(ranks) and self.proportional for ranks in candidates):
            return
        # no loss with a value for each sample, or a random or masked one
        if not any(self._take_apart(ranks) and not self.of_the_batch for ranks in (2, by_outputs, 1)):
            self._take_apart(2, last=True)

    def _take_apart(self, ranks, last=False):
        """Finds the contributions with weights of so many dimensions. Returns whether these broadcast over the loss."""
        self.ranks = ranks
        try:
            self.together = self._contributions(np.arange(self._n))
            self._alone = np.concatenate([self._contributions([i]) for i in range(self._n)])
        except (tf.errors.InvalidArgumentError, TypeError, ValueError):
            if last:
                raise
            return False
        self.proportional = _close(self.together, self._alone / self._n) or _close(self.together, self._alone)
        # also where weights (b, 1) and losses (b,) make a table of all by all
        self.of_the_batch = self._n > 1 and _close(self.together, self.together[0]) and not _close(self._alone, self._alone[0])
        return True

    def reduction(self):
        """`"mean"` or `"sum"`; raises where the loss is neither."""
        if self.of_the_batch:
            raise loss_refused("have a value for each sample", "a loss that returns one number for the whole batch")
        everything = np.arange(self._n)
        if not _close(self.together, self._contributions(everything)):
            return "mean"  # a random loss cannot be compared with itself: Keras's default
        tilt = np.linspace(0.5, 1.5, self._n, dtype=np.float32)
        if not _close(self.together, self._contributions(everything, tilt) / tilt):
            raise loss_refused("not be normalised by the sample weights", "reduction='mean_with_sample_weight' or like it")
        doubled = self._contributions(np.tile(everything, 2))[: self._n]
        if _close(doubled, self.together / 2):
            return "mean"
        if _close(doubled, self.together):
            return "sum"
        raise loss_refused("reduce every output in the same way, by mean or by sum", "a mixture")

    def divisor(self):
        """How much smaller the loss is in a replica than alone."""
        strategy = self._model.distribute_strategy
        if strategy.num_replicas_in_sync == 1:
            return 1.0

        @tf.function
        def in_replicas():
            return strategy.run(self._record, args=(np.arange(self._n),))

        smaller = strategy.experimental_local_results(in_replicas())[0]
        return float(np.round(np.abs(self.together).sum() / np.abs(smaller).sum()))

    def _contributions(self, positions, weights=None):
        """d(loss)/d(u_i) for some of the samples, `(len(positions),)`."""
        return np.nan_to_num(self._record(positions, weights))

    def _record(self, positions, weights=None):
        weights = np.ones(len(positions), np.float32) if weights is None else weights
        x, y, y_pred = map_arrays(lambda a: tf.gather(a, positions), self._data)
        form = LossForm("sum", self.ranks, True)
        return LossRecorder(self._model, form.reduction).record(x, y, y_pred, form.weigh(None, weights)).losses


def _ignored(model):
    """The classes that losses ignore, and whether Keras divides by what is left: `ignore_class` of
    `SparseCategoricalCrossentropy`, or of its function in a `functools.partial`."""
    found = {}
    for loss in keras.tree.flatten(model.loss):
        one = getattr(loss, "keywords", {}).get("ignore_class", getattr(loss, "ignore_class", None))
        if one is not None:
            found[one] = found.get(one, False) or getattr(loss, "reduction", None) != "sum"
    return set(found), any(found.values())


def _without(targets, ignored):
    """Targets with other classes in place of those that are ignored, so that every sample has a loss."""
    if targets.dtype.is_integer or targets.dtype.is_floating:
        for one in ignored:
            targets = tf.where(targets == tf.cast(one, targets.dtype), tf.cast(one == 0, targets.dtype), targets)
    return targets


def _opposite(leaf):
    return 1 - leaf if leaf.dtype.is_floating else leaf


def _perturbed(y_pred):
    """Different, finite outputs for every sample, still within [0, 1] where they were probabilities."""
    rng = np.random.default_rng(0)

    def perturb(leaf):
        if not leaf.dtype.is_floating:
            return leaf
        leaf = tf.where(tf.math.is_finite(leaf), leaf, tf.zeros_like(leaf))
        factor = tf.cast(rng.uniform(0.5, 0.9, leaf.shape), leaf.dtype)
        return leaf * factor + tf.cast(rng.uniform(0, 0.1, leaf.shape), leaf.dtype)

    return keras.tree.map_structure(perturb, y_pred)


def _close(a, b):
    scale = max(np.abs(a).max(), np.abs(b).max())
    return bool(np.all(np.abs(a - b) <= _TOLERANCE * scale))
