"""The callback in the `model.fit` that you have, on a `tf.data` pipeline: a history of every sample by `with_indices`.

    python -m examples.callback

Prints Keras's progress, and the class that was drawn most often.
"""

import keras
import numpy as np
import tensorflow as tf

from examples import datasets
from importance_sampling import ImportanceSampling, with_indices


def main(samples=10_000, epochs=3):
    (x, y), _ = datasets.mnist_or_digits()
    x, y = x[:samples], y[:samples]
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

    # each batch of `fit`, of 512, is the pool that 64 samples are chosen from
    pipeline = with_indices(tf.data.Dataset.from_tensor_slices((x, y))).shuffle(len(x), seed=0).batch(512, drop_remainder=True)
    drawn = np.zeros(10)
    count = lambda draw, losses: np.add.at(drawn, draw.labels, 1)  # noqa: E731
    callback = ImportanceSampling(batch_size=64, importance="approx", seed=0, on_step=count)
    model.fit(pipeline, shuffle=False, epochs=epochs, callbacks=[callback])

    print(f"drawn most often: the digit {drawn.argmax()}, {drawn.max() / drawn.sum():.0%} of {drawn.sum():.0f} samples")


if __name__ == "__main__":
    main()
