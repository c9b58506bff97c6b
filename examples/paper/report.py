"""Table 1 of the paper beside what was measured here, the figures and the verdicts: writes docs/results.md.

python -m examples.paper.report
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.stats import ttest_ind

from examples.paper.claims import NO, OPEN, PENDING, SEEDS, YES, claims, first_below
from examples.paper.cli import RESULTS
from examples.paper.experiments import EXPERIMENTS
from examples.paper.figures import draw
from examples.paper.reading import at, grid, load, mean_curve, norms, read

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


def difference(found, uniform):
    """What a test says of the difference from uniform sampling: Welch's t-test over the seeds, two-sided."""
    if min(len(found), len(uniform)) < SEEDS:
        return "too few seeds"
    return f"p = {ttest_ind(found, uniform, equal_var=False).pvalue:.2g}"


def table(name, groups):
    """The rows of Table 1 for one experiment, in Markdown."""
    experiment = EXPERIMENTS[name]
    unit = " %" if experiment.measure == "error" else ""
    rows = ["| epoch | method | paper | here | seeds | against uniform |", "|---|---|---|---|---|---|"]
    last = {run.lines[-1]["epoch"] for runs in groups.values() for run in runs}
    for epoch in sorted({*experiment.table, *last}):
        uniform, published = at(groups.get("uniform", []), epoch, experiment.measure), PAPER[name].get(epoch, {})
        for label in dict.fromkeys((*published, *groups)):
            found = at(groups.get(label, []), epoch, experiment.measure)
            paper = f"{published[label][0]:g}{unit} ± {published[label][1]:g}" if label in published else ""
            here = f"{np.mean(found):.4g}{unit}" if found else "not run"
            deviation = f" ± {np.std(found, ddof=1):.2g}" if len(found) > 1 else ""
            against = difference(found, uniform) if found and label != "uniform" else ""
            rows.append(f"| {epoch} | {label} | {paper} | {here}{deviation} | {len(found)} | {against} |")
    return rows


def clock(name, groups):
    """What the runs cost, and when each method is where uniform sampling ends, in Markdown."""
    measure = EXPERIMENTS[name].measure
    rows = [
        "| method | seconds of training | against uniform | as good as uniform in the end | then, in seconds |",
        "|---|---|---|---|---|",
    ]
    uniform = groups.get("uniform")
    for label, runs in groups.items():
        seconds = np.mean([run.seconds for run in runs], axis=0)
        ratio = f"{seconds[-1] / np.mean([run.seconds[-1] for run in uniform]):.2f}" if uniform else ""
        epoch = first_below(runs, measure, mean_curve(uniform, measure)[-1]) if uniform else None
        reached = f"epoch {epoch} | {seconds[epoch - 1]:.0f}" if epoch else "not | "
        rows.append(f"| {label} | {seconds[-1]:.0f} | {ratio} | {reached} |")
    return rows


def verdicts(folder):
    """The claims with their verdicts, in Markdown."""
    found = claims(folder)
    counted = ", ".join(f"{sum(claim.verdict == verdict for claim in found)} {verdict}" for verdict in (YES, NO, OPEN, PENDING))
    rows = [f"| {claim.section} | {claim.text} | **{claim.verdict}** | {claim.reason} |" for claim in found]
    return [f"Of {len(found)} claims: {counted}.", "", "| section | claim | verdict | measured |", "|---|---|---|---|", *rows]


RULES = f"""\
A difference counts as reproduced when a one-sided Welch test over the seeds gives p < 0.05, with at least {SEEDS} seeds of
each; what fewer seeds show is told, but is no verdict. Loss and gradient norm count as ordered alike from a mean rank
correlation of 0.8 within a batch. The rules (`examples/paper/claims.py`) were written before the long runs."""


def page(folder, figures):
    """The page of results, in Markdown."""
    text = [
        "# The paper's experiments, run here",
        "",
        "Table 1, the figures and the claims of arXiv:1706.00043 beside what this library measures. `make paper` writes this page",
        "from the results files in `examples/paper/results/`. To run what is missing here and to go on with what was stopped:",
        "",
        "    make paper-runs",
        "",
        "One run, a longer one, or another method: `python -m examples.paper --help`; all at the scale of the paper:",
        "`python -m examples.paper all --scale full`.",
        "",
        "## Verdicts",
        "",
        RULES,
        "",
        *verdicts(folder),
        "",
    ]
    for name, experiment in EXPERIMENTS.items():
        groups = load(folder, name)
        text += [f"## {experiment.title}", ""]
        text += [*table(name, groups), ""]
        if groups:
            text += [conditions(groups), "", *unfinished(folder, name, groups), *clock(name, groups), "", CLOCK, ""]
        text += rates(folder, name)
        for path, caption in figures.items():
            if path.name.startswith(f"{name}-"):
                text += [f"![{path.stem}](figures/{path.name})", "", caption, ""]
        text += cost_of_norms(folder, name)
    return "\n".join(text).rstrip() + "\n"


CLOCK = """\
Seconds of training leave evaluations out; with one thread a run they are those of the CPU, so that what else the machine does
hardly changes them. A single evaluation of a few seeds is noisy: so is the epoch at which a curve first comes to a value."""


def conditions(groups):
    """In a few sentences, what the runs of an experiment have in common and what they cost."""
    runs = [run for group in groups.values() for run in group]
    distinct = lambda values: ", ".join(sorted({str(value) for value in values}))  # noqa: E731
    hours, cores = sum(run.seconds[-1] for run in runs) / 3600, distinct(run.cores for run in runs)
    used = {name: distinct(run.settings[name] for run in runs) for name in runs[0].settings}
    versions = ", ".join(f"{name} {distinct(run.versions[name] for run in runs)}" for name in runs[0].versions)
    return (
        f"{len(runs)} runs, {hours:.1f} hours of training in all, on {cores} CPU cores without a GPU; threads a run: "
        f"{used['threads'].replace('None', 'all')}. An epoch is {used['steps']} batches of {used['batch_size']} samples, the "
        f"presample {used['presample']}, the learning rate of Adam {used['learning_rate']}. Versions: {versions}."
    )


def unfinished(folder, name, groups):
    """A sentence about the runs that are left out because they have not come as far as others."""
    whole = {(label, run.settings["seed"]) for label, runs in groups.items() for run in runs}
    rate = EXPERIMENTS[name].learning_rate
    others = [
        f"{run.label}, seed {run.settings['seed']} ({run.lines[-1]['epoch']} epochs)"
        for run in read(folder, name)
        if run.settings["learning_rate"] == rate and (run.label, run.settings["seed"]) not in whole
    ]
    return [f"Begun, not finished, and left out: {'; '.join(others)}.", ""] if others else []


def rates(folder, name):
    """The grid of learning rates, in Markdown, where it was tried."""
    experiment, found = EXPERIMENTS[name], grid(folder, name)
    if len(found) < 2:
        return []
    best = min(found, key=found.get)
    return [
        f"Learning rate: uniform sampling, seed 0, {experiment.measure} after {experiment.grid_epochs} epochs "
        f"(`python -m examples.paper {name} --grid`). Best: {best:g}; used: {experiment.learning_rate:g}.",
        "",
        "| " + " | ".join(f"{rate:g}" for rate in found) + " |",
        "|" + "---|" * len(found),
        "| " + " | ".join(f"{value:.4g}" for value in found.values()) + " |",
        "",
    ]


def cost_of_norms(folder, name):
    """What figure 4 took to make, where it was."""
    found = norms(folder, name)
    if found is None:
        return []
    took = f"{found['seconds'] / 60:.0f} minutes"
    return [f"Figure 4, the exact gradients of {found['samples']} samples: {took} (`python -m examples.paper.norms {name}`).", ""]


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
