"""What is trained to measure seconds to a result: data, a network with a decayed learning rate, and its error on the test set."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from examples import datasets
from examples.paper import data as paper_data
from examples.paper import networks

layers = keras.layers


@dataclass(frozen=True)
class Problem:
    """A training by uniform sampling, that others are compared with.

    Attributes:
        title: one line about data and network.
        load: returns `(x, y), (x_test, y_test)`.
        network: returns a model that is not compiled; one output a class, or one for two classes.
        error: maps `(N,)` targets and `(N, outputs)` predictions to a test error in percent.
        error_name: what that is.
        steps: updates of the uniform training.
        batch_size: b of the uniform training.
        methods: names of those that are run on it; all if None.
    """

    title: str
    load: Callable
    network: Callable
    error: Callable
    error_name: str
    steps: int
    batch_size: int = 128
    methods: tuple | None = None

    def compiled(self, steps):
        """The network, with Adam and a learning rate that falls from 1e-3 to 0 by a cosine over so many steps."""
        model = self.network()
        rate = keras.optimizers.schedules.CosineDecay(1e-3, steps)
        loss = "binary_crossentropy" if model.output_shape[-1] == 1 else "sparse_categorical_crossentropy"
        model.compile(keras.optimizers.Adam(rate), loss)
        return model

    def evaluated(self, model, test):
        """Test error in percent and test loss of a model that is trained."""
        x, y = test
        parts = [model.predict_on_batch(x[start : start + 1000]) for start in range(0, len(x), 1000)]
        predictions = np.concatenate(parts).astype(np.float64)
        of_label = predictions[np.arange(len(y)), y] if predictions.shape[1] > 1 else np.where(y == 1, *_both(predictions[:, 0]))
        return {"error": float(self.error(y, predictions)), "loss": float(-np.mean(np.log(np.maximum(of_label, 1e-7))))}


def _both(probabilities):
    return probabilities, 1 - probabilities


def misclassified(y, predictions):
    return 100 * np.mean(predictions.argmax(axis=1) != y)


def missed_precision(y, predictions):
    """100 (1 - average precision): the area above the curve of precision against recall."""
    found = y[np.argsort(-predictions[:, 0], kind="stable")] == 1
    precision = np.cumsum(found) / np.arange(1, len(y) + 1)
    return 100 * (1 - precision[found].mean())


def nines(kept=300, digits=None):
    """MNIST: is it a 9? Only 300 of the nines are kept in training; the test set is whole."""
    (x, y), (x_test, y_test) = (digits or datasets.mnist)()
    dropped = np.flatnonzero(y == 9)[kept:]
    x, y = np.delete(x, dropped, axis=0), np.delete(y, dropped)
    return (x, (y == 9).astype(np.int64)), (x_test, (y_test == 9).astype(np.int64))


def cifar10():
    (x, y), (x_test, y_test) = datasets.cifar10()
    return (x.astype(np.float32) / 255, y), (x_test.astype(np.float32) / 255, y_test)


def wrong_labels(part=0.4):
    """MNIST, where so many of the labels are random; those of the test set are right."""
    (x, y), test = datasets.mnist()
    rng = np.random.default_rng(0)
    return (x, np.where(rng.random(len(y)) < part, rng.integers(0, 10, len(y)), y)), test


def words(sentences=4000):
    """Penn Treebank, the beginning of it, so that a few passes are soon made."""
    found = paper_data.penn_treebank(sentences)
    x, y = found.test
    return (found.x, found.y), (x[:5000], y[:5000])


def small_network():
    """The convolutional network that Keras's own introduction to MNIST trains, for two classes; 20,000 parameters."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def mlp():
    """Two layers of 512 on the pixels of MNIST, 0.67 million parameters."""
    hidden = [layers.Flatten(), *(layers.Dense(512, activation="relu") for _ in range(2))]
    return keras.Sequential([keras.Input((28, 28, 1)), *hidden, layers.Dense(10, activation="softmax")])


def normalised_network():
    """Six convolutions with batch normalisation, 0.43 million parameters; images are mirrored and moved in training."""
    model = keras.Sequential([keras.Input((32, 32, 3))])
    model.add(layers.RandomFlip("horizontal"))
    model.add(layers.RandomTranslation(0.125, 0.125, fill_mode="constant", interpolation="nearest"))
    _add_convolution(model, 32, kernel=4, strides=2)
    for filters in (64, 128):
        _add_convolution(model, filters)
        _add_convolution(model, filters)
        model.add(layers.MaxPooling2D())
    _add_convolution(model, 128)
    model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dense(10, activation="softmax"))
    return model


def _add_convolution(model, filters, kernel=3, strides=1):
    model.add(layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False))
    model.add(layers.BatchNormalization())
    model.add(layers.ReLU())


NOTHING_TO_GAIN = ("uniform", "auto")  # what is asked there: whether the choice by measurement does harm

PROBLEMS = {
    "rare": Problem(
        "one rare class: MNIST, is it a 9, 300 of 54,351 images are; a small CNN of Keras's examples",
        nines,
        small_network,
        missed_precision,
        "100 - average precision (%)",
        steps=4000,
    ),
    "mnist": Problem(
        "MNIST; the network of section 4.1 of the paper, 1.94 million parameters",
        datasets.mnist,
        networks.mnist,
        misclassified,
        "test error (%)",
        steps=6000,
    ),
    "cifar10": Problem(
        "CIFAR-10, augmented, 15 epochs; a small CNN with batch normalisation",
        cifar10,
        normalised_network,
        misclassified,
        "test error (%)",
        steps=5860,
    ),
    "wrong": Problem(
        "MNIST with 40 % of the labels at random; a 512-512 MLP",
        wrong_labels,
        mlp,
        misclassified,
        "test error (%)",
        steps=4690,
        methods=NOTHING_TO_GAIN,
    ),
    "first": Problem(
        "the first epoch of MNIST; the network of section 4.1 of the paper",
        datasets.mnist,
        networks.mnist,
        misclassified,
        "test error (%)",
        steps=468,
        methods=NOTHING_TO_GAIN,
    ),
    "words": Problem(
        "three epochs of the first 4,000 sentences of Penn Treebank; the network of section 4.3 of the paper",
        words,
        networks.penn_treebank,
        misclassified,
        "words not guessed (%)",
        steps=2082,
        methods=NOTHING_TO_GAIN,
    ),
}
