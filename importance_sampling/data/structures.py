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


def check_weights(y, sample_weight):
    """Refuses weights that are not given for each output.

    Raises:
        ValueError: they are a structure other than that of the targets.
    """
    if keras.tree.is_nested(y) and keras.tree.is_nested(sample_weight) and not _alike(y, sample_weight):
        raise ValueError(
            "`sample_weight` must be one array for all outputs, or have one array, or None, for each output in `y`. "
            f"Received: sample_weight of {_outline(sample_weight)} for y of {_outline(y)}"
        )


def check_lengths(x, y, sample_weight, where=""):
    """Refuses parts of different lengths. Returns their length; None where there is no array.

    Raises:
        ValueError: they are.
    """
    parts = {"x": x, "y": y, "sample_weight": sample_weight}
    lengths = {name: sorted({_length(leaf) for leaf in arrays_of(part)}) for name, part in parts.items() if arrays_of(part)}
    distinct = {length for found in lengths.values() for length in found}
    if len(distinct) > 1:
        received = ", ".join(f"len({name})={'/'.join(map(str, found))}" for name, found in lengths.items())
        raise ValueError(f"`x`, `y` and `sample_weight` must have the same length{where}. Received: {received}")
    return next(iter(distinct), None)


def _length(leaf):
    return leaf.shape[0] if len(leaf.shape) else 0


def without_gaps(sample_weight, size):
    """Weights in which each None of a structure has become ones, `(size,)`; None alone stays."""
    if sample_weight is None:
        return None
    return keras.tree.map_structure(lambda leaf: np.ones(size, np.float32) if leaf is None else leaf, sample_weight)


def columns(values, rank):
    """An array or tensor `(n,)` or more in a shape that multiplies those of `rank` dimensions: `(n, 1, ...)`."""
    return values[(..., *[None] * (rank - len(values.shape)))]


def times(weights, factors):
    """Weights times a factor for each sample.

    Args:
        weights: structure of arrays or tensors `(n, ...)`; None, as a whole or in it, counts 1.
        factors: `(n,)`, or more for weights of as many dimensions.
    """
    product = lambda one: factors if one is None else one * columns(factors, len(one.shape))  # noqa: E731
    return factors if weights is None else keras.tree.map_structure(product, weights)


def _alike(structure, other):
    """Whether two structures have the same places; a list is as good as a tuple."""
    if isinstance(structure, dict) and isinstance(other, dict):
        return structure.keys() == other.keys() and all(_alike(structure[name], other[name]) for name in structure)
    if isinstance(structure, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(structure) == len(other) and all(map(_alike, structure, other))
    return not keras.tree.is_nested(other)


def _outline(structure):
    """The names or the number of the parts, for an error."""
    return ", ".join(map(repr, structure)) if isinstance(structure, dict) else f"{len(structure)} arrays"


def form_of(structure):
    """Shapes and types of single samples."""
    return keras.tree.map_structure(lambda leaf: f"{keras.backend.standardize_dtype(leaf.dtype)}{tuple(leaf.shape[1:])}", structure)
