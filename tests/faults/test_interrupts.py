"""Ctrl-C, exceptions, threads, and data that change their mind: nothing is lost, and what goes on is what would have been."""

import os
import signal
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import Backup, ConstantVarianceImportanceTraining, ImportanceTraining
from tests.models import classifier

N, SIZE = 300, 10
Y = np.arange(N) % 3
X = (3 * np.eye(3)[Y][:, :2] + np.random.default_rng(0).normal(size=(N, 2))).astype(np.float32)


class At(keras.callbacks.Callback):
    """Does something once, after an update."""

    def __init__(self, update, function):
        super().__init__()
        self._update, self._function = update, function

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == self._update:
            self._function()


def made():
    keras.utils.set_random_seed(0)
    return ConstantVarianceImportanceTraining(classifier(optimizer="adam"), seed=0)


def fit(training, *callbacks, epochs=4):
    training.fit(X, Y, batch_size=SIZE, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return training.model.get_weights()


def test_ctrl_c_and_on(tmp_path):
    """A real SIGINT; the model keeps its train function, and another process goes on from the last backup."""
    expected = fit(made())
    training = made()
    found = training.model.train_function
    with pytest.raises(KeyboardInterrupt):
        fit(training, Backup(tmp_path, 10), At(47, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert "Engine" not in repr(training.model.train_function) and (found is None or training.model.train_function is found)
    np.testing.assert_equal(fit(made(), Backup(tmp_path, 10)), expected)
    training.model.fit(X, Y, verbose=0)  # plain, as before


def test_an_exception_in_a_callback_of_the_user(tmp_path):
    def fails():
        raise RuntimeError("of the user")

    training = made()
    with pytest.raises(RuntimeError, match="of the user"):
        fit(training, Backup(tmp_path, 10), At(47, fails))
    assert "Engine" not in repr(training.model.train_function)
    np.testing.assert_equal(fit(made(), Backup(tmp_path, 10)), fit(made()))


def test_two_trainings_in_turns_and_in_threads():
    """Each is what it is alone. Models are made one after the other: Keras's own seeds are global."""
    expected = fit(made())
    one, other = made(), made()
    inner = []
    fit(one, At(47, lambda: inner.append(fit(other))))  # a whole training between two steps of another
    np.testing.assert_equal([one.model.get_weights(), inner[0]], [expected, expected])
    trainings = [made() for _ in range(2)]
    threads = [threading.Thread(target=fit, args=(training,)) for training in trainings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for training in trainings:
        np.testing.assert_equal(training.model.get_weights(), expected)


class Items:
    """Single inputs; something happens when one is read for the n-th time."""

    def __init__(self, n, function):
        self._n, self._function, self._read, self._lock = n, function, 0, threading.Lock()

    def __len__(self):
        return N

    def __getitem__(self, i):
        with self._lock:
            self._read += 1
            now = self._read == self._n
        return self._function(i) if now else X[i]


def from_items(items):
    keras.utils.set_random_seed(0)
    training = ImportanceTraining(classifier(optimizer="adam"), "pcg", seed=0)
    training.fit(items, Y, batch_size=SIZE, epochs=2, verbose=0)
    return training.model.get_weights()


def test_a_source_that_hangs_a_while_changes_nothing():
    def hangs(i):
        time.sleep(1)
        return X[i]

    np.testing.assert_equal(from_items(Items(400, hangs)), from_items(Items(-1, None)))


def test_a_source_that_raises_ends_training_with_its_own_error():
    def fails(i):
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        from_items(Items(400, fails))


def test_a_source_of_another_shape_in_mid_run_is_refused_by_name():
    rule = r"`x` must give samples of one shape, such as \(\d,\) for sample \d+. Received: \(\d,\) for sample \d+"
    with pytest.raises(ValueError, match=rule):
        from_items(Items(401, lambda i: np.zeros(3, np.float32)))


def test_arrays_that_shrink_in_mid_run_end_it():
    """A list-like of samples that loses its end: the error is that of the list."""
    samples = list(X)
    keras.utils.set_random_seed(0)
    training = ImportanceTraining(classifier(optimizer="adam"), "pcg", seed=0)

    class Shrinking:
        def __len__(self):
            return len(samples)

        def __getitem__(self, i):
            return samples[i]

    with pytest.raises(IndexError):
        training.fit(
            Shrinking(), Y, batch_size=SIZE, epochs=2, verbose=0, callbacks=[At(20, lambda: samples.__delitem__(slice(9, None)))]
        )
    assert "Engine" not in repr(training.model.train_function)


def test_a_stream_that_ends_early_in_one_pass():
    """30 batches in the first pass, 17 in the second: an epoch ends where the data end, as in Keras."""
    passes = []

    def batches():
        passes.append(None)
        for i in range(30 if len(passes) < 3 else 17):
            yield X[10 * i : 10 * i + 10], Y[10 * i : 10 * i + 10]

    signature = (tf.TensorSpec((None, 2), tf.float32), tf.TensorSpec((None,), tf.int64))
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    keras.utils.set_random_seed(0)
    training = ImportanceTraining(classifier(optimizer="adam"), "pcg", seed=0)
    with pytest.warns(UserWarning, match="ran out of data"):  # by Keras, as in plain fit
        history = training.fit(dataset, epochs=3, verbose=0)
    assert len(history.history["loss"]) == 3 and np.all(np.isfinite(history.history["loss"]))
