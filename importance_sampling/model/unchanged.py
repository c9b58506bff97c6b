"""A model left as it was by what is computed with it."""

import contextlib

import keras
import tensorflow as tf


@contextlib.contextmanager
def unchanged(model, states=None):
    """A context that leaves the model as it was: losses may update metrics, layers draw from generators or count.

    Args:
        model: a built model.
        states: the variables to restore beside the metrics; None is all that are not trainable. Works in graphs too.
    """
    variables = [*model.metrics_variables, *(model.non_trainable_variables if states is None else states)]
    variables += elsewhere(model)
    values = [tf.identity(v.value) for v in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values):
            variable.assign(value)
        known = {id(variable) for variable in variables}
        for variable in model.metrics_variables:  # a loss of several outputs makes some when it is first computed
            if id(variable) not in known:
                variable.assign(tf.zeros_like(variable.value))


def elsewhere(model):
    """A list of the variables that training changes and that Keras does not count among those of the model."""
    return [*_between_batches(model), *_of_losses(model)]


def _of_losses(model):
    """The variables of loss objects, such as counters, and the states of their random generators."""
    for loss in keras.tree.flatten(model.loss):
        for value in vars(loss).values() if isinstance(loss, keras.losses.Loss) else ():
            value = value.state if isinstance(value, keras.random.SeedGenerator) else value
            if isinstance(value, keras.Variable):
                yield value


def _between_batches(model):
    """What stateful layers keep from one batch to the next, which is no variable of the model."""
    for layer in getattr(model, "layers", []):
        yield from keras.tree.flatten(layer.states or []) if getattr(layer, "stateful", False) else _between_batches(layer)
