"""The shape of the sample weights that a model's metrics take: `(b,)`, as Keras hands them on, is not for all of them."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from importance_sampling.data.structures import columns, map_arrays, size_of
from importance_sampling.model.losses import forward
from importance_sampling.model.unchanged import unchanged

_SAMPLES = 5


def _of_targets(weights, y):
    return map_arrays(lambda leaf: tf.broadcast_to(columns(weights, max(leaf.shape.rank, 1)), tf.shape(leaf)), y)


SHAPES = {
    "(b,)": lambda weights, y: weights,
    "(b, 1)": lambda weights, y: columns(weights, 2),  # with masks, (b, t)
    "that of the targets": _of_targets,  # what counts pixels
}


def metric_weights(model, x, y, fixed=None):
    """A context for a step, in which weights `(b,)` come to `model.compute_metrics` in the shape that its metrics take.

    Metrics are only traced for it, nothing is computed.

    Args:
        model: a compiled and built model.
        x, y: a batch.
        fixed: the batch size of a model that takes no other.

    Raises:
        ValueError: some metric takes no weights at all.
    """
    if all(type(metric) is keras.metrics.Mean for metric in model.metrics):  # those of losses
        return contextlib.nullcontext
    x, y = _few(x, y, fixed)
    errors = _errors(model, x, y, SHAPES)
    taken = [name for name, error in errors.items() if error is None]
    if not errors or taken == ["(b,)"]:
        return contextlib.nullcontext
    if taken:
        return lambda: _shaped(model, SHAPES[taken[0]])
    raise ValueError(
        f"`weighted_metrics` must take sample weights of shape {', '.join(SHAPES)}, since they carry the importance weights; give "
        f"those that do not as `metrics`. Received: {errors['(b,)']}"
    )


def build_metrics(model, x, y, fixed=None):
    """Gives the metrics their variables, as the first step would. The arguments are those of `metric_weights`."""
    _errors(model, *_few(x, y, fixed), {})


def _few(x, y, fixed):
    few = np.resize(np.arange(size_of(x)), fixed or _SAMPLES)
    return map_arrays(lambda a: tf.gather(a, few), (x, y))


def _errors(model, x, y, shapes):
    """What the metrics raise when they are given weights of one shape after another, up to the first that they take: by the name of
    the shape, None for that one. Nothing where they raise without weights too, which is not of our making: the step tells of it."""
    few = keras.tree.flatten(x)[0]
    errors = {}

    def update():
        y_pred = forward(model, x)
        model.compute_metrics(x, y, y_pred, sample_weight=None)
        for name, shape in shapes.items():
            try:
                model.compute_metrics(x, y, y_pred, sample_weight=shape(tf.ones(len(few)), y))
            except Exception as error:  # a metric of the user's may raise anything
                errors[name] = f"{type(error).__name__}: {error}"
            else:
                errors[name] = None
                return

    with contextlib.suppress(Exception), unchanged(model, ()):
        tf.function(update, autograph=False).get_concrete_function()
    return errors


@contextlib.contextmanager
def _shaped(model, shape):
    original, shadowed = model.compute_metrics, "compute_metrics" in vars(model)

    def compute_metrics(x, y, y_pred, sample_weight=None):
        of_samples = tf.is_tensor(sample_weight) and sample_weight.shape.rank == 1
        return original(x, y, y_pred, sample_weight=shape(sample_weight, y) if of_samples else sample_weight)

    model.compute_metrics = compute_metrics
    try:
        yield
    finally:
        if shadowed:
            model.compute_metrics = original
        else:
            del model.compute_metrics
