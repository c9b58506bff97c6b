"""The networks of sections 4.1, 4.2 and 4.3, not compiled."""

import keras

from examples.paper.packed import PackedLSTM

layers = keras.layers


def mnist():
    """Section 4.1: a small VGG without batch normalisation, 1.94 million parameters."""
    model = keras.Sequential([keras.Input((28, 28, 1))], name="mnist")
    for filters in (32, 64):
        for _ in range(2):
            model.add(layers.Conv2D(filters, 3, padding="same", activation="relu"))
        model.add(layers.MaxPooling2D())
        model.add(layers.Dropout(0.25))
    model.add(layers.Flatten())
    for _ in range(2):
        model.add(layers.Dense(512, activation="relu"))
        model.add(layers.Dropout(0.5))
    model.add(layers.Dense(10, activation="softmax"))
    return model


def cifar10():
    """Section 4.2: a VGG with batch normalisation, 5.9 million parameters; each block has two convolutions, as in section 4.1."""
    model = keras.Sequential([keras.Input((32, 32, 3))], name="cifar10")
    for filters in (64, 128, 256):
        for _ in range(2):
            model.add(layers.Conv2D(filters, 3, padding="same", activation="relu"))
            model.add(layers.BatchNormalization())
        model.add(layers.MaxPooling2D())
        model.add(layers.Dropout(0.25))
    model.add(layers.Flatten())
    for units in (1024, 512):
        model.add(layers.Dense(units, activation="relu"))
        model.add(layers.Dropout(0.5))
    model.add(layers.Dense(10, activation="softmax"))
    return model


def penn_treebank(words=10_001):
    """Section 4.3: the small LSTM of Zaremba et al. (2014), two layers, here of 256 units, on an embedding in R^64."""
    model = keras.Sequential([keras.Input((20,), dtype="int32")], name="penn_treebank")
    model.add(layers.Embedding(words, 64, mask_zero=True))
    model.add(PackedLSTM(256, layers=2, dropout=0.5))
    model.add(layers.Dense(words, activation="softmax"))
    return model
