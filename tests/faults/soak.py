"""A long training of a small model: memory, live objects, threads and the time of a step stay as they are.

python -m tests.faults.soak --steps 1000000
"""

import argparse
import gc
import os
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from importance_sampling import ConstantVarianceImportanceTraining

N, SIZE = 2000, 16


class Watch(keras.callbacks.Callback):
    """At the end of each epoch: resident megabytes, live objects, threads, and the median seconds of a step."""

    def __init__(self, shown=print):
        super().__init__()
        self.rows, self._times, self._shown = [], [], shown

    def on_train_batch_end(self, batch, logs=None):
        self._times.append(time.perf_counter())

    def on_epoch_end(self, epoch, logs=None):
        gc.collect()
        step = float(np.median(np.diff(self._times)))
        self._times.clear()
        with open("/proc/self/statm") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        self.rows.append((resident, len(gc.get_objects()), threading.active_count(), step))
        row = self.rows[-1]
        self._shown(f"{epoch + 1:>4}  {row[0]:8.1f} MB  {row[1]:>9,} objects  {row[2]:>3} threads  {1000 * row[3]:.3f} ms a step")


def run(steps, parts=10, shown=print):
    """Trains for so many steps. Returns the rows of `Watch`, and the threads that are left."""
    rng = np.random.default_rng(0)
    y = np.arange(N) % 4
    x = (np.eye(4)[y] + rng.normal(size=(N, 4))).astype(np.float32)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(4, activation="softmax")]
    )
    model.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy")
    before, watch = set(threading.enumerate()), Watch(shown)
    training = ConstantVarianceImportanceTraining(model, seed=0, logs=True)
    training.fit(x, y, batch_size=SIZE, epochs=parts, steps_per_epoch=steps // parts, verbose=0, callbacks=[watch])
    return watch.rows, [thread for thread in threading.enumerate() if thread not in before]


def check(rows, left, megabytes):
    """Refuses growth after the first third.

    Raises:
        AssertionError: something has grown.
    """
    later = rows[len(rows) // 3 :]
    assert not left, f"threads are left: {left}"
    assert len({threads for _, _, threads, _ in later}) == 1, "threads come and go"
    assert later[-1][0] - later[0][0] < megabytes, f"memory has grown by {later[-1][0] - later[0][0]:.1f} MB"
    assert later[-1][1] - later[0][1] < 200, f"{later[-1][1] - later[0][1]} more objects live"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000_000)
    steps = parser.parse_args(argv).steps
    rows, left = run(steps)
    check(rows, left, megabytes=8)
    first, last = rows[len(rows) // 3][3], rows[-1][3]
    print(f"{steps:,} steps: memory, objects and threads have not grown; a step takes {last / first:.2f} of what it took.")


if __name__ == "__main__":
    main()
