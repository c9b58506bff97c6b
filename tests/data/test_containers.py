"""Every container that plain `fit` takes gives its numbers here: the History and the final weights, with uniform importance."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import ArraySource, ImportanceSampling, ImportanceTraining
from importance_sampling.data.streams import num_batches
from tests.checks import assert_refused
from tests.loaders import Batches, Items, Loader, memory_map, on_disk
from tests.models import L

pandas = pytest.importorskip("pandas")
sparse = pytest.importorskip("scipy.sparse")

N, B = 24, 8
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 4)).astype(np.float32)
GAPS = np.where(np.abs(X) > 0.7, X, 0).astype(np.float32)  # mostly zeros, as sparse arrays are
WHOLE = RNG.integers(-3, 4, (N, 4))
Y = (X.sum(axis=1) > 0).astype(np.float32)
LABELS = np.arange(N) % 2
WEIGHTS = np.linspace(0, 2, N).astype(np.float32)
CLASS_WEIGHT = {0: 0.5, 1: 3.0}
EAGER = {"run_eagerly": True}  # the data are made before a step: there is nothing to compile for them, which takes seconds


def model_for(x):
    """A binary classifier of that input, with a metric of each sort that is a mean."""
    inputs = inputs_for(x)
    parts = keras.tree.flatten(inputs)
    joined = L.Concatenate()(parts) if len(parts) > 1 else parts[0]
    model = keras.Model(inputs, L.Dense(1, activation="sigmoid")(joined))
    distance = lambda t, p: keras.ops.mean(keras.ops.abs(keras.ops.cast(t, p.dtype) - p))  # noqa: E731
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy", metrics=["mae", distance], weighted_metrics=["mse"], **EAGER)
    return model


def inputs_for(x, name=None):
    if hasattr(x, "shape"):  # a `dok_array` is a dictionary besides
        return keras.Input((x.shape[1] if len(x.shape) > 1 else 1,), name=name)
    return {name: inputs_for(x[name], name) for name in x} if isinstance(x, dict) else type(x)(map(inputs_for, x))


def numbers(wrap, make, **arguments):
    """History and final weights after an epoch in the order of the data, by one of the three ways."""
    keras.utils.set_random_seed(0)
    model, given = make()
    history = wrap(model)(**given, **{"shuffle": False, "verbose": 0, **arguments}).history
    return history, model.get_weights()


WAYS = {
    "training": lambda model: ImportanceTraining(model, "uniform", seed=0).fit,
    "callback": lambda model: lambda **given: model.fit(**given, callbacks=[ImportanceSampling(B, "uniform")]),
}


def assert_as_plain(make, ways=WAYS, expected=None, **arguments):
    """The three ways give the same numbers; `expected` makes what plain fit is given where that is something else."""
    history, weights = numbers(lambda model: model.fit, expected or make, **arguments)
    for name in ways:
        ours, our_weights = numbers(WAYS[name], make, **arguments)
        assert list(ours) == list(history), name
        for key, values in history.items():
            np.testing.assert_allclose(ours[key], values, rtol=1e-5, atol=1e-5, err_msg=f"{key} by {name}")
        for a, b in zip(our_weights, weights):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=name)


def table(**columns):
    return pandas.DataFrame(columns)


X_KINDS = {
    "float64": X.astype(float),
    "float16": X.astype(np.float16),
    "int8": WHOLE.astype(np.int8),
    "bool": X > 0,
    "uint16": np.abs(WHOLE).astype(np.uint16),
    "Fortran order": np.asfortranarray(X),
    "tensor": tf.constant(X),
    "tensor of whole numbers": tf.constant(WHOLE),
    "variable": tf.Variable(X),
    "list of arrays": [X[:, :1], WHOLE],
    "tuple of tensor and array": (tf.constant(X), X.astype(float)),
    "dictionary": {"a": X, "b": X > 0},
    "dictionary of containers": {"a": pandas.DataFrame(X), "b": sparse.csr_array(GAPS), "c": tf.constant(X)},
    "Series": pandas.Series(X[:, 0].astype(float)),
    "Series of float32, with an index": pandas.Series(X[:, 0], index=RNG.permutation(N)),
    "DataFrame": pandas.DataFrame(X),
    "DataFrame of float64 and bool": table(a=X[:, 0].astype(float), b=X[:, 1] > 0),
    "DataFrame of float32 and int": table(a=X[:, 0], b=np.arange(N) / N > 0.5, c=np.arange(N))[["a", "c"]] / [1, N],
    "DataFrame of float64 and int": table(a=X[:, 0].astype(float), b=np.arange(N) % 3),
    "DataFrame of bool": table(a=X[:, 0] > 0, b=X[:, 1] > 0),
    "DataFrame of float16": pandas.DataFrame(X.astype(np.float16)),
    "dictionary of Series": {"a": pandas.Series(X[:, 0]), "b": pandas.Series(X[:, 1] > 0)},
    "csr_matrix": sparse.csr_matrix(GAPS),
    "csr_array of float64": sparse.csr_array(GAPS.astype(float)),
    "csr_array of bool": sparse.csr_array(GAPS > 0),
    "coo_matrix": sparse.coo_matrix(GAPS),
    "coo_array": sparse.coo_array(GAPS),
    "lil_matrix": sparse.lil_matrix(GAPS),
    "dok_array": sparse.dok_array(GAPS),
    "bsr_array": sparse.bsr_array(GAPS),
    "SparseTensor": tf.sparse.from_dense(GAPS),
    "SparseTensor of whole numbers": tf.sparse.from_dense(WHOLE),
    "dictionary of SparseTensor and array": {"a": tf.sparse.from_dense(GAPS), "b": X},
    "RaggedTensor with rows of one length": tf.RaggedTensor.from_uniform_row_length(X.reshape(-1), 4),
}


@pytest.mark.parametrize("kind", X_KINDS)
def test_x(kind):
    x = X_KINDS[kind]
    assert_as_plain(lambda: (model_for(x), dict(x=x, y=Y, sample_weight=WEIGHTS, batch_size=B)))


# what plain fit fails on, beside what it is trained as
ONLY_HERE = {
    "csc_array": (sparse.csc_array(GAPS), GAPS),
    "coo_array with an entry twice": (
        sparse.coo_array(([1.0, 2.0], ([0, 0], [1, 1])), shape=(N, 4)),
        np.eye(N, 4, 1) * ([[3]] + [[0]] * (N - 1)),
    ),
    "DataFrame of float32 and bool": (table(a=X[:, 0], b=X[:, 1] > 0), np.stack([X[:, 0], X[:, 1] > 0], axis=1)),
    "DataFrame of int and bool": (table(a=np.arange(N) % 3, b=X[:, 1] > 0), np.stack([np.arange(N) % 3, X[:, 1] > 0], axis=1)),
    "DataFrame of Int64 and boolean": (
        table(a=pandas.array(np.arange(N) % 3, "Int64"), b=pandas.array(X[:, 0] > 0, "boolean")),
        np.stack([np.arange(N) % 3, X[:, 0] > 0], axis=1),
    ),
    "DataFrame of Float64 and float32": (table(a=pandas.array(X[:, 0], "Float64"), b=X[:, 1]), X[:, :2]),
    "Series of Float64": (pandas.Series(X[:, 0]).astype("Float64"), X[:, :1]),
    "DataFrame with a sparse column": (
        table(a=pandas.arrays.SparseArray(GAPS[:, 0]), b=X[:, 1]),
        np.stack([GAPS[:, 0], X[:, 1]], axis=1),
    ),
}


@pytest.mark.parametrize("kind", ONLY_HERE)
def test_x_that_plain_fit_does_not_take(kind):
    x, dense = ONLY_HERE[kind]
    given = lambda x: lambda: (model_for(x), dict(x=x, y=Y, batch_size=B))  # noqa: E731
    if "twice" not in kind:  # which fails compiled only
        with pytest.raises(Exception):  # noqa: B017
            numbers(lambda model: model.fit, given(x))
    assert_as_plain(given(x), ["training"], expected=given(dense))


Y_KINDS = {
    "float64": Y.astype(float),
    "int8": LABELS.astype(np.int8),
    "bool": Y > 0,
    "(N, 1)": Y[:, None],
    "smoothed by hand": np.where(LABELS, 0.9, 0.1),
    "smoothed, (N, 1)": np.where(LABELS, 0.8, 0.45)[:, None].astype(np.float32),
    "halves": np.where(LABELS, 0.5, 1.5),
    "tensor": tf.constant(Y),
    "tensor of whole numbers": tf.constant(LABELS),
    "Series": pandas.Series(Y.astype(float)),
    "Series of bool, with an index": pandas.Series(Y > 0, index=RNG.permutation(N)),
    "Series of int": pandas.Series(LABELS),
    "Index": pandas.Index(Y.astype(float)),
    "DataFrame": table(a=LABELS),
    "DataFrame of float64": table(a=Y.astype(float)),
}


@pytest.mark.parametrize("weights", ["none", "sample_weight", "class_weight"])
@pytest.mark.parametrize("kind", Y_KINDS)
def test_y(kind, weights):
    more = {"none": {}, "sample_weight": {"sample_weight": WEIGHTS}, "class_weight": {"class_weight": CLASS_WEIGHT}}[weights]
    assert_as_plain(lambda: (model_for(X), dict(x=X, y=Y_KINDS[kind], batch_size=B, **more)))


W_KINDS = {
    "float64": WEIGHTS.astype(float),
    "int8": LABELS.astype(np.int8),
    "bool": LABELS > 0,
    "(N, 1)": WEIGHTS[:, None],
    "tensor": tf.constant(WEIGHTS),
    "Series": pandas.Series(WEIGHTS.astype(float), index=RNG.permutation(N)),
    "DataFrame": table(a=WEIGHTS),
}


@pytest.mark.parametrize("kind", W_KINDS)
def test_sample_weight(kind):
    assert_as_plain(lambda: (model_for(X), dict(x=X, y=Y, sample_weight=W_KINDS[kind], batch_size=B)))


ROWS = {
    "one-hot": np.eye(3, dtype=np.float32)[np.arange(N) % 3],
    "soft": np.eye(3)[np.arange(N) % 3] * 0.7 + 0.1,
    "DataFrame of bool": pandas.get_dummies(pandas.Series(np.array(["u", "v", "w"])[np.arange(N) % 3])),
}


def classifier():
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, activation="softmax")])
    model.compile(
        keras.optimizers.SGD(0.1), "categorical_crossentropy", metrics=["accuracy"], weighted_metrics=["accuracy"], **EAGER
    )
    return model


@pytest.mark.parametrize("kind", ROWS)
def test_class_weight_of_rows_is_that_of_the_largest(kind):
    assert_as_plain(lambda: (classifier(), dict(x=X, y=ROWS[kind], class_weight={0: 1.0, 1: 10.0, 2: 0.5}, batch_size=B)))


@pytest.mark.parametrize(
    "y", [np.eye(3)[np.arange(N * 2).reshape(N, 2) % 3], np.arange(N * 2).reshape(N, 2, 1) % 3], ids=["rows", "ids"]
)
def test_class_weight_of_time_steps_goes_with_a_data_set(y):
    def make():
        rows = y.shape[-1] > 1
        model = keras.Sequential([keras.Input((2, 2)), L.Dense(3, activation="softmax")])
        model.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy" if rows else "sparse_categorical_crossentropy", **EAGER)
        return model, dict(x=slices(X.reshape(N, 2, 2), y), class_weight={0: 1.0, 1: 10.0, 2: 0.5})

    assert_as_plain(make)


def slices(*parts):
    return tf.data.Dataset.from_tensor_slices(parts).batch(B)


class Given(keras.utils.PyDataset):
    """Batches that are taken from the parts as they are."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = parts

    def __len__(self):
        return N // B

    def __getitem__(self, i):
        return tuple(keras.tree.map_structure(lambda leaf: rows_of(leaf, i), part) for part in self.parts)


def rows_of(leaf, i):
    if leaf is None:
        return None
    if isinstance(leaf, tf.SparseTensor):
        return tf.sparse.slice(leaf, [i * B, 0], [B, leaf.shape[1]])
    rows = slice(i * B, (i + 1) * B)
    return leaf.iloc[rows] if hasattr(leaf, "iloc") else leaf[rows]


def generated(*parts):
    batches = Given(*parts)
    return (batches[i % len(batches)] for i in range(100))


STREAMS = {
    "tf.data": lambda: dict(x=slices(X, Y)),
    "tf.data with weights": lambda: dict(x=slices(X, Y, WEIGHTS)),
    "tf.data of float64": lambda: dict(x=slices(X.astype(float), LABELS)),
    "tf.data of SparseTensor": lambda: dict(x=slices(tf.sparse.from_dense(GAPS), Y)),
    "tf.data of rows of one length": lambda: dict(x=slices(tf.RaggedTensor.from_uniform_row_length(X.reshape(-1), 4), Y)),
    "tf.data, batch_size": lambda: dict(x=slices(X, Y), batch_size=5),
    "PyDataset": lambda: dict(x=Batches(X, Y, B)),
    "PyDataset, batch_size": lambda: dict(x=Batches(X, Y, B), batch_size=5),
    "PyDataset with weights": lambda: dict(x=Given(X, Y, WEIGHTS)),
    "PyDataset of SparseTensor": lambda: dict(x=Given(tf.sparse.from_dense(GAPS), Y)),
    "generator": lambda: dict(x=generated(X, Y), steps_per_epoch=3),
    "generator, batch_size": lambda: dict(x=generated(X, Y), steps_per_epoch=3, batch_size=3),
    "generator with weights": lambda: dict(x=generated(X, Y, WEIGHTS), steps_per_epoch=3),
    "generator of csr_array": lambda: dict(x=generated(sparse.csr_array(GAPS), Y), steps_per_epoch=3),
    "generator of SparseTensor": lambda: dict(x=generated(tf.sparse.from_dense(GAPS), Y), steps_per_epoch=3),
}


@pytest.mark.parametrize("kind", STREAMS)
def test_streams(kind):
    assert_as_plain(lambda: (model_for(X), STREAMS[kind]()))


@pytest.mark.parametrize("kind", ["tf.data", "tf.data of float64", "PyDataset", "PyDataset of SparseTensor"])
@pytest.mark.parametrize("y", [Y, Y[:, None], np.where(LABELS, 0.9, 0.1)], ids=["ids", "(N, 1)", "smoothed"])
def test_class_weight_with_streams(kind, y):
    x = tf.sparse.from_dense(GAPS) if "Sparse" in kind else X.astype(float) if "float64" in kind else X
    make = slices if "tf.data" in kind else Given
    assert_as_plain(lambda: (model_for(X), dict(x=make(x, y), class_weight=CLASS_WEIGHT)))


# what plain fit does not take, as the arrays that it holds
WITHOUT_KERAS = {
    "HDF5": lambda folder, x, y: dict(zip("xy", on_disk(folder, x, y)), batch_size=B),
    "memory map": lambda folder, x, y: dict(zip("xy", memory_map(folder, x, y)), batch_size=B),
    "items": lambda folder, x, y: dict(x=Items(x, y), batch_size=B),
    "items and Series": lambda folder, x, y: dict(x=Items(x), y=pandas.Series(y), batch_size=B),
    "items of SparseTensor": lambda folder, x, y: dict(x=Items([tf.sparse.from_dense(row) for row in x], y), batch_size=B),
    "loader": lambda folder, x, y: dict(x=Loader(x, y, B)),
    "loader, batch_size": lambda folder, x, y: dict(x=Loader(x, y, B), batch_size=3),
    "generator and class_weight": lambda folder, x, y: dict(x=generated(x, y), steps_per_epoch=3),
    "PyDataset of csr_array": lambda folder, x, y: dict(x=Given(sparse.csr_array(x), y)),
    "PyDataset of DataFrame": lambda folder, x, y: dict(x=Given(pandas.DataFrame(x), pandas.Series(y))),
}
WEIGHED = {"HDF5", "memory map", "loader", "items and Series", "generator and class_weight"}


@pytest.mark.parametrize("kind", WITHOUT_KERAS)
def test_what_only_this_library_takes(tmp_path, kind):
    more = {"class_weight": CLASS_WEIGHT} if kind in WEIGHED else {}
    make = lambda: (model_for(X), {**WITHOUT_KERAS[kind](tmp_path, GAPS, Y), **more})  # noqa: E731
    y = Y[:, None] if kind == "items and Series" else Y
    assert_as_plain(make, ["training"], expected=lambda: (model_for(X), dict(x=GAPS, y=y, batch_size=B, **more)))


def two_outputs():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, {name: L.Dense(1, name=name)(inputs) for name in "ab"})
    model.compile(keras.optimizers.SGD(0.1), {"a": "mse", "b": "mae"}, weighted_metrics={"a": ["mae"], "b": ["mse"]}, **EAGER)
    return model


TWO = {"a": Y[:, None], "b": X[:, :1]}


@pytest.mark.parametrize(
    "weights",
    [WEIGHTS, {"a": WEIGHTS, "b": WEIGHTS[::-1].copy()}, {"a": WEIGHTS, "b": None}, {"a": None, "b": pandas.Series(WEIGHTS)}],
    ids=["one", "two", "a and none", "none and Series"],
)
def test_weights_of_several_outputs(weights):
    assert_as_plain(lambda: (two_outputs(), dict(x=X, y=TWO, sample_weight=weights, batch_size=B)))


def test_weights_of_some_outputs_in_a_list():
    def make():
        inputs = keras.Input((4,))
        model = keras.Model(inputs, [L.Dense(1, name=name)(inputs) for name in "ab"])
        model.compile(keras.optimizers.SGD(0.1), ["mse", "mae"], **EAGER)
        return model, dict(x=X, y=[Y[:, None], X[:, :1]], sample_weight=[None, WEIGHTS], batch_size=B)

    assert_as_plain(make)


def test_none_among_the_weights_of_batches():
    expected = lambda: (two_outputs(), dict(x=Given(X, TWO, {"a": WEIGHTS, "b": np.ones(N)})))  # noqa: E731
    assert_as_plain(lambda: (two_outputs(), dict(x=Given(X, TWO, {"a": WEIGHTS, "b": None}))), ["training"], expected=expected)


@pytest.mark.parametrize("way", ["arrays", "batches"])
@pytest.mark.parametrize("weights", [{"a": WEIGHTS}, {"b": WEIGHTS}, {"a": WEIGHTS, "b": WEIGHTS, "c": WEIGHTS}, [WEIGHTS, None]])
def test_weights_must_go_with_the_outputs(way, weights):
    """As in plain fit, which says that the two structures do not match."""
    given = dict(x=X, y=TWO, sample_weight=weights) if way == "arrays" else dict(x=Given(X, TWO, weights))
    model = two_outputs()
    sentence = "`sample_weight` must be one array for all outputs, or have one array, or None, for each output in `y`"
    assert_refused(model, lambda: ImportanceTraining(model, "uniform").fit(**given, verbose=0), sentence)


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_array", "coo_array", "SparseTensor", "dictionary"])
@pytest.mark.parametrize("importance", ["oracle", "pcg"])
def test_sparse_rows_are_drawn_as_dense_ones(kind, importance):
    """The same draws and losses, and never more than a pool of rows is dense."""
    made = {
        "csr_matrix": sparse.csr_matrix,
        "csc_array": sparse.csc_array,
        "coo_array": sparse.coo_array,
        "SparseTensor": tf.sparse.from_dense,
        "dictionary": lambda x: {"a": sparse.csr_array(x), "b": tf.sparse.from_dense(x[:, 1:])},
    }[kind]
    dense = {"a": GAPS, "b": GAPS[:, 1:]} if kind == "dictionary" else GAPS
    steps = []
    for x in (made(GAPS), dense):
        keras.utils.set_random_seed(0)
        keep = lambda draw, losses: steps.append((draw.indices, losses))  # noqa: E731
        training = ImportanceTraining(model_for(dense), importance, presample=20, seed=0, on_step=keep)
        training.fit(x, LABELS, batch_size=B, epochs=2, validation_split=0.2, verbose=0)
    half = len(steps) // 2
    for (indices, losses), (expected, expected_losses) in zip(steps[:half], steps[half:]):
        np.testing.assert_array_equal(indices, expected)
        np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)


@pytest.mark.parametrize("made", [sparse.csr_array, sparse.coo_matrix, tf.sparse.from_dense])
def test_sparse_targets_are_those_of_dense_ones(made):
    """Plain fit fails on them with each of its losses."""
    rows = np.eye(3, dtype=np.float32)[np.arange(N) % 3]
    given = lambda y: lambda: (classifier(), dict(x=X, y=y, batch_size=B))  # noqa: E731
    with pytest.raises(Exception):  # noqa: B017
        numbers(lambda model: model.fit, given(made(rows)))
    assert_as_plain(given(made(rows)), ["training"], expected=given(rows))


def test_sparse_arrays_stay_sparse():
    width = 200_000  # 32 MB were it dense
    x = sparse.coo_array((np.ones(N), (np.arange(N), np.arange(N) * 7)), shape=(N, width), dtype=np.float32)
    source = ArraySource({"a": x, "b": tf.SparseTensor(np.stack([np.arange(N)] * 2, 1), np.ones(N), (N, width))}, Y)
    found = source[np.array([3, 3, 1])][0]
    assert found["a"].shape == found["b"].shape == (3, width)
    np.testing.assert_array_equal(np.argwhere(found["a"]), [[0, 21], [1, 21], [2, 7]])
    np.testing.assert_array_equal(np.argwhere(found["b"]), [[0, 3], [1, 3], [2, 1]])


RAGGED = tf.RaggedTensor.from_row_lengths(np.arange(N * 3) % 5, [2, 4] * (N // 2))


@pytest.mark.parametrize(
    "x",
    [RAGGED, {"a": X, "b": RAGGED}, slices(RAGGED, Y), np.array([[1], [1, 2]] * (N // 2), object)],
    ids=["ragged", "in a dictionary", "tf.data", "rows as objects"],
)
def test_rows_of_several_lengths_are_refused_with_a_way_out(x):
    model = model_for(X)
    y = None if isinstance(x, tf.data.Dataset) else Y
    sentence = "`x` must have samples of one shape, .*: pad them, as `to_tensor` of a RaggedTensor or keras.utils.pad_sequences"
    assert_refused(model, lambda: ImportanceTraining(model, "uniform").fit(x, y, verbose=0), sentence)
    if not isinstance(x, np.ndarray):
        fit = lambda: model.fit(x, y, shuffle=False, callbacks=[ImportanceSampling(B, "uniform")], verbose=0)  # noqa: E731
        if isinstance(x, dict):  # which the model itself does not take
            return
        assert_refused(model, fit, sentence)


@pytest.mark.parametrize("name", ["x", "y", "sample_weight"])
@pytest.mark.parametrize(
    ("given", "text"),
    [
        (np.arange(N).astype("datetime64[D]"), "must be numbers or text; convert times to numbers. Received: dtype=datetime64"),
        (pandas.Series(pandas.date_range("2026", periods=N)), "must have columns of numbers.* Received: 0 of dtype datetime64"),
        (np.arange(N).astype("timedelta64[s]"), "must be numbers or text; convert times to numbers. Received: dtype=timedelta64"),
        (np.arange(N).astype(object), "must be numbers or text. Received: an array of objects with int; where all are numbers"),
        (np.array([None] * N), "must be numbers or text. Received: an array of objects with NoneType"),
        (np.array(["a", 1.0] * (N // 2), object), "must be numbers or text. Received: an array of objects with float"),
        (np.zeros(N, [("a", "f4"), ("b", "i4")]), "must be numbers or text; give columns as a dictionary. Received: records"),
        (
            table(a=X[:, 0], b=pandas.Categorical(["u", "v"] * (N // 2))),
            "must have columns of numbers: .*Received: b of dtype category",
        ),
        (table(a=["u"] * N, b=X[:, 0]), "must have columns of numbers: encode the others, .*Received: a of dtype (str|object)"),
        (pandas.Series([None, *range(N - 1)], dtype="Int64"), "must have no missing values: fill them in"),
    ],
)
def test_what_is_neither_numbers_nor_text_is_refused_for_the_true_reason(name, given, text):
    model = model_for(X)
    arguments = {**dict(x=X, y=Y, sample_weight=WEIGHTS), name: given}
    assert_refused(model, lambda: ImportanceTraining(model, "uniform").fit(**arguments, verbose=0), f"`{name}` {text}")


@pytest.mark.parametrize("y", [np.array(["u", "v"] * (N // 2)), pandas.Series(["u", "v"] * (N // 2)), np.array([b"u"] * N, object)])
def test_text_as_targets_is_refused(y):
    model = model_for(X)
    assert_refused(
        model, lambda: ImportanceTraining(model).fit(X, y, verbose=0), "`y` must be numbers; number the classes, .* Received: text"
    )


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (np.ones(2), r"for an array by dict\(enumerate\(class_weight\)\). Received: class_weight=array"),
        ("balanced", "scikit-learn's compute_class_weight.* Received: class_weight='balanced'"),
        ([1.0, 2.0], r"Received: class_weight=\[1.0, 2.0\]"),
        ([(0, 1.0)], r"Received: class_weight=\[\(0, 1.0\)\]"),
        (3.0, "Received: class_weight=3.0"),
        ({0: np.nan}, "a finite number. Received: nan for class 0"),
        ({0: 1.0, 1: np.inf}, "a finite number. Received: inf for class 1"),
        ({1: "high"}, "a finite number. Received: 'high' for class 1"),
        ({1: None}, "a finite number. Received: None for class 1"),
        ({1: [1.0, 2.0]}, r"a finite number. Received: \[1.0, 2.0\] for class 1"),
    ],
)
@pytest.mark.parametrize("x", [X, slices(X, Y)], ids=["arrays", "batches"])
def test_class_weight_must_be_a_dictionary_of_numbers(x, given, text):
    model, y = model_for(X), Y if x is X else None
    sentence = f"`class_weight` must be a dictionary from class id to weight.*{text}"
    assert_refused(model, lambda: ImportanceTraining(model, "uniform").fit(x, y, class_weight=given, verbose=0), sentence)


@pytest.mark.parametrize(
    "class_weight",
    [
        {},
        {0: -1.0, 1: 2.0},
        {False: 1.0, True: 10.0},
        {np.int64(1): np.float32(10)},
        {1.0: np.array(3.0)},
        pandas.Series([1.0, 10.0]),
    ],
    ids=["empty", "negative", "bool", "NumPy's numbers", "floats", "Series"],
)
def test_class_weight_that_keras_takes(class_weight):
    assert_as_plain(lambda: (model_for(X), dict(x=X, y=Y, class_weight=class_weight, batch_size=B)))


class Endless:
    """A loader over data that come one after another: it has no length, and says so by an error."""

    def __iter__(self):
        return iter(Loader(X, Y, B))

    def __len__(self):
        raise TypeError("object of type 'Stream' has no len()")


def test_a_loader_whose_length_raises_has_an_unknown_number_of_batches():
    assert num_batches(Endless()) is None
    make = lambda: (model_for(X), dict(x=Endless(), steps_per_epoch=3))  # noqa: E731
    assert_as_plain(make, ["training"], expected=lambda: (model_for(X), dict(x=X, y=Y, batch_size=B)))


def test_batch_size_beside_batches_is_that_of_validation():
    given = dict(x=slices(X, Y), batch_size=3, validation_data=(X, Y))
    assert_as_plain(lambda: (model_for(X), given))
