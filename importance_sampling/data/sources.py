"""Data with random access: arrays in memory or on disk, and objects that give one sample at a time.

Only the samples that are asked for are ever read: `source[indices]` is the one way to them.
"""

import h5py
import keras
import numpy as np

from importance_sampling.data.arrays import as_array, as_scalar, sparse_rows, standardized
from importance_sampling.data.structures import (
    check_lengths,
    check_weights,
    item_of,
    map_arrays,
    take,
    times,
    without_gaps,
)
from importance_sampling.types import Source


class ArraySource:
    """Arrays as a source. Floats become Keras's `floatx` when they are read, as in `model.fit`.

    NumPy arrays, memory maps and HDF5 data sets stay where they are, and sparse arrays of SciPy or TensorFlow stay sparse: their
    rows are made dense when they are read. Tensors, pandas objects and whatever else NumPy makes an array of are converted once.

    Args:
        x: inputs; an array `(N, ...)` or a nested structure (tuple, list, dict) of such arrays.
        y: targets, likewise; None where the model computes its loss without.
        sample_weight: None, or the user's own weights, `(N,)` or more, or a structure of them, where None counts 1. They
            multiply the importance weights, and a sample's loss counts times its weight.

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
        check_weights(y, sample_weight)
        parts = {"x": x, "y": y, "sample_weight": sample_weight}
        x, y, own = (stored(part, name) for name, part in parts.items())
        self._parts = (x, y, map_arrays(lambda leaf: leaf[:].astype(np.float32, copy=False), own))
        self._size = check_lengths(*self._parts)
        if not self._size:
            raise ValueError("`x` must have at least one sample. Received: empty data")
        self._parts = (*self._parts[:2], without_gaps(self._parts[2], self._size))
        self._leaves = keras.tree.flatten(self._parts)

    @property
    def targets(self):
        """The targets of all samples, in memory; `()` where there are none."""
        return () if self._parts[1] is None else map_arrays(lambda leaf: leaf[:], self._parts[1])

    def __len__(self):
        return self._size

    def __getitem__(self, indices):
        """Reads some samples: `(x, y, sample_weight)`, each with the n samples of `indices` along its first axis."""
        floatx = keras.config.floatx()
        read = [
            leaf if leaf is None else _from_disk(leaf, indices) if isinstance(leaf, h5py.Dataset) else leaf[indices]
            for leaf in self._leaves
        ]
        read = [leaf.astype(floatx, copy=False) if leaf is not None and leaf.dtype.kind == "f" else leaf for leaf in read]
        return keras.tree.pack_sequence_as(self._parts, read)


class ItemSource:
    """An object that gives one sample at a time as a source: anything with `__len__` and `__getitem__` for an int.

    Args:
        items: gives a sample as `(x, y)` or `(x, y, sample_weight)`, or `x` alone where `y` is given; arrays, numbers or
            nested structures of them. Several inputs are a list or dictionary there, since a tuple is taken for `(x, y)`. The
            same index must give the same sample each time.
        y: the targets of all samples, an array `(N, ...)` or a nested structure of them, or None. An importance that tells
            classes apart needs them, since it knows the class before it reads a sample. Or the name of a column, where a
            sample is a dictionary and `items[name]` has the whole column: x is then the dictionary of the other columns,
            or the other column itself where there is one.

    Raises:
        ValueError: there is no sample, `y` has another length, or there is no column of its name.

    Example:
        >>> import numpy as np
        >>> squares = [(np.array([i, i * i]), i % 2) for i in range(10)]
        >>> x, y, _ = ItemSource(squares)[np.array([3, 2])]
        >>> x
        array([[3, 9],
               [2, 4]])
        >>> y
        array([1, 0])
    """

    def __init__(self, items, y=None):
        self._items = items
        if not (hasattr(items, "__len__") and hasattr(items, "__getitem__")):
            raise ValueError(f"`x` must give single samples by __len__ and __getitem__. Received: x={type(items).__name__}")
        if len(items) == 0:
            raise ValueError("`x` must have at least one sample. Received: empty data")
        self._column = y if isinstance(y, str) else None
        if self._column is not None:
            if not (isinstance(items[0], dict) and y in items[0]):
                raise ValueError(f"`y` must be a column of `x`. Received: y={y!r}, with samples of {_kind(items[0])}")
            y = np.asarray(items[y])
        self._targets = None if y is None else ArraySource(y, y)
        if y is not None and len(self._targets) != len(items):
            raise ValueError(f"`x` and `y` must have the same length. Received: len(x)={len(items)}, len(y)={len(self._targets)}")

    @property
    def targets(self):
        """The targets that were given, or None."""
        return None if self._targets is None else self._targets.targets

    def __len__(self):
        return len(self._items)

    def __getitem__(self, indices):
        """Reads some samples one by one; what a sample raises passes on, with a note of its index."""
        samples = [self._item(int(i)) for i in indices]
        x, y, *own = map_arrays(lambda *leaves: standardized(_stacked(leaves, indices)), *samples)
        if self._targets is not None:
            y = self._targets[indices][0]
        return x, y, own[0] if own else None

    def _item(self, i):
        item = item_of(self._items, i)
        if self._column is not None:
            others = {name: value for name, value in item.items() if name != self._column}
            item = others if len(others) > 1 else next(iter(others.values()))
        pair = self._column is None and isinstance(item, tuple) and len(item) in (2, 3)
        if self._targets is not None and not pair:
            item = (item, None)
        elif not pair:
            raise ValueError(
                "`x` must give samples as (x, y) or (x, y, sample_weight), or `y` must be given: all targets, or the name of a "
                f"column. Received: {_kind(item)} for sample {i}"
            )
        return map_arrays(as_scalar, item)


class Part:
    """The samples `start` to `stop` of a source."""

    def __init__(self, source: Source, start, stop):
        self._source, self._start, self._stop = source, start, stop

    @property
    def targets(self):
        return take(self._source.targets, slice(self._start, self._stop))

    def __len__(self):
        return self._stop - self._start

    def __getitem__(self, indices):
        return self._source[np.asarray(indices) + self._start]


class Weighted:
    """A source whose sample weights are multiplied by one number for each sample, `(N,)`."""

    def __init__(self, source: Source, factors):
        self._source, self._factors = source, factors.astype(np.float32)

    @property
    def targets(self):
        return self._source.targets

    def __len__(self):
        return len(self._source)

    def __getitem__(self, indices):
        x, y, own = self._source[indices]
        return x, y, times(own, self._factors[indices])


def split(source, fraction):
    """The source without its last slice, and that slice, unshuffled, for validation.

    Raises:
        ValueError: one of the two would be empty.
    """
    at = int(len(source) * (1 - fraction))
    if not 0 < at < len(source):
        raise ValueError(
            f"`validation_split` must leave samples on both sides of {len(source)}. Received: validation_split={fraction}"
        )
    return Part(source, 0, at), Part(source, at, len(source))


def _kind(item):
    """What a sample is, for an error: its type, with the names of a dictionary."""
    return f"a dictionary of {', '.join(map(str, item))}" if isinstance(item, dict) else f"a {type(item).__name__}"


def _stacked(leaves, indices):
    """Arrays of single samples as one, with the samples along the first axis."""
    shapes = [np.shape(leaf) for leaf in leaves]
    other = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None)
    if other is not None:
        raise ValueError(
            f"`x` must give samples of one shape, such as {shapes[0]} for sample {indices[0]}. "
            f"Received: {shapes[other]} for sample {indices[other]}"
        )
    return np.stack(leaves)


def stored(structure, name):
    """The arrays of a structure, `name`, where they are: what reads by index without loading, or sparse, stays as it is."""

    def one(leaf):
        if isinstance(leaf, h5py.Dataset) and leaf.ndim:
            return leaf
        sparse = sparse_rows(leaf)
        return as_array(leaf, name) if sparse is None else sparse

    return map_arrays(one, structure)


def _from_disk(leaf, indices):
    """Some samples of an HDF5 data set, which reads only rising indices without repetition."""
    rising, position = np.unique(indices, return_inverse=True)
    return leaf[rising][position]
