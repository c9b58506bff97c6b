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
        ValueError: their number differs, or the shape or type of one.
    """
    forms = [f"{_kept(variable.dtype)[1]}{tuple(variable.shape)}" for variable in variables]
    found = [f"{values[name].dtype}{np.shape(values[name])}" for name in sorted(values)]
    if forms != found:
        differing = next((pair for pair in zip(forms, found) if pair[0] != pair[1]), (f"{len(forms)} of them", f"{len(found)}"))
        raise ValueError(f"the backup must be of the same {what}: {differing[0]}. Received: {differing[1]}")


def assign(variables, values):
    """Gives variables the values that `values_of` returned."""
    for variable, name in zip(variables, sorted(values)):
        variable.assign(_numbers(values[name], variable.dtype))


def trained(model):
    """What a step changes, apart from metrics: weights, seeds of random layers and losses, what layers keep between batches, and
    the variables of optimizers."""
    if not model.optimizer.built:  # as by the first step, unless that is the user's own and does so in another way
        model.optimizer.build(model.trainable_variables)
    of_metrics = {id(variable) for variable in model.metrics_variables}
    of_optimizers = [variable for optimizer in optimizers_of(model) for variable in optimizer.variables]
    found = {id(variable): variable for variable in (*model.variables, *elsewhere(model), *of_optimizers)}
    return [variable for key, variable in found.items() if key not in of_metrics]


def is_ready(model):
    """Whether `trained` is known before the first step: not where the user's own step might build the optimizer in its own way."""
    return model.optimizer.built or type(model).train_step is keras.Model.train_step


def optimizers_of(model):
    """That of `compile`, and those that hang on the model or its layers, as where a step trains two networks."""
    found = {id(model.optimizer): model.optimizer}
    for value in vars(model).values():
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
        found |= {id(part): part for part in parts if isinstance(part, keras.optimizers.Optimizer)}
    for layer in getattr(model, "layers", ()):
        if isinstance(layer, keras.Model) and getattr(layer, "optimizer", None) is not None:
            found |= {id(optimizer): optimizer for optimizer in optimizers_of(layer)}
    return list(found.values())


def _bits(array):
    return array if array.dtype.kind in _NUMBERS else array.view(f"u{array.dtype.itemsize}")


def _numbers(array, dtype):
    own, kept = _kept(dtype)
    return array if own == kept else array.view(own)


def _kept(dtype):
    """The type of numpy of a variable, and that which a file has."""
    own = np.dtype(tf.as_dtype(dtype).as_numpy_dtype)
    return own, own if own.kind in _NUMBERS else np.dtype(f"u{own.itemsize}")
