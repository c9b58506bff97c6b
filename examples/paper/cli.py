"""The command line of the experiments.

    python -m examples.paper mnist --methods uniform oracle approx --k 1 0.5 --seeds 0 1 2

Runs every combination one after the other, or several at once in processes of their own. Each evaluation is appended to the
results file of its run as one JSON line; a run that was stopped goes on where it was when the same command is given again.
"""

import argparse
import contextlib
import itertools
import shlex
import signal
import sys
import threading
from pathlib import Path

import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from examples import options
from examples.datasets import DataUnavailable
from examples.paper.experiments import EXPERIMENTS, GRID, METHODS, RESULTS, epochs_of
from examples.paper.jobs import JobFailed, run_all
from examples.paper.reading import GRID_FOLDER, grid, rate_of
from examples.paper.results_file import Refused, Results, Settings
from examples.paper.runs import run

CHECKPOINTS = Path(__file__).parent / "checkpoints"
SHOWN = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())


def arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m examples.paper", description="The experiments of arXiv:1706.00043.")
    parser.add_argument("experiment", choices=[*EXPERIMENTS, "all"], help="the data set with its network")
    parser.add_argument(
        "--scale", choices=RESULTS, default="cpu", help="epochs, runs and seeds: what two cores manage, or the paper's"
    )
    options.add_methods(parser, METHODS, more=", with every k, in place of the runs of the scale")
    options.add_k(parser, more="; not for uniform")
    options.add_seeds(parser, more=", in place of those of the scale")
    parser.add_argument("--epochs", type=int, help="in place of those of the scale")
    parser.add_argument("--learning-rate", type=float, help="in place of the best of the grid, or 0.001 where there is no grid")
    parser.add_argument("--grid", action="store_true", help="uniform sampling with rates of 0.001 to 0.01, for a few epochs")
    parser.add_argument("--steps", type=int, help="mini-batches in an epoch, for a quick look; with --results")
    parser.add_argument("--limit", type=int, help="only the first images or sentences, for a quick look; with --results")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, each in a process of its own")
    parser.add_argument("--threads", type=int, help="of TensorFlow in each run; one for each core by default")
    options.add_results(parser, "folder of the results files, in place of that of the scale")
    parser.add_argument(
        "--checkpoints", type=Path, help="folder of what unfinished runs go on from; beside --results if that is given"
    )
    chosen = parser.parse_args(argv)
    options.check(parser, chosen, at_least_1=["epochs", "steps", "limit", "jobs", "threads"])
    if chosen.learning_rate is not None and not chosen.learning_rate > 0:
        parser.error(f"--learning-rate must be > 0. Received: {chosen.learning_rate}")
    if chosen.grid and (chosen.methods or chosen.k or chosen.learning_rate):
        parser.error("--grid must come without --methods, --k and --learning-rate: it tries the rates with uniform sampling")
    if (chosen.steps or chosen.limit) and not chosen.results:
        parser.error("--steps and --limit must come with --results: the usual folder has whole epochs of all samples")
    chosen.checkpoints = chosen.checkpoints or (chosen.results / "checkpoints" if chosen.results else CHECKPOINTS / chosen.scale)
    chosen.results = chosen.results or RESULTS[chosen.scale]
    if chosen.grid:  # apart from the long runs, of which one starts with the same settings
        chosen.results, chosen.checkpoints = chosen.results / GRID_FOLDER, chosen.checkpoints / GRID_FOLDER
    return chosen


def settings_of(chosen, name):
    """The settings of every run of an experiment that is asked for; uniform sampling has no k and runs once."""
    experiment = EXPERIMENTS[name]
    plan, rates = getattr(experiment, chosen.scale), (chosen.learning_rate or rate_of(chosen.results, name),)
    methods, seeds = plan.runs, chosen.seeds or plan.seeds
    if chosen.methods or chosen.k:
        methods = itertools.product(chosen.methods or ("uniform", "approx", "oracle"), chosen.k or (0.5, 1.0))
    if chosen.grid:
        methods, rates, seeds = [("uniform", 1.0)], GRID, chosen.seeds or (0,)
    methods = dict.fromkeys((method, 1.0 if method == "uniform" else k) for method, k in methods)
    for seed, (method, k), rate in itertools.product(seeds, methods, rates):
        yield Settings(name, method, k, seed, rate, steps=chosen.steps or experiment.steps, limit=chosen.limit)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    chosen = arguments(argv)
    console = Console(soft_wrap=True)  # commands and paths in one piece
    names = EXPERIMENTS if chosen.experiment == "all" else [chosen.experiment]
    epochs = epochs_of(chosen.scale, chosen.epochs, names)
    if chosen.grid and not chosen.epochs:
        epochs = {name: getattr(EXPERIMENTS[name], chosen.scale).grid_epochs for name in names}
    if chosen.threads is not None and chosen.jobs == 1:
        tf.config.threading.set_intra_op_parallelism_threads(chosen.threads)
        tf.config.threading.set_inter_op_parallelism_threads(chosen.threads)
    try:
        with _terminated_like_interrupted():
            _run(chosen, names, epochs, console)
    except (DataUnavailable, Refused, JobFailed) as error:
        console.print(str(error), style="bold red", markup=False)
        return 1
    except KeyboardInterrupt:
        command = shlex.join([sys.executable, "-m", "examples.paper", *argv])
        console.print(f"Stopped. What is done is kept. To go on:\n  {command}", markup=False, highlight=False)
        return 130
    return 0


def _run(chosen, names, epochs, console):
    asked = {name: [Results(one, chosen.results, chosen.checkpoints) for one in settings_of(chosen, name)] for name in names}
    loaded = {name: EXPERIMENTS[name].data(chosen.limit) for name in names}
    for name, results in asked.items():
        console.print(f"{EXPERIMENTS[name].title}: {len(loaded[name].y)} samples, {len(results)} runs of {epochs[name]} epochs")
        if not (chosen.grid or chosen.learning_rate) and 0 < (tried := len(grid(chosen.results, name))) < len(GRID):
            console.print(
                f"{tried} of the {len(GRID)} rates of the grid are tried. {rate_of(chosen.results, name):g} is used until all are: "
                "if another is the best then, the page leaves out what is run now"
            )
    # a notebook has no terminal to draw the bars in
    with Progress(*SHOWN, console=console, refresh_per_second=2, disable=console.is_jupyter) as progress:
        todo = [(one, epochs[name]) for name in names for one in asked[name]]
        if chosen.jobs > 1:
            run_all(todo, chosen, progress)
        else:
            for one, until in todo:
                _run_here(one, until, loaded[one.settings.experiment], progress)


@contextlib.contextmanager
def _terminated_like_interrupted():
    """A context in which SIGTERM stops as Ctrl-C does, with the processes of the runs."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run_here(one, epochs, data, progress):
    done, total = one.epochs * one.settings.steps, epochs * one.settings.steps
    task = progress.add_task(one.settings.name, total=total, completed=min(done, total))
    run(one, data, epochs, tick=lambda: progress.advance(task))
    measure = EXPERIMENTS[one.settings.experiment].measure
    progress.console.print(f"{one.settings.name}: {measure} {one.lines[-1][measure]:g}")
