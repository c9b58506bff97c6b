"""What a user's step makes of the sample weights on their way to `compute_loss`."""

import keras
import tensorflow as tf

HANDED_ON = (
    "`model.train_step` must hand the sample weights it is given on to `compute_loss`, for the whole batch, in its order and not "
    "normalised: they carry the importance weights. Received: others"
)


def handed_on(sample_weight, given, tape):
    """Weights that arrive, checked as the step runs: those that were given, or each of them times a number of its sample.

    With r_i for sample i, the derivative of `sum_i r_i w_i` by what was given, times that, is `r_i w_i`, unless the step has
    normalised the weights or changed their order. A step that takes a part of the batch is refused elsewhere.

    Args:
        sample_weight: structure of tensors `(b, ...)`.
        given: list of tensors `(b, ...)`, what the step was told of.
        tape: a persistent tape that watches them.

    Returns:
        The weights, or None where nothing of what was given is in them.
    """
    arrived = [leaf for leaf in keras.tree.flatten(sample_weight) if leaf is not None]
    if all(any(leaf is one for one in given) for leaf in arrived):
        return sample_weight
    size, known = tf.shape(given[0])[0], given[0].shape[0]
    r = 2.0 + tf.sin(1.7 * tf.range(tf.cast(size, tf.float32)))
    checks = []
    for leaf in arrived:
        if None not in (known, leaf.shape[0]) and leaf.shape[0] != known:
            return sample_weight
        length = tf.shape(leaf)[0]
        sums = tf.reduce_sum(tf.reshape(tf.cast(leaf, tf.float32), (length, -1)), axis=1)
        total = tf.reduce_sum(sums * r[:length])
        with tape.stop_recording():
            gradients = [(g, one) for g, one in zip(tape.gradient(total, given), given) if g is not None]
        if not gradients:
            return None
        found = sum(tf.reduce_sum(tf.reshape(g * one, (size, -1)), axis=1) for g, one in gradients)
        checks.append(tf.debugging.assert_equal(length, size, message=HANDED_ON))
        checks.append(tf.debugging.assert_near(found, r * sums, rtol=1e-3, atol=1e-6, message=HANDED_ON))
    with tf.control_dependencies([check for check in checks if check is not None]):  # in eager mode there are none
        return keras.tree.map_structure(lambda leaf: None if leaf is None else tf.identity(leaf), sample_weight)
