"""One array of the user's as NumPy has it: pandas objects and tensors as Keras makes them, sparse arrays as rows made dense.

Neither pandas nor SciPy is imported: their objects say by their methods what is to be done with them.
"""

import keras
import numpy as np
import tensorflow as tf

_NUMBERS = "biufc"
_TEXT = "OSUT"


def as_array(leaf, name="x", of_batch=False):
    """A dense array `(n, ...)` of what NumPy, pandas, TensorFlow or SciPy have. A memory map stays one.

    A Series becomes `(n, 1)`, but stays `(n,)` in a batch that is made by the user: both as in Keras. Text may be an
    array of objects, as TensorFlow gives it: the types of text of NumPy drop zeros at the end of bytes.

    Args:
        leaf: the array.
        name: of the argument it was given by, for the error.
        of_batch: whether it is a part of a batch.

    Raises:
        ValueError: it is no array with the samples along its first axis, or neither numbers nor text.
    """
    array = _converted(leaf, name)
    if of_batch and _is_pandas(leaf) and not hasattr(leaf, "columns"):
        array = array[:, 0]
    if array.ndim == 0:
        raise ValueError(
            f"`{name}` must be an array with the samples along its first axis, or a nested structure of such arrays. "
            f"Received: {type(leaf).__name__}{', as in a data set of single samples, which needs `.batch(32)`' if of_batch else ''}"
        )
    return array


def as_scalar(leaf, name="x"):
    """One number, text or array of a single sample as an array, which may have no dimensions."""
    return np.array(leaf, object) if isinstance(leaf, (str, bytes)) else _converted(leaf, name, table=False)


def of_fit(leaf):
    """A part of a batch that Keras's `fit` brings: None in place of the empty `Optional` that Keras puts there, sparse as dense."""
    if isinstance(leaf, tf.experimental.Optional):
        return None
    return as_array(leaf) if isinstance(leaf, (tf.SparseTensor, tf.RaggedTensor)) else leaf


def standardized(array):
    """Floats as Keras's `floatx`, as `model.fit` has them."""
    return array.astype(keras.config.floatx(), copy=False) if array.dtype.kind == "f" else array


class SparseRows:
    """A sparse array `(N, ...)` whose rows are made dense when they are read.

    Args:
        read: maps places, `(n,)` ints or a slice, to a dense array `(n, ...)`.
        shape, dtype: of the whole.
    """

    def __init__(self, read, shape, dtype):
        self.shape, self.dtype = tuple(map(int, shape)), np.dtype(dtype)
        self._read = read

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, places):
        return self._read(places)


def sparse_rows(leaf):
    """The `SparseRows` of a `tf.SparseTensor` or of any sparse array of SciPy; None for what is not sparse.

    A format that cannot be read by row is turned into one that can, once.
    """
    if isinstance(leaf, SparseRows):
        return leaf
    if isinstance(leaf, tf.SparseTensor):
        return _rows_of(leaf.indices.numpy(), leaf.values.numpy(), leaf.shape)
    if not _is_scipy(leaf):
        return None
    if leaf.ndim > 2:
        return _rows_of(np.stack(leaf.coords, axis=1), leaf.data, leaf.shape)
    by_row = leaf.tocsr()
    return SparseRows(lambda places: by_row[places].toarray(), leaf.shape, leaf.dtype)


def is_array(value):
    """Whether a value is one array, with or without NumPy's own means of making one of it."""
    tensor = isinstance(value, (SparseRows, tf.SparseTensor, tf.RaggedTensor))
    return tensor or getattr(type(value), "__array__", None) is not None or _is_scipy(value)


def _is_scipy(leaf):
    return type(leaf).__module__.startswith("scipy.sparse") and hasattr(leaf, "tocsr")


def _rows_of(coordinates, values, shape):
    """`SparseRows` of values `(n,)` at coordinates `(n, dimensions)`."""
    order = np.argsort(coordinates[:, 0], kind="stable")
    coordinates, values = coordinates[order], values[order]
    starts = np.searchsorted(coordinates[:, 0], np.arange(int(shape[0]) + 1))  # where each row begins among the values

    def read(places):
        places = np.arange(int(shape[0]))[places]
        counts = starts[places + 1] - starts[places]
        row = np.repeat(np.arange(len(places)), counts)
        found = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(starts[places], counts)
        dense = np.full((len(places), *map(int, shape[1:])), b"" if values.dtype == object else 0, values.dtype)
        dense[(row, *coordinates[found, 1:].T)] = values[found]
        return dense

    return SparseRows(read, shape, values.dtype)


def _converted(leaf, name, table=True):
    """A dense array of numbers or text, of any number of dimensions."""
    sparse = sparse_rows(leaf)
    if sparse is not None:
        return sparse[:]
    if isinstance(leaf, tf.RaggedTensor):
        array = _of_ragged(leaf, name)
    elif table and _is_pandas(leaf):
        array = _of_pandas(leaf, name)
    else:
        array = leaf if isinstance(leaf, np.ndarray) else np.asarray(leaf)
    array = array.astype(object) if array.dtype.kind == "T" else array
    if array.dtype.kind == "V":
        raise ValueError(f"`{name}` must be numbers or text; give columns as a dictionary. Received: records, dtype={array.dtype}")
    if array.dtype.kind in "mM":
        raise ValueError(f"`{name}` must be numbers or text; convert times to numbers. Received: dtype={array.dtype}")
    if array.dtype == object:
        _check_objects(array, name)
    return array


def _check_objects(array, name):
    """Refuses objects other than text, with what they are."""
    other = next((one for one in array.flat if not isinstance(one, (str, bytes))), None)
    if other is None and not any(one is None for one in array.flat):
        return
    if np.ndim(other):
        lengths = sorted({len(one) for one in array.flat if np.ndim(one)})
        raise _of_many_shapes(name, f"an array of objects, with rows of {' and '.join(map(str, lengths[:3]))}")
    raise ValueError(
        f"`{name}` must be numbers or text. Received: an array of objects with {type(other).__name__}; where all are numbers, "
        "give it as an array of numbers, as by `.astype('float32')`"
    )


def _of_ragged(ragged, name):
    """A ragged tensor whose rows happen to have one length."""
    shape = ragged.bounding_shape().numpy()
    if np.prod(shape) != int(tf.size(ragged.flat_values)):
        raise _of_many_shapes(name, f"a RaggedTensor with rows of up to {shape[1]}")
    return ragged.to_tensor().numpy()


def _of_many_shapes(name, received):
    return ValueError(
        f"`{name}` must have samples of one shape, since those that are drawn make a new batch: pad them, as `to_tensor` of a "
        "RaggedTensor or keras.utils.pad_sequences does, and mask what was added, as Embedding(mask_zero=True) does. "
        f"Received: {received}"
    )


def _is_pandas(leaf):
    kinds = [cls.__name__ for cls in type(leaf).__mro__ if cls.__module__.partition(".")[0] == "pandas"]
    return "Series" in kinds or "DataFrame" in kinds


def _of_pandas(table, name):
    """What Keras makes of a table `(n, columns)` or a Series, `(n, 1)`; types of pandas's own and mixtures become numbers too."""
    columns = table if hasattr(table, "columns") else table.to_frame()
    types = list(columns.dtypes)
    if types and all(kind.kind in _TEXT for kind in types):
        return columns.to_numpy(object)
    strange = {str(label): kind for label, kind in zip(columns.columns, types) if kind.kind not in _NUMBERS}
    if strange:
        raise ValueError(
            f"`{name}` must have columns of numbers: encode the others, as pandas.get_dummies does, or give a dictionary of "
            f"arrays. Received: {', '.join(f'{label} of dtype {kind}' for label, kind in strange.items())}"
        )
    own = [i for i, kind in enumerate(types) if not isinstance(kind, np.dtype)]  # types of pandas's own, which may have gaps
    if columns.iloc[:, own].isna().to_numpy().any():
        raise ValueError(f"`{name}` must have no missing values: fill them in, as `fillna` does. Received: one that is missing")
    floatx = keras.config.floatx()
    if any(kind.kind == "f" and _numpy_type(kind) != floatx for kind in types):  # then Keras casts all columns
        return columns.astype(floatx).to_numpy()
    return columns.to_numpy(np.result_type(*map(_numpy_type, types))) if types else columns.to_numpy()


def _numpy_type(kind):
    return kind if isinstance(kind, np.dtype) else np.dtype(getattr(kind, "numpy_dtype", None) or kind.subtype)
