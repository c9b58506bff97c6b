"""One training run: its settings, its results file, and going on where it stopped.

A results file has one JSON line for the settings and then one for each evaluation. Beside it, outside the repository, a
checkpoint holds model, optimizer and what was learnt about the samples, so that a run that was killed goes on, bit for bit.
"""

import json
import os
import pickle
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import importance_sampling
from examples.paper.experiments import EXPERIMENTS
from examples.paper.measures import losses_of, quantiles, short, variance_ratio
from importance_sampling import ImportanceTraining, Oracle

SOME = 2_000  # training samples whose plain loss is taken after each epoch
EACH = 10  # steps whose losses are kept as one mean and one deviation


class OtherSettings(RuntimeError):
    """A results file belongs to a run with other settings."""


@dataclass(frozen=True)
class Settings:
    """What tells a run from others of its experiment; `limit` keeps the first samples only, for a quick look."""

    experiment: str
    method: str
    k: float
    seed: int
    learning_rate: float = 1e-3
    batch_size: int = 128
    presample: int = 1024
    steps: int = 300
    limit: int | None = None

    @property
    def name(self):
        """Names the results file: uniform sampling has no k."""
        k = "" if self.method == "uniform" else f"-k{self.k:g}"
        return f"{self.experiment}-{self.method}{k}-lr{self.learning_rate:g}-seed{self.seed}"


class Results:
    """The results file of a run, and its checkpoint.

    Args:
        settings: of the run.
        folder: of the results files.
        checkpoints: folder of the checkpoints.

    Raises:
        OtherSettings: there is a results file of that name with other settings; nothing is appended to it.
    """

    def __init__(self, settings, folder, checkpoints):
        self.settings = settings
        self.path = Path(folder) / f"{settings.name}.jsonl"
        self._checkpoint = Path(checkpoints) / settings.name
        self.first = {"settings": asdict(settings), "versions": versions(), "cores": os.cpu_count()}
        self.lines = []
        if self.path.exists():
            self.first, *self.lines = (json.loads(line) for line in self.path.read_text().splitlines())
            self._check(self.path, self.first["settings"])

    @property
    def epochs(self):
        """Epochs that are done."""
        return self.lines[-1]["epoch"] if self.lines else 0

    def load(self, model):
        """Puts the model where it was at the last evaluation, and returns the state of the sampler there.

        A line that was not written any more when the run was killed is in the checkpoint, and is written now. Returns None
        where the run has to start anew.
        """
        kept = sorted(self._checkpoint.glob("epoch-*[0-9]"), key=lambda path: int(path.name.partition("-")[2]))
        if not kept:
            self._refuse_to_start_over()
            return None
        state = pickle.loads(kept[-1].read_bytes())
        self._check(self._checkpoint, state["settings"])
        self._refuse_other_versions(state["versions"])
        if len(state["lines"]) < len(self.lines):
            raise OtherSettings(f"{self.path} must not be ahead of its checkpoint. Received: {kept[-1]}")
        self.lines = state["lines"]
        self._write()
        for variable, value in zip(_variables(model), state["model"]):
            variable.assign(value)
        return state["sampler"]

    def add(self, line, model, state):
        """Keeps a checkpoint, then the line."""
        self.lines.append(line)
        kept = {
            "settings": asdict(self.settings),
            "versions": self.first["versions"],
            "sampler": state,
            "lines": self.lines,
            "model": [v.numpy() for v in _variables(model)],
        }
        path = self._checkpoint / f"epoch-{line['epoch']}"
        replace_file(path, pickle.dumps(kept))
        self._write()
        for other in self._checkpoint.iterdir():
            if other != path:
                other.unlink()

    def _check(self, where, settings):
        other = sorted(name for name, value in asdict(self.settings).items() if settings.get(name) != value)
        if other:
            raise OtherSettings(f"{where} must have the settings of this run, to go on with it. Received: other {', '.join(other)}")

    def _refuse_other_versions(self, begun):
        now = versions()
        other = [f"{name} {now[name]}, not {begun.get(name)}" for name in now if now[name] != begun.get(name)]
        if other:
            raise OtherSettings(
                f"{self.path} must go on under the versions it was begun with; to start anew, remove it and {self._checkpoint}. "
                f"Received: {'; '.join(other)}"
            )

    def _refuse_to_start_over(self):
        if self.lines:
            raise OtherSettings(
                f"{self.path} must have its checkpoint in {self._checkpoint}, to go on with it; to start anew, remove it or name "
                f"another folder with --results. Received: {len(self.lines)} evaluations without a checkpoint"
            )

    def _write(self):
        replace_file(self.path, "".join(json.dumps(line) + "\n" for line in (self.first, *self.lines)).encode())


def versions():
    """Of all that the results depend on."""
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "importance_sampling": importance_sampling.__version__,
    }


def replace_file(path, content):
    """Writes a file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)


def _variables(model):
    """All that a training step changes: weights, states of random generators, and the optimizer's."""
    model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]


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
    settings, experiment = results.settings, EXPERIMENTS[results.settings.experiment]
    keras.utils.set_random_seed(settings.seed)
    model = experiment.compiled(settings.learning_rate)
    restored = results.load(model)
    if results.epochs >= epochs:  # the checkpoint was ahead of the file
        return
    recorder = _Recorder(tick)
    importance = Oracle(model, batch_size=experiment.scored_at_once) if settings.method == "oracle" else settings.method
    training = ImportanceTraining(
        model,
        importance=importance,
        k=settings.k,
        smoothing=experiment.smoothing(),
        presample=settings.presample,
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
            "train_loss": short(np.mean(losses_of(self.model, sampler.source, _some(len(sampler.source))))),
            "losses": means,
            "deviations": deviations,
        }
        if epoch + 1 in experiment.table and experiment.sorted_losses:
            line["sorted_losses"] = quantiles(losses_of(self.model, sampler.source, np.arange(len(sampler.source))))
        if experiment.variance:
            draws = experiment.variance if settings.limit is None else max(1, settings.limit // 10)  # a quick look stays quick
            line["variance"] = variance_ratio(self.model, sampler, draws)
        self._results.add(line, self.model, self._training.get_state())


def _some(size):
    """The same samples at each evaluation, for the training loss."""
    return np.random.default_rng(0).choice(size, min(size, SOME), replace=False)
