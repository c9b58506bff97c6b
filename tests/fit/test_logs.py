"""`logs=True`: what the logs have beside those of plain `fit`, and what they have without it."""

import csv

import keras
import numpy as np
import pytest

from importance_sampling import ConstantVarianceImportanceTraining, ImportanceSampling, ImportanceTraining
from importance_sampling.fit.logs import NAMES
from tests.models import classifier

N, B = 400, 20
Y = np.arange(N) % 3
X = (3 * np.eye(3)[Y][:, :2] + np.random.default_rng(0).normal(size=(N, 2))).astype(np.float32)


def fitted(kind, logs, callbacks=(), metrics=("accuracy",), epochs=3, **compiling):
    keras.utils.set_random_seed(0)
    model = classifier(metrics=list(metrics), **compiling)
    data = {"epochs": epochs, "verbose": 0, "validation_data": (X, Y)}
    if kind == "callback":
        callbacks = [*callbacks, ImportanceSampling(B, "gnorm", logs=logs, seed=0)]
        return model.fit(X, Y, batch_size=4 * B, callbacks=callbacks, **data)
    training = ImportanceTraining(model, kind, logs=logs, seed=0, presample=4 * B)
    return training.fit(X, Y, batch_size=B, callbacks=list(callbacks), **data)


@pytest.mark.parametrize(
    ("kind", "compiling"),
    [*((kind, {}) for kind in ("callback", "pcg", "uniform", "oracle")), ("pcg", {"run_eagerly": True})]
    + [(kind, {"steps_per_execution": 3}) for kind in ("callback", "pcg")],
)
def test_the_keys_are_those_of_plain_fit_and_more_where_wanted(kind, compiling):
    plain = classifier(metrics=["accuracy"]).fit(X, Y, validation_data=(X, Y), verbose=0)
    without, with_logs = (fitted(kind, logs, **compiling).history for logs in (False, True))
    assert list(without) == list(plain.history)
    assert set(with_logs) == {*plain.history, *NAMES}
    for name in plain.history:  # training is the same
        assert without[name] == with_logs[name]


def test_the_numbers_add_up():
    draws, steps = [], []
    keras.utils.set_random_seed(0)
    training = ConstantVarianceImportanceTraining(
        classifier(), logs=True, seed=0, presample=N, on_step=lambda draw, _: draws.append(draw)
    )
    each = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(logs))
    history = training.fit(X, Y, batch_size=B, epochs=20, callbacks=[each], verbose=0).history
    sizes = np.array([len(draw) for draw in draws])
    assert [log["batch_size"] for log in steps] == sizes.tolist()
    assert [log["samples"] for log in steps] == np.cumsum(sizes).tolist()
    assert [log["uniform_samples"] for log in steps] == (B * np.arange(1, 401)).tolist()
    found = [draw.weights.sum(dtype=np.float64) ** 2 / np.sum(draw.weights.astype(np.float64) ** 2) for draw in draws]
    assert [log["effective_sample_size"] for log in steps] == pytest.approx(found)
    ratios = np.array([log["variance_ratio"] for log in steps])
    assert np.all(np.isnan(ratios[:95])) and np.all(ratios[120:] < 1.2)
    assert history["samples"] == np.cumsum(sizes)[19::20].tolist()
    assert history["samples"][-1] < history["uniform_samples"][-1] == 8000


def test_they_begin_anew_with_each_fit():
    training = ImportanceTraining(classifier(), "pcg", logs=True, seed=0)
    for _ in range(2):
        assert training.fit(X, Y, batch_size=B, verbose=0).history["samples"] == [N]


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of NumPy, about how TensorFlow writes summaries
def test_files_have_them(tmp_path):
    fitted("pcg", True, [keras.callbacks.CSVLogger(tmp_path / "log.csv"), keras.callbacks.TensorBoard(tmp_path / "board")])
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [float(row["samples"]) for row in rows] == [N, 2 * N, 3 * N] and set(NAMES) <= set(rows[0])
    events = b"".join(path.read_bytes() for path in (tmp_path / "board").rglob("events*"))
    assert b"epoch_variance_ratio" in events


def test_the_progress_bar_shows_the_last_numbers_and_no_means(capsys):
    keras.utils.set_random_seed(0)
    ImportanceTraining(classifier(), "pcg", logs=True, seed=0).fit(X, Y, batch_size=B, verbose=2)
    assert f"samples: {N}" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["callback", "pcg"])
def test_a_metric_of_the_same_name_is_not_hidden(kind):
    metric = keras.metrics.SparseCategoricalAccuracy(name="samples")
    assert "samples" in fitted(kind, False, metrics=[metric]).history
    with pytest.raises(ValueError, match="`logs` must be False where a metric is called .* Received: samples"):
        fitted(kind, True, metrics=[keras.metrics.SparseCategoricalAccuracy(name="samples")])
