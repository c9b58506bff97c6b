"""Section 4.1 of the paper: a small VGG on MNIST, trained by uniform and by importance sampling.

    python -m examples.mnist_cnn --methods uniform approx --k 0.5 --steps 1500

Trains every method for the same number of steps, evaluates on the test set every 100 steps, prints a table and, with
`--plot`, draws the test error against steps and against seconds of training.
"""

import argparse
import itertools
import json
import sys
import time
from pathlib import Path

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from examples import datasets, options
from examples.paper import networks
from importance_sampling import ImportanceTraining

LAST = 5  # evaluations that the reported error is averaged over: one alone is noise of 0.1 points


def network(learning_rate=1e-3):
    """The network of section 4.1, compiled with Adam."""
    model = networks.mnist()
    model.compile(optimizer=keras.optimizers.Adam(learning_rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(data, method, k, steps, seed, batch_size=128, every=100, tick=lambda: None):
    """Trains one network and evaluates it on the test set every `every` steps.

    Returns:
        A dictionary: the settings; `error`, test errors in percent; `seconds`, seconds of training (without evaluation)
        at each evaluation; `step_ms`, the median step; `sampler_share`, the fraction of training spent on choosing.
    """
    (x, y), test = data
    keras.utils.set_random_seed(seed)
    model = network()
    presample = None if method == "history" else 1024  # the paper's; history scores without cost
    training = ImportanceTraining(model, importance=method, k=k, presample=presample, seed=seed)
    clock = _Clock(tick)
    history = training.fit(
        x,
        y,
        batch_size=batch_size,
        epochs=-(-steps // every),
        steps_per_epoch=min(every, steps),
        validation_data=test,
        validation_batch_size=500,
        callbacks=[clock],
        verbose=0,
    )
    seconds = training.seconds
    return {
        "method": method,
        "k": k,
        "steps": steps,
        "seed": seed,
        "error": [100 * (1 - a) for a in history.history["val_accuracy"]],
        "seconds": clock.at_evaluation,
        "step_ms": 1000 * float(np.median(clock.steps)),
        "sampler_share": (seconds["draw"] + seconds["update"]) / sum(seconds.values()),
    }


class _Clock(keras.callbacks.Callback):
    """Seconds of every step and, at the end of each epoch, of all steps so far."""

    def __init__(self, tick):
        super().__init__()
        self.steps, self.at_evaluation = [], []
        self._tick = tick

    def on_train_batch_begin(self, batch, logs=None):
        self._start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(time.perf_counter() - self._start)
        self._tick()

    def on_epoch_end(self, epoch, logs=None):
        self.at_evaluation.append(sum(self.steps))


def load(console):
    """MNIST, or the digits inside scikit-learn where MNIST cannot be downloaded; says so."""
    try:
        return "MNIST", datasets.mnist()
    except datasets.DataUnavailable as error:
        console.print(f"[bold]MNIST cannot be downloaded, going on with the 1,797 digits of scikit-learn.[/bold]\n{error}")
        return "scikit-learn digits", datasets.digits()


def table(name, runs):
    """One row a run: what it reached and what it cost."""
    caption = f"test error: mean of the last {LAST} evaluations; seconds: training alone"
    rows = Table(title=f"{name}, {runs[0]['steps']} steps of 128 samples", caption=caption)
    for column in ("method", "k", "seed", "test error", "seconds", "ms a step", "sampler's share"):
        rows.add_column(column, justify="left" if column == "method" else "right")
    for run in runs:
        rows.add_row(
            run["method"],
            "" if run["method"] == "uniform" else f"{run['k']:g}",
            str(run["seed"]),
            f"{np.mean(run['error'][-LAST:]):.2f} %",
            f"{run['seconds'][-1]:.0f}",
            f"{run['step_ms']:.1f}",
            f"{100 * run['sampler_share']:.1f} %",
        )
    return rows


def plot(name, runs, every, path):
    """Test error against steps and against seconds of training, one line a run."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (by_step, by_second) = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
    colours = dict(zip(dict.fromkeys(run["method"] for run in runs), plt.cm.tab10.colors))
    for run in runs:
        label = run["method"] if run["method"] == "uniform" else f"{run['method']}, k = {run['k']:g}"
        style = dict(label=label if run["seed"] == runs[0]["seed"] else None, color=colours[run["method"]])
        by_step.plot(every * np.arange(1, len(run["error"]) + 1), run["error"], **style)
        by_second.plot(run["seconds"], run["error"], **style)
    by_step.set(xlabel="steps", ylabel=f"test error on {name} (%)", yscale="log")
    by_second.set(xlabel="seconds of training")
    for axis in (by_step, by_second):
        axis.grid(alpha=0.3, which="both")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}")
    by_step.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def arguments(argv):
    parser = argparse.ArgumentParser(description="A small VGG on MNIST, by uniform and by importance sampling.")
    options.add_methods(parser, default=["uniform", "approx"])
    options.add_k(parser, default=[0.5])
    options.add_seeds(parser, default=[0])
    parser.add_argument("--steps", type=int, default=1500, help="updates of each network")
    parser.add_argument("--plot", type=Path, help="PNG file to draw the errors into")
    options.add_results(parser, "file to append each run to, one JSON line a run")
    chosen = parser.parse_args(argv)
    options.check(parser, chosen, at_least_1=["steps"])
    return chosen


def main(argv=None):
    chosen = arguments(argv)
    console = Console()
    name, data = load(console)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    every = min(100, chosen.steps)
    runs = []
    with Progress(*columns, TimeRemainingColumn(), console=console, refresh_per_second=2) as progress:
        for seed, method, k in itertools.product(chosen.seeds, chosen.methods, chosen.k):
            if method == "uniform" and k != chosen.k[0]:  # which has no k
                continue
            label = method if method == "uniform" else f"{method}, k = {k:g}"
            task = progress.add_task(f"{label}, seed {seed}", total=every * -(-chosen.steps // every))
            tick = lambda task=task: progress.advance(task)  # noqa: E731
            runs.append(train(data, method, k, chosen.steps, seed, every=every, tick=tick))
            if chosen.results:
                with chosen.results.open("a") as file:
                    file.write(json.dumps(runs[-1]) + "\n")
    console.print(table(name, runs))
    if chosen.plot:
        plot(name, runs, every, chosen.plot)
        console.print(f"Test error against steps and seconds: {chosen.plot}")


if __name__ == "__main__":
    sys.exit(main())
