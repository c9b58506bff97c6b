"""What the results files hold, for figures, table and verdicts."""

import json
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from examples.paper.experiments import EXPERIMENTS, GRID, METHODS
from examples.paper.runs import EACH

WINDOW = 30  # kept means of 10 steps each: a moving average over 300 steps, an epoch of MNIST


class Run(NamedTuple):
    """A results file: its settings, its evaluations, and the versions and the CPU cores it ran on."""

    settings: dict
    lines: list
    versions: dict
    cores: int

    @property
    def label(self):
        """As in Table 1."""
        method = self.settings["method"]
        return method if method == "uniform" else f"{method}, k = {self.settings['k']:g}"

    @property
    def seconds(self):
        """Training time at each evaluation, without the evaluations.

        That of the CPU where the run had one thread, since other work on the machine changes it less; else that of the clock.
        """
        name = "cpu_seconds" if self.settings["threads"] == 1 else "seconds"
        return [line[name] for line in self.lines]

    @property
    def variance_ratio(self):
        """Variance of the weighted gradient over that of uniform draws for the same weights, geometric mean of the evaluations."""
        return float(np.exp(np.mean([np.log(line["variance"][0] / line["variance"][1]) for line in self.lines])))


def load(folder, experiment):
    """The runs with the learning rate of the experiment that came as far as any, in groups of the same method and k."""
    runs = [run for run in read(folder, experiment) if run.settings["learning_rate"] == EXPERIMENTS[experiment].learning_rate]
    furthest = max((run.lines[-1]["epoch"] for run in runs), default=0)
    groups = defaultdict(list)
    for run in sorted(runs, key=lambda run: (METHODS.index(run.settings["method"]), run.label, run.settings["seed"])):
        if run.lines[-1]["epoch"] == furthest:
            groups[run.label].append(run)
    return dict(groups)


def read(folder, experiment):
    """Every run of an experiment that has at least one evaluation."""
    for path in sorted(Path(folder).glob(f"{experiment}-*-seed*.jsonl")):
        first, *lines = (json.loads(line) for line in path.read_text().splitlines())
        if lines:
            yield Run(first["settings"], lines, first["versions"], first["cores"])


def grid(folder, experiment):
    """The measure of uniform sampling for each rate of the grid, after the epochs of the grid: `{rate: measure}`."""
    made = EXPERIMENTS[experiment]
    runs = [run for run in read(folder, experiment) if run.settings["method"] == "uniform" and run.settings["seed"] == 0]
    found = {run.settings["learning_rate"]: at([run], made.grid_epochs, made.measure) for run in runs}
    return {rate: found[rate][0] for rate in GRID if found.get(rate)}


def norms(folder, experiment):
    """What `examples.paper.norms` found, or None."""
    path = Path(folder) / f"{experiment}-norms.jsonl"
    return json.loads(path.read_text()) if path.exists() else None


def at(runs, epoch, name):
    """A value of each seed that has come to an epoch."""
    return [line[name] for run in runs for line in run.lines if line["epoch"] == epoch]


def mean_curve(runs, name):
    """A value after each epoch, averaged over the seeds."""
    return np.mean([[line[name] for line in run.lines] for run in runs], axis=0)


def moving(run):
    """Mean and deviation of the batch losses over a moving window, from those of every 10 steps: `(steps, means, deviations)`."""
    means = np.concatenate([line["losses"] for line in run.lines])
    squares = means**2 + np.concatenate([line["deviations"] for line in run.lines]) ** 2
    window = min(WINDOW, len(means))
    average = lambda values: np.convolve(values, np.ones(window) / window, "valid")  # noqa: E731
    mean = average(means)
    return EACH * (window + np.arange(len(mean))), mean, np.sqrt(np.maximum(average(squares) - mean**2, 0))
