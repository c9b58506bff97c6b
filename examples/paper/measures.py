"""What is measured of a model and its sampler at an evaluation, besides the test set. Neither is changed."""

import keras
import numpy as np

from importance_sampling import Pool


def variance_ratio(gradient_norm, sampler, draws):
    """What drawing by importance does to the variance of the gradient: E_P[alpha^2 |g|^2] / E[|g|^2], eq. 28 against eq. 27.

    alpha_i = b / (B n_i), n_i the expected count, whatever the k of the run, so that both stand for estimates of the same
    gradient. Both means are taken from the same draws, with the exact gradient norm |g| of each sample alone: without dropout,
    and with the moving statistics of batch normalisation.

    Args:
        gradient_norm: an `Oracle` of the model with the score `"full_gnorm"`, which compiles once for all evaluations.
        sampler: the `ImportanceSampler` of the run.
        draws: how many samples are drawn for it.

    Returns:
        float, below 1 where importance sampling reduces the variance, 1 for uniform sampling.
    """
    state = sampler.get_state()
    draw = sampler.draw(draws)
    sampler.set_state(state)
    x, y, _ = draw.read()
    norms = gradient_norm.score(Pool(draw.indices, None, lambda part: (x[part], y[part], None)))
    alpha = 1 / draw.relative
    return short(np.mean(alpha**2 * norms**2) / np.mean(alpha * norms**2))


def losses_of(model, source, indices, batch_size=500):
    """The losses of some training samples as they are without dropout, `(n,)`."""
    each = []
    for part in np.split(indices, np.arange(batch_size, len(indices), batch_size)):
        x, y, _ = source[part]
        each.append(keras.losses.sparse_categorical_crossentropy(y, model(x, training=False)).numpy())
    return np.concatenate(each)


def quantiles(losses, places=500):
    """Losses in rising order, at evenly spaced quantiles (figure 1b)."""
    return [short(loss) for loss in np.quantile(losses, np.linspace(0, 1, places))]


def short(number):
    """Four digits are enough for a plot."""
    return float(f"{number:.4g}")
