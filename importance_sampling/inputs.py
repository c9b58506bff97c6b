"""From what a user gives to `fit` to a source of samples or a stream of batches."""

import h5py
import keras
import numpy as np

from importance_sampling.sources import ArraySource, ItemSource, Weighted
from importance_sampling.structures import arrays_of, map_arrays, rows


def source_of(x, y, sample_weight):
    """Data with random access as a source.

    Raises:
        ValueError: the data are not of a kind that is taken, their parts do not fit each other, or targets are not finite.
    """
    if x is None:
        raise ValueError("`x` must be given. Received: x=None")
    if isinstance(x, (ArraySource, ItemSource)):
        for name, value in (("y", y), ("sample_weight", sample_weight)):
            if value is not None:
                raise ValueError(f"`{name}` must be in the source. Received: x={type(x).__name__}, {name}={type(value).__name__}")
        return x
    if not _gives_items(x):
        check_targets(y)
        source = ArraySource(x, y, sample_weight)
    else:
        if not isinstance(y, str):
            check_targets(y)
        source = ItemSource(x, y)
        if sample_weight is not None:
            source = Weighted(source, _weights(sample_weight, len(source)))
    return source


def _weights(sample_weight, size):
    """One weight for each sample, beside data that give their samples themselves."""
    weights = None if keras.tree.is_nested(sample_weight) else np.asarray(sample_weight)
    if weights is None or weights.shape != (size,):
        received = type(sample_weight).__name__ if weights is None else weights.shape
        raise ValueError(f"`sample_weight` must be an array of shape ({size},) beside single samples. Received: {received}")
    return weights


def weighted_by_class(source, class_weight):
    """The source with the weight of each sample's class multiplied into its own.

    Raises:
        ValueError: the classes are not known.
    """
    if class_weight is None:
        return source
    if source.targets is None or isinstance(source.targets, tuple) and not source.targets:
        raise ValueError("`y` must be given with `class_weight`. Received: y=None")
    return Weighted(source, class_factors(source.targets, class_weight))


def check_targets(y):
    """Refuses targets in memory that no loss can be computed for. What is on disk is not read for it.

    Raises:
        ValueError: one is NaN or infinite, or text.
    """
    for leaf in arrays_of(y):
        array = leaf if isinstance(leaf, (np.memmap, h5py.Dataset)) else np.asarray(leaf)
        if array.dtype.kind in "USO":
            raise ValueError(f"`y` must be numbers. Received: y.dtype={array.dtype}")
        if array.dtype.kind != "f" or isinstance(array, (np.memmap, h5py.Dataset)) or np.all(np.isfinite(array)):
            continue
        place = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(
            "`y` must be finite; a sample that should not count has a weight of 0 in `sample_weight`. "
            f"Received: y={array[tuple(place)]} for sample {place[0]}"
        )


def refuse_with_batches(x, y, sample_weight, batch_size, validation_split):
    """Refuses arguments that batches decide themselves.

    Raises:
        ValueError: naming the argument.
    """
    kind = type(x).__name__
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(f"`{name}` must come with the batches of `x`, a {kind}. Received: {name}={type(value).__name__}")
    if batch_size is not None:
        raise ValueError(f"`batch_size` must not be given: `x`, a {kind}, has batches. Received: batch_size={batch_size}")
    if validation_split:
        raise ValueError(
            f"`validation_split` needs arrays; give `validation_data`. Received: x={kind}, validation_split={validation_split}"
        )


def by_class(class_weight):
    """A function that multiplies the weights of the classes into those of a batch `(x, y, sample_weight)`."""

    def weighted(batch):
        x, y, own = batch
        factors = class_factors(y, class_weight)
        return x, y, factors if own is None else map_arrays(lambda w: w * rows(factors, w.ndim), own)

    return weighted if class_weight is not None else lambda batch: batch


def class_factors(targets, class_weight):
    """The weight of each sample's class, `(n,)` float32; 1 for a class not named.

    Raises:
        ValueError: there are several outputs, or no classes.
    """
    if keras.tree.is_nested(targets):
        raise ValueError(f"`class_weight` must go with one output. Received: y={type(targets).__name__}")
    if not isinstance(targets, np.ndarray) or targets.ndim > 2:
        raise ValueError(f"`class_weight` must go with classes as targets. Received: y.shape={np.shape(targets)}")
    ids = targets.argmax(axis=1) if targets.ndim == 2 and targets.shape[1] > 1 else targets.reshape(len(targets))  # as Keras does
    known, position = np.unique(ids, return_inverse=True)
    return np.array([class_weight.get(int(c), 1.0) for c in known], np.float32)[position]


def _gives_items(x):
    """Whether x gives single samples, rather than being an array or a structure of arrays."""
    methods = ("__len__", "__getitem__")
    array = _has(x, "__array__") or _has(x, "getnnz")  # the latter of scipy, to be refused as no dense array
    return not isinstance(x, (tuple, list, dict)) and not array and all(_has(x, name) for name in methods)


def _has(x, name):
    return getattr(type(x), name, None) is not None
