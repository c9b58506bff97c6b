"""One line changes: MNIST by `ImportanceTraining(model).fit` in place of `model.fit`.

    python -m examples.fit

Prints Keras's progress and the error on the test set.
"""

import keras

from examples import datasets
from importance_sampling import ImportanceTraining


def main(samples=10_000, epochs=2):
    (x, y), test = datasets.mnist_or_digits()
    x, y = x[:samples], y[:samples]

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
            keras.layers.Conv2D(32, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

    # model.fit(x, y, batch_size=64, epochs=epochs, validation_data=test)
    ImportanceTraining(model, seed=0).fit(x, y, batch_size=64, epochs=epochs, validation_data=test)

    print(f"test error: {100 * (1 - model.evaluate(*test, verbose=0)[1]):.2f} %")


if __name__ == "__main__":
    main()
