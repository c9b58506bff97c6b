"""What is measured of a model and its sampler at an evaluation, besides the test set."""

import keras
import numpy as np
import tensorflow as tf


def gradient_variance(model, sampler, batch_size, draws):
    """The variance of the weighted gradient of a batch, summed over all weights, estimated from a number of draws.

    The same for uniform draws of the same size, for comparison. Neither the model nor the sampler is changed.

    Returns:
        `[variance, variance of uniform draws]`.
    """
    state = sampler.get_state()
    rng = np.random.default_rng(0)
    size = len(sampler.source)
    gradient = gradient_of(model)
    found = []
    for draw_one in (
        lambda: (lambda draw: (draw.read(), draw.weights))(sampler.draw(batch_size)),
        lambda: (sampler.source[rng.integers(size, size=batch_size)], np.ones(batch_size, np.float32)),
    ):
        total, squares = 0.0, 0.0
        for _ in range(draws):
            (x, y, _), weights = draw_one()
            flat = gradient(x, y, weights).numpy().astype(np.float64)
            total, squares = total + flat, squares + flat @ flat
        mean = total / draws
        found.append(short((squares - draws * mean @ mean) / (draws - 1)))
    sampler.set_state(state)
    return found


def gradient_of(model):
    @tf.function(reduce_retracing=True)
    def gradient(x, y, weights):
        with tf.GradientTape() as tape:
            each = keras.losses.sparse_categorical_crossentropy(y, model(x, training=False))
            loss = tf.reduce_mean(weights * each)
        gradients = tape.gradient(loss, [w.value for w in model.trainable_variables])
        return tf.concat([tf.reshape(tf.convert_to_tensor(g), [-1]) for g in gradients], 0)

    return gradient


def sample_losses(model, source, quantiles=500, batch_size=500, most=60_000):
    """The losses of the training samples, `most` of them, in rising order, at evenly spaced quantiles (figure 1b)."""
    each = []
    for part in np.split(np.arange(min(len(source), most)), np.arange(batch_size, min(len(source), most), batch_size)):
        x, y, _ = source[part]
        each.append(keras.losses.sparse_categorical_crossentropy(y, model(x, training=False)).numpy())
    return [short(loss) for loss in np.quantile(np.concatenate(each), np.linspace(0, 1, quantiles))]


def short(number):
    """Four digits are enough for a plot."""
    return float(f"{number:.4g}")
