"""How many calls of the package a step takes, from the user's array to what the importance learns.

    python -m benchmarks.calls

Counted by a profiler of Python from the beginning of a step to its end, `on_train_batch_begin` to `on_train_batch_end`, without
what other packages call among themselves. Properties count as calls, what a comprehension does does not.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import keras
import numpy as np

import importance_sampling
from examples import options
from importance_sampling import ImportanceTraining

PACKAGE = str(Path(importance_sampling.__file__).parent)


class Calls(keras.callbacks.Callback):
    """Counts the calls of every step after the first few.

    Attributes:
        steps: one list for each step of the functions called, as `(module, function)`.
    """

    def __init__(self, skipped=3):
        super().__init__()
        self.steps, self._skipped, self._number = [], skipped, 0

    def on_train_batch_begin(self, batch, logs=None):
        self._number += 1
        if self._number > self._skipped:
            self.steps.append([])
            sys.setprofile(self._seen)

    def on_train_batch_end(self, batch, logs=None):
        sys.setprofile(None)

    def _seen(self, frame, event, argument):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE) and "comp>" not in code.co_name:
            self.steps[-1].append((code.co_filename.removeprefix(PACKAGE + "/"), code.co_qualname))


def step_of(importance):
    """The calls of one step on 512 samples in arrays."""
    y = np.arange(512) % 4
    x = (np.random.default_rng(0).normal(size=(512, 6)) + np.eye(6)[y]).astype(np.float32)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    calls = Calls()
    training = ImportanceTraining(model, importance=importance, presample=64, seed=0)
    training.fit(x, y, batch_size=16, verbose=0, callbacks=[calls])
    return min(calls.steps, key=len)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_methods(parser, default=["uniform", "pcg", "approx", "oracle"])
    parser.add_argument("--list", action="store_true", help="name them, in order")
    chosen = parser.parse_args()
    for importance in chosen.methods:
        calls = step_of(importance)
        changes = sum(a[0] != b[0] for a, b in zip(calls, calls[1:]))
        print(f"{importance:10s} {len(calls)} calls, {changes} changes of module, {len(Counter(m for m, _ in calls))} modules")
        if chosen.list:
            print("".join(f"    {module}: {name}\n" for module, name in calls))


if __name__ == "__main__":
    main()
