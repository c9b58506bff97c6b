"""Metrics, logs and history under uniform importance are those of plain fit, for every kind of metric; and what other importances
give weighted metrics."""

import keras
import numpy as np
import pytest

from importance_sampling import ImportanceSampling, ImportanceTraining
from tests.checks import assert_refused
from tests.models import L

M, ops = keras.metrics, keras.ops
RNG = np.random.default_rng(0)
N = 32
X = RNG.normal(size=(N, 4)).astype("float32")
IMAGES = RNG.normal(size=(N, 4, 4, 2)).astype("float32")
SEQUENCES = np.where(np.arange(6) < RNG.integers(2, 7, (N, 1)), RNG.integers(1, 5, (N, 6)), 0)
LABELS = np.arange(N) % 3
BINARY = (X[:, :1] > 0).astype("float32")
WEIGHTS = RNG.uniform(0.5, 2.0, N).astype("float32")


class Hits(M.Metric):
    """Counts, by weights of whatever shape comes."""

    def __init__(self, name="hits"):
        super().__init__(name=name)
        self.total = self.add_weight(name="total", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        hit = ops.cast(ops.equal(ops.ravel(y_true), ops.cast(ops.ravel(y_pred) > 0.5, "float32")), "float32")
        self.total.assign_add(ops.sum(hit if sample_weight is None else hit * sample_weight))

    def result(self):
        return self.total


class OfNoWeights(Hits):
    def update_state(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None:
            raise NotImplementedError("weights")
        super().update_state(y_true, y_pred)


def net(inputs, outputs, loss):
    def make(**metrics):
        entered = keras.Input(inputs)
        model = keras.Model(entered, outputs(entered))
        model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True, **metrics)
        return model

    return make


def masked(inputs):
    return L.Dense(5, activation="softmax")(L.LSTM(4, return_sequences=True)(L.Embedding(5, 4, mask_zero=True)(inputs)))


# problem: how to make the model, x, y, metrics
PROBLEMS = {
    "binary": (
        net((4,), lambda i: L.Dense(1, activation="sigmoid")(i), "binary_crossentropy"),
        X,
        BINARY,
        {
            "accuracy": lambda: "accuracy",
            "a function": lambda: lambda y, p: ops.mean(ops.abs(y - p)),
            "a function of samples": lambda: lambda y, p: ops.mean(ops.abs(y - p), axis=-1),
            "Mean": lambda: M.MeanAbsoluteError(),
            "Precision": lambda: M.Precision(),
            "Recall": lambda: M.Recall(thresholds=[0.3, 0.6]),
            "AUC": lambda: M.AUC(num_thresholds=20),
            "TruePositives": lambda: M.TruePositives(),
            "FalseNegatives": lambda: M.FalseNegatives(thresholds=[0.4, 0.6]),
            "RecallAtPrecision": lambda: M.RecallAtPrecision(0.4),
            "F1Score": lambda: M.F1Score(threshold=0.5),
            "FBetaScore": lambda: M.FBetaScore(threshold=0.5, beta=2.0),
            "BinaryIoU": lambda: M.BinaryIoU(),
            "hits": Hits,
            "of no weights": OfNoWeights,
        },
    ),
    "one-hot": (
        net((4,), lambda i: L.Dense(3, activation="softmax")(i), "categorical_crossentropy"),
        X,
        np.eye(3, dtype="float32")[LABELS],
        {
            "accuracy": lambda: "accuracy",
            "F1Score": lambda: M.F1Score(average="macro"),
            "AUC": lambda: M.AUC(multi_label=True, num_thresholds=20),
            "TopK": lambda: M.TopKCategoricalAccuracy(2),
            "OneHotMeanIoU": lambda: M.OneHotMeanIoU(3),
        },
    ),
    "sparse": (
        net((4,), lambda i: L.Dense(3, activation="softmax")(i), "sparse_categorical_crossentropy"),
        X,
        LABELS,
        {
            "accuracy": lambda: "accuracy",
            "TopK": lambda: M.SparseTopKCategoricalAccuracy(2),
            "MeanIoU": lambda: M.MeanIoU(3, sparse_y_pred=False),
        },
    ),
    "regression": (
        net((4,), lambda i: L.Dense(2)(i), "mse"),
        X,
        X[:, :2],
        {
            "mae": lambda: "mae",
            "RMSE": lambda: M.RootMeanSquaredError(),
            "R2Score": lambda: M.R2Score(),
            "CosineSimilarity": lambda: M.CosineSimilarity(),
            "LogCosh": lambda: M.LogCoshError(),
        },
    ),
    "pixels": (
        net((4, 4, 2), lambda i: L.Conv2D(2, 1, activation="softmax")(i), "sparse_categorical_crossentropy"),
        IMAGES,
        (IMAGES[..., 0] > 0).astype(int),
        {"accuracy": lambda: "accuracy", "MeanIoU": lambda: M.MeanIoU(2, sparse_y_pred=False)},
    ),
    "masked sequences": (
        net((6,), masked, "sparse_categorical_crossentropy"),
        SEQUENCES,
        SEQUENCES,
        {"accuracy": lambda: "accuracy"},
    ),
    "two outputs": (
        net(
            (4,),
            lambda i: {"a": L.Dense(1, activation="sigmoid", name="a")(i), "b": L.Dense(2, name="b")(i)},
            {"a": "mse", "b": "mae"},
        ),
        X,
        {"a": BINARY, "b": X[:, :2]},
        {"of each": lambda: {"a": ["accuracy", M.Recall()], "b": [M.R2Score()]}},
    ),
}
WITHOUT_WEIGHTS = ("a function", "of no weights")  # the first gives one number for the batch


def compiled(problem, how, names):
    keras.backend.clear_session(free_memory=False)  # the names that Keras gives count from the start
    keras.utils.set_random_seed(0)
    make, _, _, metrics = PROBLEMS[problem]
    found = [metrics[name]() for name in names]
    return make(**{how: found[0] if isinstance(found[0], dict) else found})


@pytest.mark.parametrize(("how", "weights"), [("metrics", None), ("weighted_metrics", None), ("weighted_metrics", WEIGHTS)])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_history_under_uniform_importance_is_that_of_plain_fit(problem, how, weights):
    _, x, y, metrics = PROBLEMS[problem]
    names = [name for name in metrics if weights is None or name not in (*WITHOUT_WEIGHTS, "MeanIoU", "OneHotMeanIoU", "BinaryIoU")]
    if not names or (weights is not None and problem in ("masked sequences", "pixels")):
        return  # Keras takes no weights (b,) there
    arguments = dict(x=x, y=y, sample_weight=weights, batch_size=8, epochs=2, shuffle=False, verbose=0)
    expected = compiled(problem, how, names).fit(**arguments).history
    found = ImportanceTraining(compiled(problem, how, names), "uniform").fit(**arguments).history
    assert_same(found, expected, problem, weights)
    by_callback = compiled(problem, how, names).fit(**arguments, callbacks=[ImportanceSampling(8, "uniform")]).history
    assert_same(by_callback, expected, problem, weights)


def assert_same(found, expected, problem, weights):
    assert list(found) == list(expected)
    for name, values in expected.items():
        if problem in ("pixels", "masked sequences") and weights is not None and name == "loss":
            continue  # documented: one weight for each sample counts for all of its pixels
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:You are passing weight as `float`:UserWarning")  # of Keras's IoU
@pytest.mark.parametrize("problem", PROBLEMS)
def test_weighted_metrics_take_the_importance_weights(problem):
    """They never count b times b."""
    _, x, y, metrics = PROBLEMS[problem]
    for names in [
        [name for name in metrics if name not in WITHOUT_WEIGHTS and "IoU" not in name],
        [n for n in metrics if "IoU" in n],
    ]:
        if names:
            model = compiled(problem, "weighted_metrics", names)
            history = ImportanceTraining(model, "oracle", presample=N, seed=0).fit(x, y, batch_size=8, verbose=0).history
            assert all(np.all(np.isfinite(values)) for values in history.values())
            for name in {"hits", "true_positives"} & set(history):
                assert np.max(history[name]) < 2 * N


@pytest.mark.parametrize("metric", WITHOUT_WEIGHTS)
def test_weighted_metrics_that_take_no_weights_are_refused(metric):
    model = compiled("binary", "weighted_metrics", [metric])
    fit = lambda: ImportanceTraining(model, "oracle", presample=N, seed=0).fit(X, BINARY, batch_size=8, verbose=0)  # noqa: E731
    assert_refused(model, fit, "`weighted_metrics` must take sample weights of shape .* give those that do not as `metrics`")


@pytest.mark.parametrize("metric", ["F1Score", "hits"])
def test_compiled_steps_give_metrics_the_same_weights(metric):
    histories = []
    for eagerly in (True, False):
        model = compiled("binary", "weighted_metrics", [metric])
        model.run_eagerly = eagerly
        training = ImportanceTraining(model, "oracle", presample=24, seed=0)
        histories.append(training.fit(X, BINARY, batch_size=8, verbose=0).history)
    assert_same(histories[1], histories[0], "binary", None)
