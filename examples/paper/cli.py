"""The command line of the experiments.

    python -m examples.paper mnist --methods uniform oracle approx --k 1 0.5 --seeds 0 1 2

Runs every combination one after the other. Each evaluation is appended to the results file of its run as one JSON line; a
run that was stopped goes on where it was when the same command is given again.
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
from examples.paper.experiments import EXPERIMENTS, METHODS
from examples.paper.runs import OtherSettings, Results, Settings, run

RESULTS = Path(__file__).parent / "results"


def arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m examples.paper", description="The experiments of arXiv:1706.00043.")
    parser.add_argument("experiment", choices=EXPERIMENTS, help="the data set with its network")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["uniform", "oracle", "approx"])
    parser.add_argument("--k", nargs="+", type=float, default=[1.0, 0.5], help="1 is unbiased; not for uniform")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--scale", choices=("cpu", "full"), default="cpu", help="epochs that two cores manage, or the paper's")
    parser.add_argument("--epochs", type=int, help="in place of those of the scale")
    parser.add_argument("--learning-rate", nargs="+", type=float, default=[1e-3], help="the paper's grid is 0.001 to 0.01")
    parser.add_argument("--steps", type=int, help="mini-batches in an epoch, for a quick look; the paper's by default")
    parser.add_argument("--limit", type=int, help="only the first images or sentences, for a quick look")
    parser.add_argument("--threads", type=int, help="of TensorFlow; one for each core by default")
    parser.add_argument("--variance", type=int, default=0, help="draws to estimate the variance of the gradient from, 0 for none")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results files")
    parser.add_argument("--checkpoints", type=Path, default=Path("build/paper"), help="folder of what unfinished runs go on from")
    chosen = parser.parse_args(argv)
    for name in ("epochs", "steps", "limit", "threads"):
        value = getattr(chosen, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be >= 1. Received: {value}")
    if not all(k <= 1 for k in chosen.k):
        parser.error(f"--k must be <= 1. Received: {chosen.k}")
    if not all(rate > 0 for rate in chosen.learning_rate):
        parser.error(f"--learning-rate must be > 0. Received: {chosen.learning_rate}")
    return chosen


def settings_of(chosen):
    """The settings of every run that is asked for; uniform sampling has no k and runs once."""
    experiment = EXPERIMENTS[chosen.experiment]
    for seed, rate, method in itertools.product(chosen.seeds, chosen.learning_rate, chosen.methods):
        for k in [1.0] if method == "uniform" else chosen.k:
            steps = chosen.steps or experiment.steps
            yield Settings(chosen.experiment, method, k, seed, rate, steps=steps, limit=chosen.limit, threads=chosen.threads)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    chosen = arguments(argv)
    console = Console()
    experiment = EXPERIMENTS[chosen.experiment]
    epochs = chosen.epochs or (experiment.epochs if chosen.scale == "full" else experiment.cpu_epochs)
    if chosen.threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(chosen.threads)
        tf.config.threading.set_inter_op_parallelism_threads(chosen.threads)
    try:
        results = [Results(settings, chosen.results, chosen.checkpoints) for settings in settings_of(chosen)]
        data = experiment.data(chosen.limit)
        console.print(f"{experiment.title}: {len(data.y)} samples, {len(results)} runs of {epochs} epochs")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, refresh_per_second=2) as progress:
            for one in results:
                done, total = one.epochs * one.settings.steps, epochs * one.settings.steps
                task = progress.add_task(one.settings.name, total=total, completed=min(done, total))
                run(one, data, epochs, chosen.variance, tick=lambda task=task: progress.advance(task))
                console.print(f"{one.settings.name}: {experiment.measure} {one.lines[-1][experiment.measure]:g}")
    except (DataUnavailable, OtherSettings) as error:
        console.print(f"[bold red]{error}[/bold red]")
        return 1
    except KeyboardInterrupt:
        console.print(f"Stopped. What is done is kept. To go on:\n  python -m examples.paper {shlex.join(argv)}")
        return 130
    return 0
