"""Targets that are not finite, as where labels are missing: to be trained on where the loss masks them, else refused."""

import h5py
import numpy as np
import tensorflow as tf

from importance_sampling.data.arrays import SparseRows
from importance_sampling.data.structures import arrays_of, map_arrays
from importance_sampling.model.losses import compute_loss, forward
from importance_sampling.model.unchanged import unchanged

_SEVERAL = 8


def not_finite(y, size=None):
    """Some of the first `size` samples whose targets in memory are not finite, `(n,)` ints. What is on disk is not read for it."""
    found = [np.empty(0, np.int64)]
    for leaf in arrays_of(y):
        if isinstance(leaf, (str, np.memmap, h5py.Dataset, SparseRows)):
            continue
        array = np.asarray(leaf)
        if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
            found.append(np.flatnonzero(~np.isfinite(array[:size]).reshape(len(array[:size]), -1).all(axis=1)))
    samples = np.unique(np.concatenate(found))
    return samples[np.linspace(0, len(samples) - 1, min(_SEVERAL, len(samples))).astype(np.int64)]


def check_finite(model, form, x, y, places, fixed=None):
    """Refuses targets that are not finite where the loss, or its gradient by the output, is not either.

    Args:
        model: a compiled and built model.
        form: its `LossForm`.
        x, y: a batch.
        places: `(b,)` ints, of its samples in the data, for the error.
        fixed: the batch size of a model that takes no other.

    Raises:
        ValueError: the loss does not mask them.
    """
    rows = not_finite(y)
    if not len(rows):
        return
    x, some = map_arrays(lambda a: tf.gather(a, np.resize(rows, fixed or len(rows))), (x, y))
    with unchanged(model, form.states):
        y_pred = forward(model, x)
        outputs = [leaf for leaf in arrays_of(y_pred) if leaf.dtype.is_floating]
        try:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(outputs)
                loss = compute_loss(model, x, some, y_pred, form.shaped(None, fixed or len(rows)))
            gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, outputs) if g is not None]
        except tf.errors.InvalidArgumentError:  # of classes, which NaN is none of
            loss, gradients = float("nan"), []
    values = np.concatenate([np.ravel(np.asarray(leaf)[rows[0]]) for leaf in arrays_of(y) if np.asarray(leaf).dtype.kind == "f"])
    received = f"Received: y={values[~np.isfinite(values)][0]} for sample {places[rows[0]]}"
    if not np.isfinite(loss):
        raise ValueError(
            "`y` must be finite; the loss does not mask what is not: give a sample that should not count another target, and 0 in "
            f"`sample_weight`. {received}"
        )
    if not all(np.all(np.isfinite(tf.cast(g, tf.float32))) for g in gradients):
        raise ValueError(
            "`y` must be finite; the loss masks what is not, but its gradient does not: replace the target before it is "
            f"subtracted, as by y = ops.where(known, y, y_pred). {received}"
        )
