"""Nested structures of arrays, as Keras takes them: tuples, lists and dictionaries, where None stands for nothing."""

import keras
import numpy as np


def map_arrays(function, structure, *others):
    """Applies a function to every array of a structure, and to those in the same place of others; None stays None."""
    return keras.tree.map_structure(lambda leaf, *rest: None if leaf is None else function(leaf, *rest), structure, *others)


def arrays_of(structure):
    """The arrays of a structure in a list."""
    return [leaf for leaf in keras.tree.flatten(structure) if leaf is not None]


def size_of(structure):
    """The number of samples, the length of the first array."""
    return len(arrays_of(structure)[0])


def take(structure, positions):
    """Some samples of a structure of arrays in memory."""
    return map_arrays(lambda leaf: leaf[positions], structure)


def item_of(items, i):
    """`items[i]`; what it raises passes on, with a note of the index."""
    try:
        return items[i]
    except Exception as error:
        error.add_note(f"importance_sampling was reading item {i} of {type(items).__name__}")
        raise


def as_array(leaf):
    """What NumPy makes of a tensor, a pandas object and the like. Text may be an array of objects, as TensorFlow gives it: the
    types of text of NumPy drop zeros at the end of bytes.

    Raises:
        ValueError: it is no dense array with the samples along its first axis.
    """
    array = leaf if isinstance(leaf, np.ndarray) else np.asarray(leaf)  # a memory map stays one
    text = array.dtype == object and all(isinstance(one, (str, bytes)) for one in array.flat)
    if array.ndim == 0 or (array.dtype == object and not text):
        raise ValueError(
            "`x`, `y` and `sample_weight` must be dense arrays with the samples along their first axis, or nested structures of "
            f"them. Received: {type(leaf).__name__}"
        )
    return array


def as_scalar(leaf):
    """One number, text or array of a sample as an array, which may have no dimensions."""
    return np.array(leaf, object) if isinstance(leaf, (str, bytes)) else np.asarray(leaf)


def standardized(array):
    """Floats as Keras's `floatx`, as `model.fit` has them."""
    return array.astype(keras.config.floatx(), copy=False) if array.dtype.kind == "f" else array


def rows(values, rank):
    """One number for each sample, `(n,)`, in a shape that multiplies arrays of `rank` dimensions: `(n, 1, ...)`."""
    return np.reshape(values, (-1, *[1] * (rank - 1)))
