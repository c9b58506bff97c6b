"""Reading beside the step: the same training bit for bit, in less time where reading is dear, and with the user's own errors."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import ConstantVarianceImportanceTraining, ImportanceTraining
from tests.models import classifier, small_lstm

N, SIZE = 300, 10
Y = np.arange(N) % 3
X = (3 * np.eye(3)[Y][:, :2] + np.random.default_rng(0).normal(size=(N, 2))).astype(np.float32)
KINDS = {
    "uniform": lambda model, **more: ImportanceTraining(model, "uniform", seed=0, **more),
    "history": lambda model, **more: ConstantVarianceImportanceTraining(model, seed=0, **more),
    "approx": lambda model, **more: ImportanceTraining(model, small_lstm(), seed=0, **more),
    "oracle": lambda model, **more: ImportanceTraining(model, "oracle", seed=0, **more),
    "auto": lambda model, **more: ImportanceTraining(model, "auto", seed=0, **more),
    "multinomial": lambda model, **more: ImportanceTraining(model, "history", draws="multinomial", seed=0, **more),
}


class Items:
    """Inputs one at a time, and by which threads they were read."""

    def __init__(self, fails_at=None):
        self.threads, self._fails_at, self._read = [], fails_at, 0

    def __len__(self):
        return N

    def __getitem__(self, i):
        self.threads.append(threading.current_thread().name)
        self._read += 1
        if self._read == self._fails_at:
            raise OSError("the disk is gone")
        return X[i]


def jitter(x, y, seed):
    return x + 0.1 * tf.random.stateless_normal((2,), seed), y


def trained(kind, items, epochs=4, **more):
    keras.utils.set_random_seed(0)
    training = KINDS[kind](classifier(optimizer="adam"), **more)
    history = training.fit(items, Y, batch_size=SIZE, epochs=epochs, verbose=0).history
    return training.model.get_weights(), training.get_state()["sampler"], history


@pytest.mark.parametrize("kind", KINDS)
def test_it_changes_nothing_bit_for_bit(kind):
    """With a `map` that is random."""
    items = Items()
    np.testing.assert_equal(trained(kind, items, read_ahead=True, map=jitter), trained(kind, Items(), map=jitter))
    ahead = sum("read_ahead" in name for name in items.threads)
    assert ahead > 0.5 * len(items.threads) if kind not in ("oracle", "uniform") else ahead == 0  # which draw one batch at a time
    assert not [thread for thread in threading.enumerate() if "read_ahead" in thread.name]


def test_what_the_data_raise_arrives_at_its_step():
    for more in ({}, {"read_ahead": True}):
        with pytest.raises(OSError, match="the disk is gone"):
            trained("history", Items(fails_at=400), **more)
    assert not [thread for thread in threading.enumerate() if "read_ahead" in thread.name]


def test_it_reads_no_more_than_is_trained_on_and_a_batch():
    items, plain = Items(), Items()
    trained("history", items, read_ahead=True)
    trained("history", plain)
    assert (
        len(plain.threads) <= len(items.threads) <= len(plain.threads) + 60
    )  # one that was not wanted, at each change of the size
