"""Whether a compiled model's loss can be taken apart into per-sample losses, proven before the first step.

Importance weights travel as sample weights, so the loss must be linear in them, with a value for each sample that depends on
this sample alone. `d(loss)/d(w_i)` is what sample i contributes; it must stay the same when the other samples of the batch, and
all weights, become others. That is tried on made-up outputs and targets, for each output of the model by itself.
"""

import contextlib
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from importance_sampling.data.labels import ignored_classes
from importance_sampling.data.structures import columns, map_arrays, size_of
from importance_sampling.model.looking import Look
from importance_sampling.model.losses import LossRefused, is_masked, step_refused
from importance_sampling.model.reasons import Losses
from importance_sampling.model.unchanged import unchanged
from importance_sampling.model.verdicts import ranks_of, reduction_of

_FEW = 17  # samples; with fewer there is little to exchange


def check_fit(model):
    """Refuses a model that is not ready, or whose own `fit` would be left out.

    Raises:
        ValueError: it is one.
    """
    if not model.compiled:
        raise ValueError("`model` must be compiled before `fit`. Received: model.compiled=False")
    if type(model).fit is not keras.Model.fit or "fit" in vars(model):
        raise ValueError(
            "`model.fit` must be that of Keras, since ImportanceTraining gives it samples that were chosen: a `fit` of the model's "
            "own, which may prepare the data, would be left out. Use model.fit(..., callbacks=[ImportanceSampling(batch_size)]). "
            f"Received: {type(model).__name__}.fit"
        )


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
        of_samples: for each of the model's outputs, in one list, whether its first axis is that of the samples.
    """

    reduction: str
    ranks: Any
    separable: bool
    divisor: float = 1.0
    states: tuple = ()
    of_samples: tuple = ()

    def shaped(self, sample_weight, b):
        """The weights of a batch of b samples in the shape that the loss takes. None, as a whole or for an output, counts 1."""
        if sample_weight is None:
            sample_weight = tf.ones(b)
        if not keras.tree.is_nested(sample_weight):
            if sample_weight.shape.rank > 1:
                return sample_weight
            return keras.tree.map_structure(lambda rank: columns(sample_weight, rank), self.ranks)
        shape = lambda w, rank: tf.ones((b, *[1] * (rank - 1))) if w is None else columns(w, rank) if w.shape.rank == 1 else w  # noqa: E731
        return keras.tree.map_structure(shape, sample_weight, self._ranks_of(sample_weight))

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
        model: a compiled `keras.Model`; it is built if it is not.
        x, y: a batch; a few samples of it are used.

    Raises:
        ValueError: the loss has no value for each sample that depends on this sample alone, is normalised by the sample weights or
            does not depend on them, or is not reduced to a number.
    """
    if type(model).call is keras.Model.call:  # it has none
        raise step_refused(model)
    with _explained(model, y):
        build(model, x)
        size = size_of(x)  # some losses want a number of samples, or an even one: whole batches
        several = np.resize(np.arange(size), fixed_batch_size(model) or size * -(-_FEW // size))
        x, y = map_arrays(lambda a: tf.gather(a, several), (x, y))
        with unchanged(model):
            return _form(model, x, y)


def _form(model, x, y):
    ignored = ignored_classes(model)
    look = Look(model, x, y, lambda leaf: _without(leaf, ignored), fixed_batch_size(model))
    losses = Losses(model)
    ranks = ranks_of(look, losses, _names(model, look.y_pred))
    reduction = reduction_of(look, losses, ranks)
    separable = not any(ignored.values()) and not is_masked(look.y_pred)
    divisor = _divisor(model.distribute_strategy, look, ranks)
    return LossForm(reduction, ranks, separable, divisor, tuple(look.states), tuple(keras.tree.flatten(look.of_samples)))


def build(model, x):
    """Builds a model as plain `fit` does, for batches of any size; nothing is computed, since that might count.

    With `run_eagerly=True` Keras builds for the size of the first batch.
    """
    if not model.built:
        size = size_of(x) if model.run_eagerly else None
        model(map_arrays(lambda a: keras.KerasTensor((size, *a.shape[1:]), keras.backend.standardize_dtype(a.dtype)), x))


def fixed_batch_size(model):
    """The one batch size that a model takes, or None."""
    inputs = getattr(model, "inputs", None) or []
    return next((tensor.shape[0] for tensor in inputs if tensor.shape[0]), None)


def _divisor(strategy, look, ranks):
    """How much smaller the loss is in a replica than alone."""
    if strategy.num_replicas_in_sync == 1:
        return 1.0
    for trial in range(3):
        batch, _, _ = look.pair(trial)

        @tf.function
        def in_replicas():
            return strategy.run(lambda: look.differentiated(batch, ranks)[0])  # noqa: B023

        smaller = [strategy.experimental_local_results(c)[0] for c in in_replicas()]
        alone, together = (float(sum(np.abs(c).sum() for c in found)) for found in (look.contributions(batch, ranks), smaller))
        if together:
            return float(np.round(alone / together))
    return 1.0


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
            why = f"with what `call` returns as y_pred and what `fit` is given as y, it raises {type(error).__name__}: {error}"
            raise step_refused(model, why) from error
        if y is None:
            raise LossRefused("`y` must be given for this loss, or come with `x`. Received: y=None") from error
        raise


def _names(model, y_pred):
    """Of the outputs, flat, for errors."""
    if isinstance(y_pred, dict) and not any(keras.tree.is_nested(part) for part in y_pred.values()):
        return keras.tree.flatten({name: name for name in y_pred})
    names = getattr(model, "output_names", None) or []
    count = len(keras.tree.flatten(y_pred))
    return names if len(names) == count else list(range(count))


def _without(targets, ignored):
    """Targets with other classes in place of those that are ignored, so that every sample has a loss."""
    if targets.dtype.kind in "iuf":
        for one in ignored:
            targets = np.where(targets == one, targets.dtype.type(one == 0), targets)
    return targets
