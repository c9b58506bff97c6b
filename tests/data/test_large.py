"""Arrays in files in place of memory: the same training, nothing left behind, a full disk said at once."""

import os
import subprocess
import sys

import numpy as np
import pytest

from importance_sampling import ArraySource, HistoryImportance, ImportanceSampler, ImportanceTraining, LossHistory, LSTMImportance
from importance_sampling.data.large import filled
from tests.models import classifier, small_lstm

N = 300
Y = np.arange(N) % 3
X = (3 * np.eye(3)[Y][:, :2] + np.random.default_rng(0).normal(size=(N, 2))).astype(np.float32)


def run(importance, steps=80, sampler=None):
    sampler = sampler or ImportanceSampler(ArraySource(X, Y), importance, seed=0)
    rng = np.random.default_rng(1)
    draws = []
    for _ in range(steps):
        draws.append(sampler.draw(10))
        values = rng.exponential(size=10)
        sampler.update(draws[-1], values, values)
    return sampler, draws


def assert_same(draws, others):
    for one, other in zip(draws, others, strict=True):
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_array_equal(one.weights, other.weights)


@pytest.mark.parametrize("kind", [HistoryImportance, small_lstm])
def test_draws_are_those_of_memory_bit_for_bit_and_states_go_either_way(kind, tmp_path):
    in_memory, draws = run(kind())
    in_file, others = run(kind(directory=tmp_path))
    assert_same(draws, others)
    assert os.listdir(tmp_path) == []  # the files have no names
    for one, other in ((in_memory, kind(directory=tmp_path)), (in_file, kind())):
        twin, _ = run(other, steps=3)
        twin.set_state(one.get_state())
        assert_same(run(None, 20, sampler=one)[1], run(None, 20, sampler=twin)[1])


def test_the_arrays_are_mapped_and_not_shared(tmp_path):
    one, other = (HistoryImportance(directory=tmp_path) for _ in range(2))
    for importance in (one, other):
        importance.build(N, 3, 0)
        assert isinstance(importance._means, np.memmap)
    one.update(np.array([1]), None, np.array([2.0]))
    assert one._means[1] == 2 and np.isnan(other._means[1])
    history = LossHistory(N, directory=tmp_path)
    assert isinstance(history._losses, np.memmap) and isinstance(history._seen, np.memmap)


def test_fit_trains_with_it(tmp_path):
    training = ImportanceTraining(classifier(), HistoryImportance(directory=str(tmp_path)), seed=0)
    training.fit(X, Y, batch_size=20, epochs=2, verbose=0)
    assert np.isfinite(training.sampler.importance._means).sum() > N / 2


def test_large_arrays_are_written_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("importance_sampling.data.large._CHUNK", 100)
    np.testing.assert_array_equal(filled((7, 33), 1.5, np.float32, tmp_path), np.full((7, 33), 1.5))
    assert filled((0,), 1.5, np.float32, tmp_path).shape == (0,)


@pytest.mark.parametrize("kind", [HistoryImportance, LSTMImportance, lambda directory: LossHistory(3, directory=directory)])
def test_bad_directories(kind, tmp_path):
    with pytest.raises(ValueError, match="`directory` must be None or a directory that exists"):
        kind(directory=tmp_path / "none")
    with pytest.raises(ValueError, match="`directory` must be None where the number of samples is not known"):
        LossHistory(None, directory=tmp_path)
    importance = HistoryImportance(directory=tmp_path)
    with pytest.raises(ValueError, match="`directory` must be None where the number of samples is not known"):
        importance.build(None, 0, 0)


FULL = """
import resource, signal, sys
import numpy as np
from importance_sampling import HistoryImportance, ImportanceSampler
from benchmarks.scale import Nothing
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
for importance in (HistoryImportance(directory=sys.argv[1]), "history"):
    try:
        ImportanceSampler(Nothing(10**6), importance, classes=0, seed=0)
        print("made")
    except OSError as error:
        print(error)
"""


def test_a_file_that_finds_no_room_is_refused_at_once_and_leaves_nothing(tmp_path):
    """In a process whose files may have a megabyte; four are needed."""
    printed = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True, cwd=os.getcwd()
    ).stdout.splitlines()
    assert "`directory` must have room for 4,000,000 bytes. Received: " in printed[0] and printed[1] == "made"
    assert os.listdir(tmp_path) == []
