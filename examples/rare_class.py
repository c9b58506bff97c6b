"""A class that is rare, by uniform sampling and by batches of equal variance: the same result from less work.

    python -m examples.rare_class

Is it a 9? Of MNIST only 300 nines are kept, beside 54,051 other digits. Uniform sampling spends nearly all of its time on what
the network has long known. Two controls are trained beside: uniform sampling with as many samples as ours took, in smaller batches,
and in fewer updates. A method that does not beat both has only trained less. The learning rate decays to zero in every training.
"""

import argparse
import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks import time_report
from benchmarks.methods import METHODS
from benchmarks.problems import PROBLEMS, nines
from benchmarks.runs import train
from examples import datasets, options

CHOSEN = ("uniform", "ours", "smaller", "shorter")


def problem_of(steps, console):
    """Nines among other digits, of MNIST or, where it cannot be downloaded, of scikit-learn."""
    try:
        datasets.mnist()
        return dataclasses.replace(PROBLEMS["rare"], steps=steps)
    except datasets.DataUnavailable as error:
        console.print(f"[bold]MNIST cannot be downloaded, going on with the 1,797 digits of scikit-learn.[/bold]\n{error}")
        load = lambda: nines(kept=15, digits=datasets.digits)  # noqa: E731
        return dataclasses.replace(PROBLEMS["rare"], title="one rare class of scikit-learn's digits", load=load, steps=steps)


def trained(problem, seeds, console):
    """The records of all trainings: `{method: [record of each seed]}`."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    found = {method: [] for method in CHOSEN}
    with Progress(*columns, TimeRemainingColumn(), console=console, refresh_per_second=2) as progress:
        for seed in seeds:
            fraction = None
            for method in CHOSEN:
                task = progress.add_task(f"{METHODS[method].title}, seed {seed}", total=problem.steps)
                tick = lambda done, steps, task=task: progress.update(task, completed=done, total=steps)  # noqa: E731
                found[method].append(train(problem, METHODS[method], seed, fraction, evaluations=6, tick=tick))
                if method == "ours":
                    fraction = found["ours"][-1]["samples"] / found["uniform"][-1]["samples"]
    return found


def table(problem, runs):
    """One row a training: what it took and what it reached, means over the seeds."""
    title = f"{problem.title.partition(';')[0]}; {problem.steps} updates, {len(runs['uniform'])} seeds"
    caption = f"samples, seconds: parts of those of uniform sampling; test error: {problem.error_name}"
    rows = Table(title=title, caption=caption, padding=0)
    headings = time_report.headings(problem)
    shown = [i for i, heading in enumerate(headings) if heading not in ("CPU seconds", "as good")]
    for i in shown:
        heading = "test error" if headings[i] == problem.error_name else headings[i]
        rows.add_column(heading, justify="left" if heading == "training" else "right", no_wrap=True)
    for method, found in runs.items():
        cells = time_report.cells(method, found, runs["uniform"])
        rows.add_row(*(cells[i].partition(" (")[0] for i in shown))
    return rows


def arguments(argv):
    parser = argparse.ArgumentParser(description="A rare class, by uniform sampling and by batches of equal variance.")
    options.add_seeds(parser, default=[0, 1])
    parser.add_argument("--steps", type=int, default=2000, help="updates of uniform sampling")
    parser.add_argument("--plot", type=Path, default=Path("rare_class.png"), help="PNG file to draw the errors into")
    chosen = parser.parse_args(argv)
    options.check(parser, SimpleNamespace(**vars(chosen), k=None), at_least_1=["steps"])
    return chosen


def main(argv=None):
    chosen, console = arguments(argv), Console()
    problem = problem_of(chosen.steps, console)
    runs = trained(problem, chosen.seeds, console)
    console.print(table(problem, runs))
    time_report.picture([(problem, runs)], chosen.plot)
    console.print(f"Test error against samples and against seconds: {chosen.plot}")


if __name__ == "__main__":
    sys.exit(main())
