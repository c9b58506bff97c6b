"""What a step of each method costs, as a ratio to a step of plain `model.fit` in the same run.

    python -m benchmarks.step_cost

The network is that of section 4.1, the data real MNIST, the batch 128, the pool each method's default. The methods take turns of a
few steps each, so that a change of the machine's speed meets all of them. Ratios are taken turn by turn against the plain
turn beside it; their median is the figure, their quartiles tell the noise.
"""

import argparse
import time

import keras
import numpy as np

from examples import datasets, options
from examples.mnist_cnn import network
from importance_sampling import ImportanceTraining

BATCH = 128


class _Clock(keras.callbacks.Callback):
    """Seconds of every step, data included."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def on_train_batch_begin(self, batch, logs=None):
        self._start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(time.perf_counter() - self._start)


def turns(x, y, methods, rounds, steps):
    """Median seconds a step of each method in each round: `(rounds, len(methods))`."""
    fits = []
    for method in methods:
        keras.utils.set_random_seed(0)
        model = network()
        fits.append(model.fit if method == "plain" else ImportanceTraining(model, importance=method, seed=0).fit)
    seconds = np.empty((rounds, len(methods)))
    for turn in range(-1, rounds):  # the first turn compiles and does not count
        for column, fit in enumerate(fits):
            clock = _Clock()
            fit(x, y, batch_size=BATCH, steps_per_epoch=steps, verbose=0, callbacks=[clock])
            if turn >= 0:
                seconds[turn, column] = np.median(clock.steps[2:])
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_methods(parser, default=["uniform", "history", "pcg", "approx", "oracle"])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=22, help="steps of a turn; the first two do not count")
    chosen = parser.parse_args()
    (x, y), _ = datasets.mnist()
    seconds = turns(x, y, ["plain", *chosen.methods], chosen.rounds, chosen.steps)
    ratios = seconds / seconds[:, :1]
    print(f"{'method':10s} {'ms a step':>10s} {'ratio':>7s}   quartiles")
    for column, method in enumerate(["plain", *chosen.methods]):
        low, middle, high = np.percentile(ratios[:, column], [25, 50, 75])
        print(f"{method:10s} {1000 * np.median(seconds[:, column]):10.1f} {middle:7.3f}   {low:.3f} - {high:.3f}")


if __name__ == "__main__":
    main()
