"""Small Keras models for the tests."""

import keras

from importance_sampling import LSTMImportance

L = keras.layers


def classifier(features=2, classes=3, loss="sparse_categorical_crossentropy", optimizer="sgd", **compiling):
    """A dense softmax classifier."""
    model = keras.Sequential([keras.Input((features,)), L.Dense(8, activation="tanh"), L.Dense(classes, activation="softmax")])
    model.compile(optimizer, loss, **compiling)
    return model


def digits_classifier(**compiling):
    """A small convolutional network with dropout for MNIST."""
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            L.Conv2D(8, 3, strides=2, activation="relu"),
            L.Conv2D(8, 3, strides=2, activation="relu"),
            L.Flatten(),
            L.Dropout(0.25),
            L.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"], **compiling)
    return model


def small_lstm(**options):
    """The LSTM of the paper, quick to start."""
    return LSTMImportance(**{"history": 3, "units": 4, "jit_compile": False, **options})
