"""One training, timed: everything is charged but the evaluations on the way."""

import time

import keras
import numpy as np

from benchmarks.methods import METHODS

EVALUATIONS = 12  # over a training, the last one at its end


def train(problem, method, seed, fraction=None, evaluations=EVALUATIONS, tick=lambda done, steps: None):
    """Trains once.

    Args:
        problem (Problem), method (Method), seed (int): what is trained, and how.
        fraction (float): the part of the samples that ours took, for the methods that wait for it.
        evaluations (int): on the way, the last one at the end.
        tick: told of the updates done, and of all.

    Returns:
        A dictionary: `seed`, `steps`, `batch_size`, `fraction`; `samples` trained on, `seconds` of `fit` and `cpu_seconds`
        of the process without evaluations; `error` in percent and `loss` on the test set at the end; `curve`, rows of samples,
        seconds, error and loss; of a network with batch normalisation `refreshed`, error and loss by statistics measured anew;
        of `"auto"` its `decisions`, in sentences.
    """
    steps = round(method.steps(fraction) * problem.steps)
    batch_size = round(method.batch(fraction) * problem.batch_size)
    (x, y), test = problem.load()
    keras.utils.set_random_seed(seed)
    model = problem.compiled(steps)
    problem.evaluated(model, test)  # compiled before the clock starts
    clock = Clock(steps, lambda: problem.evaluated(model, test), batch_size, evaluations, tick)
    clock.start()
    trainer = method.trainer(model, steps, seed, clock.count)
    epochs = -(-steps * batch_size // len(x)) + 1  # more than enough; the clock stops it
    trainer.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=0, callbacks=[clock])
    found = {"seed": seed, "steps": steps, "batch_size": batch_size, "fraction": fraction, **clock.result}
    if method is METHODS["auto"]:
        found["decisions"] = trainer.sampler.importance.decisions
    if normalisations(model):
        refresh(model, x, seed)
        found["refreshed"] = problem.evaluated(model, test)
    return found


def normalisations(model):
    """The layers of batch normalisation of a sequential model."""
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def refresh(model, x, seed, batches=100, batch_size=128):
    """Sets the statistics of batch normalisation to their means over batches that are drawn uniformly; nothing is trained."""
    order = np.random.default_rng(seed).permutation(len(x))[: batches * batch_size].reshape(-1, batch_size)
    for done, indices in enumerate(order):
        for layer in normalisations(model):
            layer.momentum = done / (done + 1)  # the running mean of all batches so far
        model(x[np.sort(indices)], training=True)


class Clock(keras.callbacks.Callback):
    """Counts updates and samples, stops at the last update, and evaluates on the way with the clock stopped.

    Attributes:
        result: dictionary, complete once the last update was made.
    """

    def __init__(self, steps, evaluate, batch_size, evaluations=EVALUATIONS, tick=lambda done, steps: None):
        super().__init__()
        self._steps, self._evaluate, self._batch_size, self._tick = steps, evaluate, batch_size, tick
        self._at = {round(steps * (i + 1) / evaluations) for i in range(evaluations)}
        self._done = self.samples = 0
        self._paused = self._cpu_paused = 0.0
        self.result = {"curve": []}

    def start(self):
        self._start, self._cpu_start = time.perf_counter(), time.process_time()

    def count(self, draw, losses):
        """For `on_step`: a batch may be smaller than usual."""
        self.samples += len(draw) - self._batch_size

    def on_train_batch_end(self, batch, logs=None):
        self._done += 1
        self.samples += self._batch_size
        self._tick(self._done, self._steps)
        if self._done in self._at:
            self._evaluated()
        if self._done == self._steps:
            self.model.stop_training = True

    def _evaluated(self):
        begun, cpu_begun = time.perf_counter(), time.process_time()
        seconds, cpu_seconds = begun - self._start - self._paused, cpu_begun - self._cpu_start - self._cpu_paused
        found = self._evaluate()
        self.result["curve"].append([self.samples, round(seconds, 2), round(found["error"], 4), round(found["loss"], 5)])
        self.result.update(samples=self.samples, seconds=round(seconds, 2), cpu_seconds=round(cpu_seconds, 2), **found)
        self._paused += time.perf_counter() - begun
        self._cpu_paused += time.process_time() - cpu_begun
