"""Table 1 of the paper beside what was measured here, and the figures: writes docs/results.md.

python -m examples.paper.report
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from examples.paper.cli import RESULTS
from examples.paper.experiments import EXPERIMENTS
from examples.paper.figures import draw, load

DOCS = Path(__file__).parents[2] / "docs"

# Table 1: mean and deviation by experiment, epoch and method
PAPER = {
    "mnist": {
        5: {"uniform": (0.79, 0.11), "oracle, k = 1": (0.73, 0.11), "oracle, k = 0.5": (0.56, 0.04)}
        | {"approx, k = 1": (0.83, 0.06), "approx, k = 0.5": (0.65, 0.05)},
        10: {"uniform": (0.64, 0.10), "oracle, k = 1": (0.56, 0.07), "oracle, k = 0.5": (0.52, 0.05)}
        | {"approx, k = 1": (0.60, 0.06), "approx, k = 0.5": (0.61, 0.04)},
        20: {"uniform": (0.56, 0.07), "oracle, k = 1": (0.53, 0.08), "oracle, k = 0.5": (0.47, 0.04)}
        | {"approx, k = 1": (0.53, 0.06), "approx, k = 0.5": (0.54, 0.06)},
    },
    "cifar10": {
        50: {"uniform": (12.33, 0.39), "oracle, k = 1": (10.68, 0.65), "oracle, k = 0.5": (9.58, 0.16)}
        | {"approx, k = 1": (11.54, 0.55), "approx, k = 0.5": (10.78, 0.09)},
        100: {"uniform": (10.19, 0.24), "oracle, k = 1": (9.74, 0.44), "oracle, k = 0.5": (9.20, 0.55)}
        | {"approx, k = 1": (9.71, 0.14), "approx, k = 0.5": (9.90, 0.47)},
        150: {"uniform": (7.97, 0.10), "oracle, k = 1": (7.77, 0.14), "oracle, k = 0.5": (7.44, 0.14)}
        | {"approx, k = 1": (7.61, 0.07), "approx, k = 0.5": (7.64, 0.27)},
    },
    "ptb": {
        10: {"uniform": (184.5, 1.56), "oracle, k = 1": (178.3, 2.47), "oracle, k = 0.5": (187.2, 1.61)}
        | {"approx, k = 1": (179.4, 6.20), "approx, k = 0.5": (180.0, 4.78)},
        30: {"uniform": (138.6, 0.60), "oracle, k = 1": (137.8, 1.53), "oracle, k = 0.5": (139.0, 0.72)}
        | {"approx, k = 1": (136.2, 2.98), "approx, k = 0.5": (134.3, 2.19)},
        50: {"uniform": (130.3, 0.63), "oracle, k = 1": (129.9, 1.27), "oracle, k = 0.5": (130.5, 0.21)}
        | {"approx, k = 1": (128.2, 2.02), "approx, k = 0.5": (127.4, 1.45)},
    },
}


def at(runs, epoch, measure):
    """The measure of each seed that has come to an epoch."""
    return [line[measure] for run in runs for line in run.lines if line["epoch"] == epoch]


def difference(found, uniform):
    """What a test says of the difference from uniform sampling: Welch's t-test over the seeds, two-sided."""
    if min(len(found), len(uniform)) < 2:
        return "one seed: none"
    from scipy.stats import ttest_ind

    return f"p = {ttest_ind(found, uniform, equal_var=False).pvalue:.2g}"


def table(name, groups):
    """The rows of Table 1 for one experiment, in Markdown."""
    experiment = EXPERIMENTS[name]
    unit = " %" if experiment.measure == "error" else ""
    rows = ["| epoch | method | paper | here | seeds | against uniform |", "|---|---|---|---|---|---|"]
    last = max(line["epoch"] for runs in groups.values() for run in runs for line in run.lines)
    for epoch in sorted({*(e for e in experiment.table if e <= last), last}):
        uniform = at(groups.get("uniform", []), epoch, experiment.measure)
        for label, runs in groups.items():
            found = at(runs, epoch, experiment.measure)
            if not found:
                continue
            paper = PAPER[name].get(epoch, {}).get(label)
            published = f"{paper[0]:g}{unit} ± {paper[1]:g}" if paper else ""
            here = f"{np.mean(found):.4g}{unit}" + (f" ± {np.std(found, ddof=1):.2g}" if len(found) > 1 else "")
            against = "" if label == "uniform" else difference(found, uniform)
            rows.append(f"| {epoch} | {label} | {published} | {here} | {len(found)} | {against} |")
    return rows


def page(folder, figures):
    """The page of results, in Markdown."""
    text = [
        "# The paper's experiments, run here",
        "",
        "Table 1 of arXiv:1706.00043 beside what this library measures. Every number and figure comes from the results files in",
        "`examples/paper/results/`; `make paper` writes this page from them. To run more, or to go on with what was stopped:",
        "",
        "    python -m examples.paper mnist --methods uniform oracle approx --k 1 0.5 --seeds 0 1 2",
        "",
    ]
    for name, experiment in EXPERIMENTS.items():
        groups = load(folder, name)
        text += [f"## {experiment.title}", ""]
        if not groups:
            text += ["Not run yet.", ""]
            continue
        text += [*table(name, groups), "", conditions(groups), ""]
        for path, caption in figures.items():
            if path.name.startswith(f"{name}-"):
                text += [f"![{path.stem}](figures/{path.name})", "", caption, ""]
    return "\n".join(text).rstrip() + "\n"


def conditions(groups):
    """In one sentence, what the runs of an experiment have in common and what they cost."""
    runs = [run for group in groups.values() for run in group]
    hours = sum(run.lines[-1]["seconds"] for run in runs) / 3600
    distinct = lambda name: ", ".join(f"{value:g}" for value in sorted({run.settings[name] for run in runs}))  # noqa: E731
    cores = ", ".join(map(str, sorted({run.cores for run in runs})))
    return (
        f"{len(runs)} runs, {hours:.1f} hours of training on {cores} CPU cores. An epoch is {distinct('steps')} batches of "
        f"{distinct('batch_size')} samples, the presample {distinct('presample')}, the learning rate of Adam "
        f"{distinct('learning_rate')}."
    )


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m examples.paper.report", description="Writes docs/results.md.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results files")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder that results.md and its figures go to")
    chosen = parser.parse_args(argv)
    figures = draw(chosen.results, chosen.docs / "figures")
    (chosen.docs / "results.md").write_text(page(chosen.results, figures))
    print(f"{chosen.docs / 'results.md'} and {len(figures)} figures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
