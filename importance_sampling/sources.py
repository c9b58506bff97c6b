"""Data with random access, and the class ids in its targets.

Only the samples that are asked for are ever read: `source[indices]` is the one way to the inputs.
"""

import keras
import numpy as np

_WITHOUT_CLASSES = "without classes there are importance='oracle' and importance=LSTM(classes=0)"


class ArraySource:
    """Arrays in memory as a source. Floats become Keras's `floatx` when they are read, as in `model.fit`.

    Args:
        x: inputs; an array `(N, ...)` or a nested structure (tuple, list, dict) of such arrays.
        y: targets, likewise.
        sample_weight: None, or the user's own weights, `(N,)` or more, or a structure of them. They multiply the
            importance weights, and a sample's loss counts times its weight.

    Raises:
        ValueError: the data is empty, its parts have different lengths, or something in it is no array.

    Example:
        >>> import numpy as np
        >>> source = ArraySource(np.arange(8).reshape(4, 2), np.array([0, 1, 0, 1]))
        >>> len(source)
        4
        >>> source[np.array([3, 0])]
        (array([[6, 7],
               [0, 1]]), array([1, 0]), None)
    """

    def __init__(self, x, y, sample_weight=None):
        x, y = keras.tree.map_structure(_as_array, x), keras.tree.map_structure(_as_array, y)
        self._parts = (x, y, _map(_as_weights, sample_weight))
        names = ("x", "y", "sample_weight")
        lengths = {name: _lengths(part) for name, part in zip(names, self._parts) if _lengths(part)}
        distinct = sorted({n for found in lengths.values() for n in found})
        if len(distinct) > 1:
            received = ", ".join(f"len({name})={'/'.join(map(str, found))}" for name, found in lengths.items())
            raise ValueError(f"`x`, `y` and `sample_weight` must have the same length. Received: {received}")
        if not distinct or distinct[0] == 0:
            raise ValueError("`x` must have at least one sample. Received: empty data")
        self._size = distinct[0]

    @property
    def targets(self):
        """The targets of all samples, as given."""
        return self._parts[1]

    def __len__(self):
        return self._size

    def __getitem__(self, indices):
        """Reads some samples: `(x, y, sample_weight)`, each with the n samples of `indices` along its first axis."""
        return tuple(_map(_standardized, part) for part in self._cut(indices))

    def slice(self, start, stop):
        """A source of the samples `start` to `stop`, without copying them."""
        return ArraySource(*self._cut(slice(start, stop)))

    def _cut(self, where):
        return tuple(_map(lambda a: a[where], part) for part in self._parts)


def class_ids(targets):
    """The class of every sample.

    Args:
        targets: whole numbers `(N,)` or `(N, 1)` of any dtype, or one-hot `(N, C)`.

    Returns:
        `(N,)` int64 ids, and C for one-hot targets or None for ids.

    Raises:
        ValueError: the targets are neither, or an id is negative.

    Example:
        >>> class_ids(np.array([[0, 0, 1], [1, 0, 0]]))
        (array([2, 0]), 3)
        >>> class_ids(np.array([[4], [1]]))
        (array([4, 1]), None)
    """
    rule = (
        "`y` must be class ids (N,) or (N, 1), or one-hot (N, C), for an importance that tells classes apart "
        f"({_WITHOUT_CLASSES})"
    )
    if not isinstance(targets, np.ndarray):
        raise ValueError(f"{rule}. Received: {type(targets).__name__}")
    if targets.ndim == 2 and targets.shape[1] > 1:
        if not (np.all((targets == 0) | (targets == 1)) and np.all(targets.sum(axis=1) == 1)):
            raise ValueError(f"{rule}. Received: y.shape={targets.shape}, with rows that are not one-hot")
        return targets.argmax(axis=1), targets.shape[1]
    if targets.ndim not in (1, 2) or targets.dtype.kind not in "buif":
        raise ValueError(f"{rule}. Received: y.shape={targets.shape}, y.dtype={targets.dtype}")
    ids = targets.reshape(len(targets))
    if ids.dtype.kind == "f" and not np.all(ids == np.floor(ids)):  # NaN and inf fail here or below
        raise ValueError(f"{rule}. Received: y={ids[ids != np.floor(ids)][0]}")
    if not np.all(np.isfinite(ids)):
        raise ValueError(f"{rule}. Received: y={ids[~np.isfinite(ids)][0]}")
    if ids.min() < 0:
        raise ValueError(f"{rule}, counted from 0. Received: y={ids.min()}")
    return ids.astype(np.int64), None


def check_outputs(targets, outputs):
    """Refuses class ids that a model has no output for.

    Args:
        targets: as for `class_ids`.
        outputs: the symbolic outputs of the model; a subclassed model, or one not built yet, has none to tell.

    Raises:
        ValueError: an id is too large.
    """
    ids, classes = class_ids(targets)
    if classes is not None or len(outputs) != 1 or len(outputs[0].shape) != 2:
        return
    limit = max(outputs[0].shape[-1], 2)  # one output tells two classes apart
    if ids.max() >= limit:
        raise ValueError(
            f"`y` must be class ids in [0, {limit}), by the model's outputs, for an importance that tells classes apart "
            f"({_WITHOUT_CLASSES}). Received: y={ids.max()}"
        )


def split(source, fraction):
    """The last slice, unshuffled, is for validation. Returns a source and `(x, y)` or `(x, y, sample_weight)`."""
    at = int(len(source) * (1 - fraction))
    if not 0 < at < len(source):
        raise ValueError(
            f"`validation_split` must leave samples on both sides of {len(source)}. Received: validation_split={fraction}"
        )
    x, y, sample_weight = source.slice(at, len(source))[slice(None)]
    return source.slice(0, at), (x, y) if sample_weight is None else (x, y, sample_weight)


def with_class_weight(source, class_weight):
    """A source whose sample weights are the user's own times the weight of the class, 1 for a class not named."""
    x, y, sample_weight = source[slice(None)]
    ids, _ = class_ids(y)
    known, position = np.unique(ids, return_inverse=True)
    by_class = np.array([class_weight.get(int(c), 1.0) for c in known], np.float32)[position]
    if sample_weight is not None:
        by_class = by_class.reshape(-1, *[1] * (sample_weight.ndim - 1)) * sample_weight
    return ArraySource(x, y, by_class)


def _as_array(leaf):
    """An array is left as it is, a memory map too. Tensors, pandas objects and the like become arrays."""
    array = leaf if isinstance(leaf, np.ndarray) else np.asarray(leaf)
    if array.ndim == 0 or array.dtype == object:
        raise ValueError(
            "`x`, `y` and `sample_weight` must be arrays with the samples along their first axis, or nested structures of "
            f"them. Received: {type(leaf).__name__}"
        )
    return array


def _lengths(part):
    return sorted({len(leaf) for leaf in keras.tree.flatten(part) if leaf is not None})


def _map(function, part):
    """Over all arrays of a structure; no sample weights stay none."""
    return None if part is None else keras.tree.map_structure(function, part)


def _as_weights(leaf):
    return _as_array(leaf).astype(np.float32, copy=False)


def _standardized(leaf):
    if leaf.dtype.kind != "f":
        return leaf
    return leaf.astype(keras.config.floatx(), copy=False)
