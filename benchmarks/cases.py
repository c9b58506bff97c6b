"""What the cost of a step is measured on: networks, their data, and the methods that matter there."""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from benchmarks import problems
from examples import datasets
from examples.paper import data as paper_data
from examples.paper import networks

layers = keras.layers
METHODS = ("uniform", "history", "pcg", "approx at first", "approx", "auto", "oracle")
AHEAD = "history, reading ahead"
CROSSENTROPY = "sparse_categorical_crossentropy"


@dataclass(frozen=True)
class Case:
    """A network on data, in batches of some size; `streamed` as a `tf.data.Dataset` in place of arrays.

    Methods are compared with `beside`; `map` is that of `ImportanceTraining`.
    """

    title: str
    data: object
    network: object
    batch_size: int = 128
    streamed: bool = False
    methods: tuple = METHODS
    loss: str = CROSSENTROPY
    beside: str = "plain"
    map: object = None

    def given(self, x, y):
        """What `fit` is given."""
        if not self.streamed:
            return {"x": x, "y": y, "batch_size": self.batch_size}
        shuffled = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(10_000, seed=0).repeat()
        return {"x": shuffled.batch(self.batch_size), "shuffle": False}


def images():
    (x, y), _ = datasets.mnist()
    return x, y


def wrong_labels():
    return problems.wrong_labels()[0]


def words():
    found = paper_data.penn_treebank()
    return found.x, found.y


def noise(shape, classes, high=None, count=20_000):
    """Random samples, for networks of which nothing but the time of a step is to be known: nothing can be learnt from them."""

    def load():
        rng = np.random.default_rng(0)
        x = rng.normal(size=(count, *shape)).astype(np.float32) if high is None else rng.integers(1, high, (count, *shape))
        return x, rng.integers(0, classes, count) if classes else x

    return load


def text():
    """An LSTM over 80 words of 2,000."""
    return keras.Sequential(
        [keras.Input((80,)), layers.Embedding(2000, 64), layers.LSTM(64), layers.Dense(2, activation="softmax")]
    )


def table():
    """Three layers over 40 columns of a table, 0.4 million parameters."""
    hidden = [layers.Dense(width, activation="relu") for width in (512, 512, 256)]
    return keras.Sequential([keras.Input((40,)), *hidden, layers.Dense(2, activation="softmax")])


def tiny():
    """One small layer over 20 columns: a step of a millisecond."""
    return keras.Sequential([keras.Input((20,)), layers.Dense(16, activation="relu"), layers.Dense(2, activation="softmax")])


def autoencoder():
    """Four convolutions down to 7 x 7 and up again."""
    model = keras.Sequential([keras.Input((28, 28, 1))])
    for filters in (32, 32):
        model.add(layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu"))
    for filters in (32, 32):
        model.add(layers.Conv2DTranspose(filters, 3, strides=2, padding="same", activation="relu"))
    model.add(layers.Conv2D(1, 3, padding="same"))
    return model


def moved(x, y, seed):
    """An image `(28, 28, 1)`, moved by up to four pixels and made noisy."""
    x = tf.image.stateless_random_crop(tf.pad(x, [[4, 4], [4, 4], [0, 0]]), (28, 28, 1), seed)
    return tf.clip_by_value(x + tf.random.stateless_normal(x.shape, seed, stddev=0.1), 0.0, 1.0), y


SMALL = ("approx at first", "approx", "auto")
CASES = {
    "mnist": Case("the paper's MNIST network, batches of 128", images, networks.mnist),
    "mlp": Case("a 512-512 MLP on MNIST, batches of 128", images, problems.mlp),
    "words": Case("the paper's word model, batches of 128", words, networks.penn_treebank),
    "mnist-32": Case("the paper's MNIST network, batches of 32", images, networks.mnist, 32, methods=("oracle",)),
    "mnist-32-tf.data": Case("the same from tf.data", images, networks.mnist, 32, streamed=True, methods=("oracle",)),
    "wrong": Case("the MLP, 40 % of the labels at random, batches of 128", wrong_labels, problems.mlp, methods=("uniform", "auto")),
    "tiny": Case("one layer of 16, batches of 128", noise((20,), 2), tiny, methods=("uniform", "history", "auto")),
    "ahead": Case(
        "the MLP, images moved and made noisy by `map`, batches of 128",
        images,
        problems.mlp,
        methods=(AHEAD,),
        beside="history",
        map=moved,
    ),
}
for size in (128, 32):
    of_size = f"batches of {size}"
    CASES |= {
        f"text-{size}": Case(f"an LSTM text classifier, {of_size}", noise((80,), 2, 2000), text, size, methods=SMALL),
        f"table-{size}": Case(f"a tabular model, {of_size}", noise((40,), 2), table, size, methods=SMALL),
        f"autoencoder-{size}": Case(
            f"a convolutional autoencoder, {of_size}", noise((28, 28, 1), 0), autoencoder, size, methods=SMALL, loss="mse"
        ),
    }
