"""The figures of the paper from the results files.

Every figure that has a horizontal axis of epochs has a twin in seconds of training, which the paper left as future work.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from examples.paper.experiments import EXPERIMENTS
from examples.paper.runs import EACH

WINDOW = 30  # kept means of 10 steps each: a moving average over 300 steps, an epoch of MNIST
COLOURS = dict(zip(("uniform", "oracle", "approx", "pcg"), plt.cm.tab10.colors))


class Run(NamedTuple):
    """A results file: its settings, its evaluations, and the CPU cores it ran on."""

    settings: dict
    lines: list
    cores: int

    @property
    def label(self):
        method = self.settings["method"]
        return method if method == "uniform" else f"{method}, k = {self.settings['k']:g}"


def load(folder, experiment):
    """The runs of an experiment that have at least one evaluation, in groups of the same method and k."""
    groups = defaultdict(list)
    for path in sorted(Path(folder).glob(f"{experiment}-*.jsonl")):
        first, *lines = (json.loads(line) for line in path.read_text().splitlines())
        if lines:
            run = Run(first["settings"], lines, first["cores"])
            groups[run.label].append(run)
    order = list(COLOURS)
    return dict(sorted(groups.items(), key=lambda item: (order.index(item[1][0].settings["method"]), item[0])))


def style(runs):
    """The same colour for a method, dashed where k = 1."""
    settings = runs[0].settings
    dashed = settings["method"] != "uniform" and settings["k"] == 1
    return dict(color=COLOURS[settings["method"]], linestyle="--" if dashed else "-", label=runs[0].label)


def training_loss(groups, axis):
    """Moving average and deviation of the training loss, averaged over the seeds."""
    for runs in groups.values():
        curves = [moving(run) for run in runs]
        length = min(len(steps) for steps, _, _ in curves)
        steps, means, deviations = (np.mean([curve[i][:length] for curve in curves], axis=0) for i in range(3))
        epochs = steps / runs[0].settings["steps"]
        drawn = style(runs)
        axis.plot(epochs, means, **drawn)
        axis.fill_between(epochs, means - deviations, means + deviations, color=drawn["color"], alpha=0.15, linewidth=0)
    axis.set(xlabel="epochs", ylabel="training loss", yscale="log")


def moving(run):
    """Mean and deviation of the batch losses over a moving window, from those of every 10 steps: `(steps, means, deviations)`."""
    means = np.concatenate([line["losses"] for line in run.lines])
    squares = means**2 + np.concatenate([line["deviations"] for line in run.lines]) ** 2
    window = min(WINDOW, len(means))
    average = lambda values: np.convolve(values, np.ones(window) / window, "valid")  # noqa: E731
    mean = average(means)
    return EACH * (window + np.arange(len(mean))), mean, np.sqrt(np.maximum(average(squares) - mean**2, 0))


def sorted_losses(groups, axis):
    """Losses of the training samples at the last epoch, in rising order, averaged over the seeds."""
    for runs in groups.values():
        losses = np.mean([run.lines[-1]["sorted_losses"] for run in runs], axis=0)
        axis.plot(np.linspace(0, 1, len(losses)), np.maximum(losses, 1e-9), **style(runs))
    axis.set(xlabel="share of the training samples", ylabel="loss of the sample", yscale="log")


def generalisation(groups, axis, measure, against):
    """The measure on the test set against `"epochs"` or `"seconds"`, averaged over the seeds."""
    for runs in groups.values():
        length = min(len(run.lines) for run in runs)
        shown = {"epochs": "epoch", "seconds": "seconds"}[against], measure
        where, values = ([[line[name] for line in run.lines[:length]] for run in runs] for name in shown)
        axis.plot(np.mean(where, axis=0), np.mean(values, axis=0), **style(runs))
    label = {"error": "test error (%)", "perplexity": "perplexity of the validation text"}[measure]
    axis.set(xlabel={"epochs": "epochs", "seconds": "seconds of training"}[against], ylabel=label, yscale="log")
    axis.grid(alpha=0.3, which="both")


def draw(folder, out):
    """Draws every figure that there are results for. Returns `{file: caption}`."""
    made = {}
    for name, experiment in EXPERIMENTS.items():
        groups = load(folder, name)
        if groups:
            for panel, (paint, caption) in _panels(name, experiment, groups).items():
                made[out / f"{name}-{panel}.png"] = caption
                _save(paint, experiment.title, out / f"{name}-{panel}.png")
    return made


def _panels(name, experiment, groups):
    """What there is to draw of an experiment: name of the panel to its function of an axis and its caption."""
    letters = {"mnist": ("1a", "1c"), "cifar10": ("2a", "2b and 2c"), "ptb": ("3a", "3c")}[name]
    tested = lambda against: lambda axis: generalisation(groups, axis, experiment.measure, against)  # noqa: E731
    panels = {
        "training-loss": (
            lambda axis: training_loss(groups, axis),
            f"Figure {letters[0]}: moving mean and deviation of the training loss over {EACH * WINDOW} steps, mean of the seeds.",
        ),
        "epochs": (tested("epochs"), f"Figure {letters[1]}: the test set after each epoch, mean of the seeds."),
        "seconds": (tested("seconds"), "The same against seconds of training, evaluation left out."),
    }
    if all("sorted_losses" in run.lines[-1] for runs in groups.values() for run in runs):
        caption = "Figure 1b: losses of the training samples after training, in rising order, mean of the seeds."
        panels["sorted-losses"] = lambda axis: sorted_losses(groups, axis), caption
    return panels


def _save(paint, title, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure, axis = plt.subplots(figsize=(6, 4))
    paint(axis)
    axis.set_title(title)
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)
