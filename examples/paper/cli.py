"""The command line of the experiments.

    python -m examples.paper mnist --methods uniform oracle approx --k 1 0.5 --seeds 0 1 2

Runs every combination one after the other, or several at once in processes of their own. Each evaluation is appended to the
results file of its run as one JSON line; a run that was stopped goes on where it was when the same command is given again.
"""

import argparse
import itertools
import shlex
import sys
from pathlib import Path

import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from examples.datasets import DataUnavailable
from examples.paper.experiments import EXPERIMENTS, GRID, METHODS
from examples.paper.jobs import JobFailed, run_all
from examples.paper.runs import OtherSettings, Results, Settings, run

RESULTS = Path(__file__).parent / "results"
SHOWN = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())


def arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m examples.paper", description="The experiments of arXiv:1706.00043.")
    parser.add_argument("experiment", choices=[*EXPERIMENTS, "all"], help="the data set with its network")
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, help="with every k, in place of the runs that docs/results.md lists"
    )
    parser.add_argument("--k", nargs="+", type=float, help="1 is unbiased; not for uniform")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--scale", choices=("cpu", "full"), default="cpu", help="epochs that two cores manage, or the paper's")
    parser.add_argument("--epochs", type=int, help="in place of those of the scale")
    parser.add_argument("--learning-rate", type=float, help="in place of the best of the grid")
    parser.add_argument(
        "--grid", action="store_true", help="uniform sampling with the learning rates 0.001 to 0.01, for an epoch or few"
    )
    parser.add_argument("--steps", type=int, help="mini-batches in an epoch, for a quick look; the paper's by default")
    parser.add_argument("--limit", type=int, help="only the first images or sentences, for a quick look")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, each in a process of its own")
    parser.add_argument("--threads", type=int, help="of TensorFlow in each run; one for each core by default")
    parser.add_argument("--variance", type=int, default=0, help="draws to estimate the variance of the gradient from, 0 for none")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results files")
    parser.add_argument("--checkpoints", type=Path, default=Path("build/paper"), help="folder of what unfinished runs go on from")
    chosen = parser.parse_args(argv)
    for name in ("epochs", "steps", "limit", "jobs", "threads"):
        value = getattr(chosen, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be >= 1. Received: {value}")
    if chosen.k is not None and not all(k <= 1 for k in chosen.k):
        parser.error(f"--k must be <= 1. Received: {chosen.k}")
    if chosen.learning_rate is not None and not chosen.learning_rate > 0:
        parser.error(f"--learning-rate must be > 0. Received: {chosen.learning_rate}")
    if chosen.grid and (chosen.methods or chosen.k or chosen.learning_rate):
        parser.error("--grid must come without --methods, --k and --learning-rate: it tries the rates with uniform sampling")
    return chosen


def settings_of(chosen, name):
    """The settings of every run of an experiment that is asked for; uniform sampling has no k and runs once."""
    experiment = EXPERIMENTS[name]
    methods, rates = experiment.runs, (chosen.learning_rate or experiment.learning_rate,)
    if chosen.methods or chosen.k:
        methods = itertools.product(chosen.methods or ("uniform", "approx", "oracle"), chosen.k or (0.5, 1.0))
    if chosen.grid:
        methods, rates = [("uniform", 1.0)], GRID
    methods = dict.fromkeys((method, 1.0 if method == "uniform" else k) for method, k in methods)
    seeds = chosen.seeds or ((0,) if chosen.grid else experiment.seeds)
    for seed, (method, k), rate in itertools.product(seeds, methods, rates):
        steps = chosen.steps or experiment.steps
        yield Settings(name, method, k, seed, rate, steps=steps, limit=chosen.limit, threads=chosen.threads)


def epochs_of(chosen, name):
    """To how many epochs the runs of an experiment are to come."""
    experiment = EXPERIMENTS[name]
    by_scale = experiment.epochs if chosen.scale == "full" else experiment.cpu_epochs
    return chosen.epochs or (experiment.grid_epochs if chosen.grid else by_scale)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    chosen = arguments(argv)
    console = Console()
    names = EXPERIMENTS if chosen.experiment == "all" else [chosen.experiment]
    if chosen.threads is not None and chosen.jobs == 1:
        tf.config.threading.set_intra_op_parallelism_threads(chosen.threads)
        tf.config.threading.set_inter_op_parallelism_threads(chosen.threads)
    try:
        asked = {name: [Results(one, chosen.results, chosen.checkpoints) for one in settings_of(chosen, name)] for name in names}
        loaded = {name: EXPERIMENTS[name].data(chosen.limit) for name in names}
        for name, results in asked.items():
            samples = len(loaded[name].y)
            console.print(f"{EXPERIMENTS[name].title}: {samples} samples, {len(results)} runs of {epochs_of(chosen, name)} epochs")
        with Progress(*SHOWN, console=console, refresh_per_second=2) as progress:
            todo = [(one, epochs_of(chosen, name)) for name in names for one in asked[name]]
            if chosen.jobs > 1:
                run_all(todo, chosen, progress)
            else:
                for one, epochs in todo:
                    _run_here(one, epochs, loaded[one.settings.experiment], chosen.variance, progress)
    except (DataUnavailable, OtherSettings, JobFailed) as error:
        console.print(f"[bold red]{error}[/bold red]")
        return 1
    except KeyboardInterrupt:
        console.print(f"Stopped. What is done is kept. To go on:\n  python -m examples.paper {shlex.join(argv)}")
        return 130
    return 0


def _run_here(one, epochs, data, variance, progress):
    done, total = one.epochs * one.settings.steps, epochs * one.settings.steps
    task = progress.add_task(one.settings.name, total=total, completed=min(done, total))
    run(one, data, epochs, variance, tick=lambda: progress.advance(task))
    measure = EXPERIMENTS[one.settings.experiment].measure
    progress.console.print(f"{one.settings.name}: {measure} {one.lines[-1][measure]:g}")
