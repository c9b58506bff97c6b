"""From what a user gives to `fit` to a source of samples or a stream of batches."""

import h5py
import keras
import numpy as np

from importance_sampling.data.arrays import SparseRows, is_array
from importance_sampling.data.sources import ArraySource, ItemSource, Weighted, stored
from importance_sampling.data.structures import arrays_of, times


def source_of(x, y, sample_weight):
    """Data with random access as a source.

    Raises:
        ValueError: the data are not of a kind that is taken, their parts do not fit each other, or targets are no numbers.
    """
    if x is None:
        raise ValueError("`x` must be given. Received: x=None")
    if isinstance(x, (ArraySource, ItemSource)):
        for name, value in (("y", y), ("sample_weight", sample_weight)):
            if value is not None:
                raise ValueError(f"`{name}` must be in the source. Received: x={type(x).__name__}, {name}={type(value).__name__}")
        return x
    if not isinstance(y, str):
        y = stored(y, "y")
        check_targets(y)
    if not _gives_items(x):
        source = ArraySource(x, y, sample_weight)
    else:
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
        ValueError: the classes are not known, or a sample has several.
    """
    if class_weight is None:
        return source
    targets = source.targets
    if targets is None or isinstance(targets, tuple) and not targets:
        raise ValueError("`y` must be given with `class_weight`. Received: y=None")
    factors = class_factors(targets, class_weight)
    if factors.ndim > 1:
        raise ValueError(
            "`class_weight` must go with one class for each sample, (N,) or (N, 1) or rows (N, C); give `sample_weight` "
            f"for time steps or pixels. Received: y.shape={targets.shape}"
        )
    return Weighted(source, factors)


def checked_class_weight(class_weight):
    """A dictionary from class id to weight, or None.

    Raises:
        ValueError: it is no dictionary, or a weight is no finite number.
    """
    if class_weight is None:
        return None
    rule = "`class_weight` must be a dictionary from class id to weight"
    if not all(hasattr(class_weight, name) for name in ("get", "keys")):  # which a Series of pandas has, as Keras takes it
        raise ValueError(
            f"{rule}; for 'balanced' weights, make one of what scikit-learn's compute_class_weight returns, for an array by "
            f"dict(enumerate(class_weight)). Received: class_weight={class_weight!r:.60}"
        )
    found = dict(class_weight)
    for name, weight in found.items():
        if not _is_finite(weight):
            raise ValueError(f"{rule}, a finite number. Received: {weight!r:.60} for class {name}")
    return found


def _is_finite(weight):
    try:
        return np.ndim(weight) == 0 and bool(np.isfinite(float(weight)))
    except (TypeError, ValueError):
        return False


def check_targets(y):
    """Refuses targets that no loss can be computed for.

    Raises:
        ValueError: one is no number.
    """
    for leaf in arrays_of(y):
        array = leaf if isinstance(leaf, (np.memmap, h5py.Dataset, SparseRows)) else np.asarray(leaf)
        if array.dtype.kind in "USO":
            number = "number the classes, as by numpy.unique(y, return_inverse=True)[1]"
            raise ValueError(f"`y` must be numbers; {number}. Received: text, y.dtype={array.dtype}")


def refuse_with_batches(x, y, sample_weight, validation_split):
    """Refuses arguments that go with arrays only. `batch_size` does no harm: batches have their own, and Keras lets it pass.

    Raises:
        ValueError: naming the argument.
    """
    kind = type(x).__name__
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(f"`{name}` must come with the batches of `x`, a {kind}. Received: {name}={type(value).__name__}")
    if validation_split:
        raise ValueError(
            f"`validation_split` needs arrays; give `validation_data`. Received: x={kind}, validation_split={validation_split}"
        )


def by_class(class_weight):
    """A function that multiplies the weights of the classes into those of a batch `(x, y, sample_weight)`."""

    def weighted(batch):
        x, y, own = batch
        return x, y, times(own, class_factors(y, class_weight))

    return weighted if class_weight is not None else lambda batch: batch


def class_factors(targets, class_weight):
    """The weight of each sample's class, 1 for a class not named, as Keras finds it: numbers are rounded to their class, of rows
    that are longer than 1 it is the largest entry.

    Args:
        targets: `(n,)`, `(n, 1)` or `(n, C)`; or `(n, T, 1)` or `(n, T, C)`, with a class for each time step.

    Returns:
        `(n,)` float32, or `(n, T)`.

    Raises:
        ValueError: there are several outputs, or no targets.
    """
    if keras.tree.is_nested(targets):
        raise ValueError(f"`class_weight` must go with one output. Received: y={type(targets).__name__}")
    if targets is None:
        raise ValueError("`y` must come with `class_weight`. Received: y=None")
    if targets.ndim > 1:
        targets = targets.argmax(axis=-1) if targets.shape[-1] != 1 else targets[..., 0]
    with np.errstate(invalid="ignore"):  # what is missing has no class
        ids = np.round(targets).astype("int32")
    known, position = np.unique(ids, return_inverse=True)
    return np.array([class_weight.get(int(c), 1.0) for c in known], np.float32)[position.reshape(ids.shape)]


def _gives_items(x):
    """Whether x gives single samples, rather than being an array or a structure of arrays."""
    methods = ("__len__", "__getitem__")
    return not (isinstance(x, (tuple, list, dict)) or is_array(x)) and all(getattr(type(x), m, None) is not None for m in methods)
