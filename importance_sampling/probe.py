"""Whether a compiled model's loss can be taken apart into per-sample losses, found out before the first step.

Importance weights travel as sample weights, so the loss must be linear in them, with a value for each sample. A few
samples tell: their losses are computed together, alone, doubled and with other weights. The outputs are replaced by
perturbed ones, since a fresh model may give the same output for every sample.
"""

import keras
import numpy as np
import tensorflow as tf

from importance_sampling.losses import LossRecorder, forward, loss_refused, metrics_kept

_SAMPLES = 8
_TOLERANCE = 1e-3  # relative; losses may be computed in half precision


def loss_reduction(model, x, y):
    """Finds how the model's loss reduces a batch.

    Args:
        model: a compiled and built `keras.Model`.
        x, y: a batch; a few samples of it are used.

    Returns:
        `"mean"` or `"sum"`.

    Raises:
        ValueError: the loss has no per-sample value, is normalised by the sample weights or does not depend on them, or is
            not reduced to a number.
    """
    x, y = keras.tree.map_structure(lambda a: a[:_SAMPLES], (x, y))
    recorder = LossRecorder(model, reduction="sum")
    y_pred = _perturbed(forward(model, x))
    n = len(keras.tree.flatten(x)[0])
    ones = np.ones((n, 1), np.float32)

    def contributions(positions, weights):
        """d(loss)/d(u_i) for some of the samples, `(len(positions),)`."""
        take = lambda a: tf.gather(a, positions)  # noqa: E731
        batch = [keras.tree.map_structure(take, part) for part in (x, y, y_pred, weights)]
        return np.nan_to_num(recorder.record(*batch).losses.numpy())

    everything = np.arange(n)
    tilted = np.linspace(0.5, 1.5, n, dtype=np.float32)[:, None]
    with metrics_kept(model):
        together = contributions(everything, ones)
        reweighted = contributions(everything, tilted) / tilted[:, 0]
        alone = np.concatenate([contributions([i], ones) for i in range(n)])
        doubled = contributions(np.concatenate([everything, everything]), np.concatenate([ones, ones]))[:n]

    if not _close(together, reweighted):
        raise loss_refused("not be normalised by the sample weights", "reduction='mean_with_sample_weight' or like it")
    if n > 1 and _close(together, together[0]) and not _close(alone, alone[0]):
        raise loss_refused("have a value for each sample", "a loss that returns one number for the whole batch")
    if _close(doubled, together / 2):
        return "mean"
    if _close(doubled, together):
        return "sum"
    raise loss_refused("reduce every output in the same way, by mean or by sum", "a mixture")


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
