"""The loss of a model on made-up batches of a few samples, and what each sample contributes to it."""

import contextlib
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from importance_sampling.data.structures import arrays_of, columns, map_arrays, size_of, take
from importance_sampling.model.losses import compute_loss, forward, loss_refused
from importance_sampling.model.trials import random_outputs, random_targets


class Batch(NamedTuple):
    """Samples whose loss is looked at.

    Attributes:
        places: `(m,)` ints, where x is taken from.
        y, y_pred: structures of arrays `(m, ...)`; outputs that are not of samples stay as they are.
        units: `(m,)` float32, the weights of the samples.
    """

    places: np.ndarray
    y: Any
    y_pred: Any
    units: np.ndarray


class Look:
    """The loss of a compiled and built model, looked at with `training=False`.

    Args:
        model: a compiled and built model; what looking changes in it is for the caller to undo.
        x, y: structures of tensors with n samples.
        change: for targets that are made up or given, such as another class in place of one that the loss ignores.
        fixed: the batch size of a model that takes no other, or None.

    Attributes:
        y_pred: the model's own outputs.
        states: variables that looking changes, apart from metrics; each look begins with the values they had.
        of_samples: structure of bools like the outputs: whether their first axis is that of the samples.
        counted: how often the loss was computed.
    """

    def __init__(self, model, x, y, change, fixed=None):
        self._model = model
        self._x = x
        self._change = change
        self._rng = np.random.default_rng(0)
        self.n = size_of(x)
        self.counted = 0
        found = [(v, v.numpy()) for v in model.non_trainable_variables]
        self.states, self._values = [], []
        self.y_pred = forward(model, x)
        of_samples = [bool(leaf.shape.rank) and leaf.shape[0] == self.n for leaf in keras.tree.flatten(self.y_pred)]
        if fixed:
            of_samples = [tensor.shape[0] == fixed for tensor in keras.tree.flatten(model.outputs)]
        self.of_samples = keras.tree.pack_sequence_as(self.y_pred, of_samples)
        self._outputs = map_arrays(lambda leaf: tf.convert_to_tensor(leaf).numpy(), self.y_pred)
        self._y = map_arrays(lambda leaf: change(_finite(leaf.numpy())), y)
        with contextlib.suppress(Exception):  # whose cause shows again where the loss is needed
            compute_loss(model, x, y, self.y_pred, None)
        changed = [(v, value) for v, value in found if not np.array_equal(v.numpy(), value)]
        self.states, self._values = [v for v, _ in changed], [value for _, value in changed]

    def pair(self, trial):
        """Two batches of n samples that share the samples `kept`, `(n,)` bools, and no other; their weights all differ.

        Args:
            trial: 0 has the targets of the data; in 1 they are made up, half of them from the data, in 2 altogether. In these the
                samples that are not shared have targets and outputs at one end: what counts or sorts the batch finds another.
        """
        kept = np.isin(np.arange(self.n), self._rng.permutation(self.n)[: self.n // 2 + 1])
        others = np.roll(np.arange(self.n), 1 + self.n // 3)
        base = self._batch(np.arange(self.n), trial, wide=trial == 2)
        fresh = self._batch(others, trial, wide=trial == 1, end=(None, "high", "low")[trial])
        mix = lambda a, b: np.where(kept.reshape(-1, *[1] * (a.ndim - 1)), a, b)  # noqa: E731
        y, y_pred = map_arrays(mix, base.y, fresh.y), self._of_samples(mix, base.y_pred, fresh.y_pred)
        return base, Batch(mix(base.places, fresh.places), y, y_pred, fresh.units), kept

    def marked(self, batch, kept, marks):
        """The batch with marks of missing targets in turn at the samples that are not kept; None where targets take none."""

        def mark(leaf):
            if leaf.dtype.kind not in "if" or not _takes_marks(leaf, marks):
                return leaf
            found = np.resize(np.asarray(marks, leaf.dtype), len(leaf)).reshape(-1, *[1] * (leaf.ndim - 1))
            return np.where(kept.reshape(found.shape), leaf, found)

        if batch.y is None or not any(leaf.dtype.kind in "if" and _takes_marks(leaf, marks) for leaf in arrays_of(batch.y)):
            return None
        return batch._replace(y=map_arrays(mark, batch.y))

    def after(self, first, second):
        """One batch of the samples of both."""
        join = lambda a, b: np.concatenate([a, b])  # noqa: E731
        y, y_pred = map_arrays(join, first.y, second.y), self._of_samples(join, first.y_pred, second.y_pred)
        return Batch(join(first.places, second.places), y, y_pred, join(first.units, second.units))

    def contributions(self, batch, ranks):
        """d(loss)/d(weight) of every sample by weights of so many dimensions, an int or a structure of them with None for an
        output that is not weighed. Returns a list of `(m,)` float64, one for each int.

        Raises:
            ValueError: the loss is no number, or does not depend on the weights.
        """
        return [np.asarray(c, np.float64) for c in self.differentiated(batch, ranks)[0]]

    def with_proof(self, batch, ranks):
        """The same, and two lists of bools: whether what a sample contributes has a derivative by the outputs of another, and by
        some weight. All pairs of samples are seen at once: with r_i and with r_i s_i in place of 1 in the sum of contributions, the
        derivatives by the outputs of sample j differ by the factor s_j if only its own contribution depends on them."""
        r = self._rng.uniform(0.5, 1.5, self.n).astype(np.float32)
        s = 2.0 ** self._rng.integers(-2, 3, self.n)  # powers of 2 leave no round-off
        found, derivatives = self.differentiated(batch, ranks, (r, (r * s).astype(np.float32)))
        by_others = [any(_leaks(one, other, s) for one, other in zip(*outputs)) for outputs, _ in derivatives]
        contributions = [np.asarray(c, np.float64) for c in found]
        by_weights = [
            any(np.nanmax(np.abs(g)) > 1e-6 * np.nanmax(np.abs(c)) for g in units if g is not None)
            for c, (_, units) in zip(contributions, derivatives)
        ]
        return contributions, by_others, by_weights

    def _batch(self, places, trial, wide, end=None):
        y = take(self._y, places)
        if trial:
            y = map_arrays(self._change, random_targets(y, self._outputs, self._rng, end, own=(None, 0.5, 0.0)[trial]))
        outputs = self._of_samples(lambda leaf: leaf[places], self._outputs)
        opposite = {"high": "low", "low": "high"}.get(end)
        y_pred = self._of_samples(
            lambda leaf, made: made, outputs, random_outputs(outputs, self._rng, wide, opposite, small=not trial)
        )
        return Batch(places, y, y_pred, self._rng.uniform(0.5, 1.5, len(places)).astype(np.float32))

    def _of_samples(self, function, first, *others):
        """Applies a function to the outputs that are of samples."""
        return keras.tree.map_structure(
            lambda of_samples, leaf, *rest: function(leaf, *rest) if of_samples else leaf, self.of_samples, first, *others
        )

    def differentiated(self, batch, ranks, factors=()):
        """d(loss)/d(weight), a tensor `(m,)` for each int in `ranks`. Where factors `(m,)` are given, also for each int the
        derivatives of its sums with them: a list of gradients by outputs for each of the sums, and the gradients by weights."""
        self.counted += 1
        for variable, value in zip(self.states, self._values):
            variable.assign(value)
        units = [tf.constant(batch.units) for rank in keras.tree.flatten(ranks) if rank is not None]
        rest = iter(units)
        places, y, y_pred, _ = map_arrays(tf.constant, tuple(batch))
        of_samples = zip(keras.tree.flatten(y_pred), keras.tree.flatten(self.of_samples))
        floats = [leaf for leaf, of_sample in of_samples if of_sample and leaf.dtype.is_floating]
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as outer:
            outer.watch([*floats, *units] if factors else [])
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(units)
                weights = keras.tree.map_structure(lambda rank: None if rank is None else columns(next(rest), rank), ranks)
                x = map_arrays(lambda a: tf.gather(a, places), self._x)
                loss = compute_loss(self._model, x, y, y_pred, weights)
            rank = tf.convert_to_tensor(loss).shape.rank
            if rank:
                raise loss_refused("be reduced to one number for the batch", f"a tensor with {rank} dimensions")
            by_unit = tape.gradient(loss, units)
            if all(c is None for c in by_unit):
                raise self._without_weights(y)
            by_unit = [tf.zeros(len(batch.places)) if c is None else c for c in by_unit]
            sums = [[tf.reduce_sum(c * factor) for factor in factors] for c in by_unit]
        derivatives = []
        for several in sums if factors else []:
            try:
                by_weights, *_ = (outer.gradient(total, units) for total in several)
                derivatives.append(([outer.gradient(total, floats) for total in several], by_weights))
            except (LookupError, tf.errors.OpError):  # an operation that is differentiated once only
                derivatives.append((((), ()), ()))
        return by_unit, derivatives

    def _without_weights(self, y):
        received = "one that does not" + (", with y=None" if y is None else "")
        if self._model.loss is None and type(self._model).compute_loss is keras.Model.compute_loss:
            received += "; what `add_loss` adds has no sample weights: give `loss` to `compile`, or override `compute_loss`"
        return loss_refused("depend on `sample_weight`", received)


def _takes_marks(leaf, marks):
    return leaf.dtype.kind == "f" or not np.isnan(marks).any()


def _finite(targets):
    """Targets with 0 where they are not finite."""
    return np.nan_to_num(targets, posinf=0, neginf=0) if targets.dtype.kind == "f" else targets


def _leaks(by_outputs, by_scaled, scale):
    """Whether derivatives `(n, ...)` with r_i and with r_i s_i differ by more than the factor s_j of their own sample."""
    if by_outputs is None or by_scaled is None:
        return (by_outputs is None) != (by_scaled is None)
    one, other = (np.asarray(tf.cast(g, tf.float64)).reshape(len(scale), -1) for g in (by_outputs, by_scaled))
    one = one * scale[:, None]
    known = np.isfinite(one) & np.isfinite(other)
    size = max(np.abs(one[known]).max(initial=0), np.abs(other[known]).max(initial=0))
    return bool(np.any(np.abs(one - other)[known] > 1e-6 * size))
