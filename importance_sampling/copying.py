"""Deep copies of objects that hold what must not be copied: the user's data and functions, and what is compiled."""

import copy
import warnings


def deep_copied(original, memo, shared=(), model=None):
    """A deep copy of an object, all but the attributes named in `shared`, which both have then.

    Args:
        model: copied first, so that what refers to it refers to its copy.
    """
    if model is not None:
        copy_model(model, memo)
    copied = copy.copy(original)
    memo[id(original)] = copied
    vars(copied).update(copy.deepcopy({name: value for name, value in vars(original).items() if name not in shared}, memo))
    return copied


def copy_model(model, memo):
    """Copies a model, so that deep copies with that `memo` refer to the copy.

    Raises:
        ValueError: Keras cannot, which saves and loads it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy, about how Keras saves
            copy.deepcopy(model, memo)
    except Exception as error:
        raise ValueError(
            "`model` must be one that Keras can save and load, to be copied: register what is your own in it by "
            f"keras.saving.register_keras_serializable. Received: {type(model).__name__}, {type(error).__name__}"
        ) from error
