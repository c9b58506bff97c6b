"""Real MNIST and small Keras models, shared by the tests."""

import gc

# TensorFlow without its log lines, and computing as `python -m examples.paper` does, whose runs are compared with those here
import examples  # noqa: F401

# isort: split

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.loaders import available

# a second virtual CPU, for the tests of strategies; it must be asked for before TensorFlow starts
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)


gc.collect()
gc.freeze()  # what was imported stays, and need not be looked through at every collection


@pytest.fixture(scope="session")
def mnist():
    """The first 2,000 training images of MNIST, `(2000, 28, 28, 1)`, and their digits."""
    (x, y), _ = available("mnist")
    return x[:2000], y[:2000]


@pytest.fixture(scope="session")
def strategy():
    """Two replicas, one object for all tests of a process: TensorFlow would mix up the collective operations of two."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture
def blobs():
    """Three overlapping classes in the plane: x `(300, 2)` float32, y `(300,)` int64."""
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    return (rng.normal(size=(300, 2)) + 2 * np.eye(3)[y][:, :2]).astype(np.float32), y


@pytest.fixture(autouse=True)
def _seeded():
    """The models' own randomness; the library takes seeds of its own."""
    keras.utils.set_random_seed(0)
