"""The values of everything in a model that training changes."""

import keras
import numpy as np
import tensorflow as tf

from importance_sampling.model.unchanged import elsewhere
from importance_sampling.types import State

_NUMBERS = "biuf"  # kinds of numpy that a file can hold as they are


def values_of(variables) -> State:
    """The values of variables, by their place: numpy arrays; of types that numpy lacks, such as bfloat16, their bits."""
    return {f"{i:05d}": _bits(value_of(variable)) for i, variable in enumerate(variables)}


def value_of(variable):
    """A numpy array; under a strategy that of the first replica."""
    return np.asarray(keras.ops.convert_to_tensor(variable))


def check_values(variables, values, what):
    """Refuses values that are of other variables.

    Raises:
        ValueError: their number, or the shape of one differs.
    """
    shapes = [tuple(variable.shape) for variable in variables]
    found = [np.shape(values[name]) for name in sorted(values)]
    if shapes != found:
        differing = next((pair for pair in zip(shapes, found) if pair[0] != pair[1]), (f"{len(shapes)} of them", f"{len(found)}"))
        raise ValueError(f"the backup must be of the same {what}: {differing[0]}. Received: {differing[1]}")


def assign(variables, values):
    """Gives variables the values that `values_of` returned."""
    for variable, name in zip(variables, sorted(values)):
        variable.assign(_numbers(values[name], variable.dtype))


def trained(model):
    """What a step changes, apart from metrics: weights, seeds of random layers and losses, what layers keep between batches, and
    the optimizer's variables."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    of_metrics = {id(variable) for variable in model.metrics_variables}
    found = {id(variable): variable for variable in (*model.variables, *elsewhere(model), *model.optimizer.variables)}
    return [variable for key, variable in found.items() if key not in of_metrics]


def _bits(array):
    return array if array.dtype.kind in _NUMBERS else array.view(f"u{array.dtype.itemsize}")


def _numbers(array, dtype):
    kept = np.dtype(tf.as_dtype(dtype).as_numpy_dtype)
    return array if kept.kind in _NUMBERS else array.view(kept)
