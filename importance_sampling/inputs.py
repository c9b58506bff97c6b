"""From what a user gives to `fit` to a source of samples or a stream of batches."""

import keras
import numpy as np

from importance_sampling.labels import class_ids
from importance_sampling.sources import ArraySource, ItemSource, Weighted


def source_of(x, y, sample_weight, class_weight):
    """Data with random access as a source; the weights of samples and classes are multiplied.

    Raises:
        ValueError: the data are not of a kind that is taken, or their parts do not fit each other.
    """
    if not _gives_items(x):
        if x is None or y is None:
            raise ValueError(f"`x` and `y` must be given. Received: x={type(x).__name__}, y={type(y).__name__}")
        source = ArraySource(x, y, sample_weight)
    else:
        source = ItemSource(x, y)
        if sample_weight is not None:
            source = Weighted(source, ArraySource(sample_weight, sample_weight).targets)
    if class_weight is None:
        return source
    if source.targets is None:
        raise ValueError("`y` must be given with `class_weight`. Received: y=None")
    return Weighted(source, class_factors(source.targets, class_weight))


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
        return x, y, factors if own is None else own * factors.reshape(-1, *[1] * (own.ndim - 1))

    return weighted if class_weight is not None else lambda batch: batch


def class_factors(targets, class_weight):
    """The weight of each sample's class, `(n,)` float32; 1 for a class not named.

    Raises:
        ValueError: there are several outputs, or no classes.
    """
    if keras.tree.is_nested(targets):
        raise ValueError(f"`class_weight` must go with one output. Received: y={type(targets).__name__}")
    known, position = np.unique(class_ids(targets)[0], return_inverse=True)
    return np.array([class_weight.get(int(c), 1.0) for c in known], np.float32)[position]


def _gives_items(x):
    """Whether x gives single samples, rather than being an array or a structure of arrays."""
    methods = ("__len__", "__getitem__")
    return not isinstance(x, (tuple, list, dict)) and not _has(x, "__array__") and all(_has(x, name) for name in methods)


def _has(x, name):
    return getattr(type(x), name, None) is not None
