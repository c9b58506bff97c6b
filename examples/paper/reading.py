"""What the results files hold, for figures, table and verdicts."""

import json
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from examples.paper.experiments import EXPERIMENTS, GRID, METHODS
from examples.paper.results_file import Refused, read_lines
from examples.paper.runs import EACH

GRID_FOLDER = "grid"  # in the folder of the results files
WINDOW = 30  # kept means of 10 steps each: a moving average over 300 steps, an epoch of MNIST


def label(method, k):
    """What runs of a method are called, as in Table 1."""
    return method if method == "uniform" else f"{method}, k = {k:g}"


def planned(experiment, scale):
    """What the runs of a scale are called."""
    return {label(method, k) for method, k in getattr(EXPERIMENTS[experiment], scale).runs}


class Run(NamedTuple):
    """A results file: its settings, its evaluations with the commit of each, the versions of what it ran on, the CPU cores."""

    settings: dict
    lines: list
    versions: dict
    cores: int

    @property
    def label(self):
        return label(self.settings["method"], self.settings["k"])

    def until(self, epoch):
        """The run as it was at an epoch; as it is for None."""
        return self._replace(lines=self.lines[:epoch])

    def last(self, name):
        """A value at the last evaluation, or None where it was not measured."""
        return self.lines[-1].get(name)

    @property
    def alone(self):
        """Whether it had one thread: then its CPU time is its time, and other work on the machine hardly changes it."""
        return all(line["threads"] == 1 for line in self.lines)


def load(folder, experiment, epochs):
    """The runs with the learning rate that is used that have come to `epochs`, cut off there, in groups of method and k.

    Raises:
        Refused: runs differ in more than method, k and seed, and can't be compared.
    """
    rate = rate_of(folder, experiment)
    runs = [run for run in read(folder, experiment) if run.settings["learning_rate"] == rate]
    same = [{name: run.settings[name] for name in ("batch_size", "presample", "steps", "limit")} for run in runs]
    for run, settings in zip(runs, same):
        if settings != same[0]:
            raise Refused(
                f"runs of {experiment} in {folder} must have the same settings to be compared. "
                f"Received: {settings} for {run.label}, seed {run.settings['seed']}, beside {same[0]}"
            )
    groups = defaultdict(list)
    for run in sorted(runs, key=lambda run: (METHODS.index(run.settings["method"]), run.label, run.settings["seed"])):
        if run.lines[-1]["epoch"] >= epochs:
            groups[run.label].append(run._replace(lines=run.lines[:epochs]))
    return dict(groups)


def read(folder, experiment):
    """Every run of an experiment that has at least one evaluation."""
    for path in sorted(Path(folder).glob(f"{experiment}-*-seed*.jsonl")):
        first, *lines = read_lines(path)
        if lines:
            begun = {"commit": first.get("commit") or "not recorded"}  # a line has its own where it was made by newer code
            yield Run(first["settings"], [begun | line for line in lines], first["versions"], first["cores"])


def clock_of(runs):
    """The name of the seconds that count: those of the CPU where every run had one thread, else of the clock on the wall."""
    return "cpu_seconds" if all(run.alone for run in runs) else "seconds"


def seconds(groups):
    """Training time at each epoch as on one machine, without evaluations: `{label: (seeds, epochs)}`.

    The machines of the runs differ in speed, and other work slows some of them. The share of choosing in the time of a run is
    measured within the run, where neither matters much: the rest of its time is what uniform sampling takes for these steps.
    """
    runs = [run for group in groups.values() for run in group]
    base = groups.get("uniform", runs)
    plain = [run.last(clock_of(runs)) * (1 - run.last("sampler_share")) / len(run.lines) for run in base]
    shares = {label: np.array([[line["sampler_share"] for line in run.lines] for run in group]) for label, group in groups.items()}
    return {label: np.mean(plain) * np.arange(1, share.shape[1] + 1) / (1 - share) for label, share in shares.items()}


def _of_grid(folder, experiment):
    """The runs of uniform sampling of the grid, by rate."""
    runs = (run for run in read(Path(folder) / GRID_FOLDER, experiment) if run.settings["seed"] == 0)
    found = {run.settings["learning_rate"]: run for run in runs}
    return {rate: found[rate] for rate in GRID if rate in found}


def grid_length(folder, experiment):
    """The epochs that the rate which came farthest was tried for, 0 without any."""
    return max((run.lines[-1]["epoch"] for run in _of_grid(folder, experiment).values()), default=0)


def grid(folder, experiment):
    """The measure of uniform sampling for each rate of the grid that was tried for as many epochs as any: `{rate: measure}`."""
    epochs, measure = grid_length(folder, experiment), EXPERIMENTS[experiment].measure
    return {rate: run.last(measure) for rate, run in _of_grid(folder, experiment).items() if run.lines[-1]["epoch"] == epochs}


def rate_of(folder, experiment):
    """The learning rate that is used: the best of the grid, as in the paper, once all of it was tried."""
    found = grid(folder, experiment)
    if len(found) < len(GRID):
        return EXPERIMENTS[experiment].learning_rate
    return min(found, key=lambda rate: np.nan_to_num(found[rate], nan=np.inf))


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
