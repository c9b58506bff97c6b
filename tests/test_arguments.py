"""Numbers that are none are refused by a sentence, wherever the user may give one."""

from fractions import Fraction

import numpy as np
import pytest

import importance_sampling
from importance_sampling import (
    ArraySource,
    Auto,
    EqualVariance,
    HistoryImportance,
    ImportanceSampler,
    ImportanceSampling,
    ImportanceTraining,
    LossHistory,
    LSTMImportance,
    Oracle,
    PerClassGaussian,
    Warmup,
    adaptive,
    additive,
    measured,
    power,
)
from tests.models import classifier

X, Y = np.zeros((16, 4), np.float32), np.arange(16) % 3
WHOLE = [
    (LSTMImportance, "history"),
    (LSTMImportance, "units"),
    (LSTMImportance, "embedding"),
    (LSTMImportance, "classes"),
    (LSTMImportance, "learn_every"),
    (Oracle, "batch_size"),
    (lambda size: LossHistory(size), "size"),
    (lambda length: LossHistory(3, length), "length"),
    (Warmup, "steps"),
    (lambda doublings: Warmup(3, doublings), "doublings"),
    (lambda presample: ImportanceTraining(classifier(4), presample=presample), "presample"),
    (lambda seed: ImportanceTraining(classifier(4), seed=seed), "seed"),
    (ImportanceSampling, "batch_size"),
    (lambda batch_size: ImportanceSampler(ArraySource(X, Y)).draw(batch_size), "batch_size"),
    (lambda classes: ImportanceSampler(ArraySource(X, Y), importance="pcg", classes=classes), "classes"),
    (lambda batch_size: ImportanceTraining(classifier(4)).fit(X, Y, batch_size=batch_size, verbose=0), "batch_size"),
    (lambda steps_per_epoch: ImportanceTraining(classifier(4)).fit(X, Y, steps_per_epoch=steps_per_epoch), "steps_per_epoch"),
]
REAL = [
    (LSTMImportance, "learning_rate"),
    (Oracle, "tau"),
    (HistoryImportance, "factor"),
    (HistoryImportance, "pressure"),
    (PerClassGaussian, "decay"),
    (adaptive, "fraction"),
    (adaptive, "momentum"),
    (lambda smoothing: additive(smoothing), "smoothing"),
    (power, "a"),
    (lambda k: ImportanceTraining(classifier(4), k=k), "k"),
    (lambda validation_split: ImportanceTraining(classifier(4)).fit(X, Y, validation_split=validation_split), "validation_split"),
]
SEQUENCES = [(EqualVariance, "fractions"), (measured, "fractions"), (Auto, "choices")]
NO_NUMBERS = ["a", [1], float("nan"), True, -2, object()]
"""No rule lets any of them through but k's, which may be -2."""


def refused(make, name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be .*Received: {name}=") as error:
        make(**{name: value})
    shown = repr(value) if isinstance(value, (str, list)) else str(value)
    assert shown in str(error.value)


@pytest.mark.parametrize(("make", "name"), WHOLE)
@pytest.mark.parametrize("value", [*NO_NUMBERS, 1.5, 2.0])
def test_what_is_no_whole_number_is_refused_by_name(make, name, value):
    refused(make, name, value)


@pytest.mark.parametrize(("make", "name"), REAL)
@pytest.mark.parametrize("value", [*NO_NUMBERS, float("inf"), 10**400, 1j])
def test_what_is_no_number_is_refused_by_name(make, name, value):
    if (name, value) == ("k", -2):
        pytest.skip("k may be negative")
    refused(make, name, value)


@pytest.mark.parametrize(("make", "name"), SEQUENCES)
@pytest.mark.parametrize("value", ["a", 1, None, (), ("x",), (float("nan"),), (-1,), ([],), object()])
def test_what_is_no_sequence_of_the_right_kind_is_refused_by_name(make, name, value):
    refused(make, name, value)


@pytest.mark.parametrize("value", [3, 1.5, object(), "not there"])
def test_what_is_no_directory_is_refused_by_name(value):
    for make in (HistoryImportance, LSTMImportance, lambda directory: LossHistory(3, directory=directory)):
        refused(make, "directory", value)
    if not isinstance(value, str):
        refused(importance_sampling.Backup, "directory", value)


@pytest.mark.parametrize(("source", "missing"), [(None, "__len__"), ((X, Y), "targets"), (X, "targets"), (iter(X), "__len__")])
def test_what_is_no_source_is_refused_by_name(source, missing):
    text = f"`source` must be an ArraySource.* Received: source={type(source).__name__}, without {missing}"
    with pytest.raises(ValueError, match=text):
        ImportanceSampler(source)


def test_targets_are_not_read_to_look_for_them():
    class Own:
        @property
        def targets(self):
            raise AssertionError("read")

        def __len__(self):
            return 16

        def __getitem__(self, indices):
            return X[indices], Y[indices], None

    assert len(ImportanceSampler(Own(), importance="uniform", seed=0).draw(4)) == 4


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.int64, np.asarray])
def test_whole_numbers_of_numpy_are_whole_numbers(kind):
    """None overflows, where eight batches are drawn at once."""
    x, y = np.zeros((3000, 4), np.float32), np.arange(3000) % 3
    draws = [ImportanceSampler(ArraySource(x, y), "pcg", seed=0).draw(b).indices for b in (100, kind(100))]
    np.testing.assert_array_equal(*draws)
    training = ImportanceTraining(classifier(4), LSTMImportance(history=kind(3)), presample=kind(8), seed=0)
    training.fit(X, Y, batch_size=kind(4), steps_per_epoch=kind(2), verbose=0)
    assert int(training.model.optimizer.iterations) == 2


def test_numbers_of_numpy_and_fractions_are_numbers():
    for kind in (np.float32, np.float64, np.asarray, Fraction):
        assert LSTMImportance(learning_rate=kind(0.5)).learning_rate == 0.5
        assert isinstance(PerClassGaussian(decay=kind(0.5)).decay, float)
        assert isinstance(HistoryImportance(factor=kind(0.5), pressure=2 + kind(0.5)).factor, float)
    assert EqualVariance(fractions=np.array([0.25, 0.5])).fractions == (0.25, 0.5)
