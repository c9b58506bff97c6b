"""One training run, and what it measures of itself after each epoch."""

import time

import keras
import numpy as np
import tensorflow as tf

from examples.paper.experiments import EXPERIMENTS
from examples.paper.measures import losses_of, quantiles, short, variance_ratio
from importance_sampling import ImportanceTraining, LSTMImportance, Oracle

SOME = 2_000  # training samples whose plain loss is taken after each epoch
EACH = 10  # steps whose losses are kept as one mean and one deviation


def run(results, data, epochs, tick=lambda: None):
    """Trains until `epochs` are done, evaluating after each; goes on where an earlier call stopped.

    Args:
        results: the `Results` of the run.
        data: the `Data` of the experiment.
        epochs: in all.
        tick: called after each step.
    """
    if results.epochs >= epochs:
        return
    with results.locked():
        _train(results, data, epochs, tick)


def _train(results, data, epochs, tick):
    settings, experiment = results.settings, EXPERIMENTS[results.settings.experiment]
    keras.utils.set_random_seed(settings.seed)
    model = experiment.compiled(settings.learning_rate)
    restored = results.load(model)
    if results.epochs >= epochs:  # the checkpoint was ahead of the file
        return
    recorder = _Recorder(tick)
    importance = {
        "oracle": Oracle(model, batch_size=experiment.scored_at_once),
        "approx": LSTMImportance(cached=False),  # Algorithm 1 to the letter
    }.get(settings.method, settings.method)
    training = ImportanceTraining(
        model,
        importance=importance,
        k=settings.k,
        smoothing=experiment.smoothing(),
        presample=settings.presample,
        draws="multinomial",
        seed=settings.seed,
        on_step=recorder,
    )
    if restored is not None:
        training.set_state(restored)
    evaluations = _Evaluations(results, training, recorder)
    training.fit(
        data.x,
        data.y,
        batch_size=settings.batch_size,
        epochs=epochs,
        initial_epoch=results.epochs,
        steps_per_epoch=settings.steps,
        validation_data=data.test,
        validation_batch_size=500,
        callbacks=[evaluations],
        verbose=0,
    )


class _Recorder:
    """The weighted loss of each batch, as `fit` reports it: a mean and a deviation for every few steps."""

    def __init__(self, tick):
        self._tick = tick
        self._losses = []

    def __call__(self, draw, losses):
        self._losses.append(float(np.nanmean(draw.weights * losses)))
        self._tick()

    def take(self):
        parts = [self._losses[i : i + EACH] for i in range(0, len(self._losses), EACH)]
        self._losses = []
        return [short(np.mean(part)) for part in parts], [short(np.std(part)) for part in parts]


class _Evaluations(keras.callbacks.Callback):
    """A line after each epoch. `fit` has evaluated the test set by then."""

    def __init__(self, results, training, recorder):
        super().__init__()
        self._results, self._training, self._recorder = results, training, recorder
        self._gradient_norm = Oracle(training.model, quantity="full_gnorm")
        last = results.lines[-1] if results.lines else {"seconds": 0.0, "cpu_seconds": 0.0, "sampler_share": 0.0}
        self._seconds, self._cpu_seconds = last["seconds"], last["cpu_seconds"]
        self._choosing = last["sampler_share"] * last["seconds"]

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.process_time()

    def on_test_begin(self, logs=None):
        self._cpu_seconds += time.process_time() - self._began

    def on_epoch_end(self, epoch, logs=None):
        experiment, settings = EXPERIMENTS[self._results.settings.experiment], self._results.settings
        sampler, spent = self._training.sampler, self._training.seconds
        seconds = self._seconds + sum(spent.values())
        means, deviations = self._recorder.take()
        line = {
            "epoch": epoch + 1,
            "step": (epoch + 1) * settings.steps,
            "seconds": round(seconds, 3),
            "cpu_seconds": round(self._cpu_seconds, 3),
            "threads": tf.config.threading.get_intra_op_parallelism_threads(),
            "sampler_share": short((self._choosing + spent["draw"] + spent["update"]) / seconds),
            experiment.measure: short(experiment.measured(logs["val_loss"], logs["val_accuracy"])),
            "test_loss": short(logs["val_loss"]),
            "train_loss": short(np.mean(losses_of(self.model, sampler.source, _some(len(sampler.source), settings.limit)))),
            "losses": means,
            "deviations": deviations,
        }
        if epoch + 1 in experiment.table and experiment.sorted_losses:
            line["sorted_losses"] = quantiles(losses_of(self.model, sampler.source, np.arange(len(sampler.source))))
        if experiment.variance:
            draws = experiment.variance if settings.limit is None else max(1, settings.limit // 10)  # a quick look stays quick
            line["variance"] = variance_ratio(self._gradient_norm, sampler, draws)
        self._results.add(line, self.model, self._training.get_state())


def _some(size, limit):
    """The same samples at each evaluation, for the training loss; a quick look stays quick."""
    return np.random.default_rng(0).choice(size, min(size, SOME, limit or SOME), replace=False)
