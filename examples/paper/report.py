"""Table 1 of the paper beside what was measured here, the figures and the verdicts: writes docs/results.md.

python -m examples.paper.report
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.stats import ttest_ind_from_stats

from examples.paper.claims import NO, OPEN, PENDING, SEEDS, YES, claims, first_below
from examples.paper.experiments import EXPERIMENTS, RESULTS, epochs_of
from examples.paper.figures import draw
from examples.paper.published import PAPER
from examples.paper.reading import at, grid, load, mean_curve, measured_seconds, norms, read, seconds
from examples.paper.runs import OtherSettings
from examples.paper.words import CLOCK, DEVIATIONS, OSCILLATION, RULES, TESTED

PAGES = {"cpu": Path(__file__).parents[2] / "docs", "full": Path("build/full")}


def difference(found, uniform):
    """What a test says of the difference from uniform sampling: Welch's t-test over the seeds, two-sided."""
    if min(len(found), len(uniform)) < SEEDS or np.ptp(found) == np.ptp(uniform) == 0:
        return "too few seeds"
    return _p(_moments(found), _moments(uniform))


def table(name, groups, epochs):
    """The rows of Table 1 for one experiment, in Markdown, and those of the last epoch here."""
    experiment = EXPERIMENTS[name]
    unit = " %" if experiment.measure == "error" else ""
    rows = ["| epoch | method | paper | p, paper | here | seeds here | p, here |", "|---|---|---|---|---|---|---|"]
    for epoch in sorted({*experiment.table, *([epochs] if groups else [])}):
        uniform, published = at(groups.get("uniform", []), epoch, experiment.measure), PAPER[name].get(epoch, {})
        for label in dict.fromkeys((*published, *groups)):
            found = at(groups.get(label, []), epoch, experiment.measure)
            paper = f"{published[label][0]:g}{unit} ± {published[label][1]:g}" if label in published else ""
            theirs = published_difference(name, published[label], published["uniform"]) if label in published else ""
            here = f"{np.mean(found):.4g}{unit}" if found else "not run"
            deviation = f" ± {np.std(found, ddof=1):.2g}" if len(found) > 1 else ""
            ours = difference(found, uniform) if found else ""
            theirs, ours = ("", "") if label == "uniform" else (theirs, ours)
            rows.append(f"| {epoch} | {label} | {paper} | {theirs} | {here}{deviation} | {len(found)} | {ours} |")
    return rows


def published_difference(name, found, uniform):
    """The same test from the mean and deviation that the paper tells, of ten runs on MNIST and three on the others."""
    runs = len(EXPERIMENTS[name].full.seeds)
    return _p((*found, runs), (*uniform, runs))


def _moments(values):
    return np.mean(values), np.std(values, ddof=1), len(values)


def _p(found, uniform):
    return f"p = {ttest_ind_from_stats(*found, *uniform, equal_var=False).pvalue:.2g}"


def clock(name, groups):
    """What the runs cost, and when each method is where uniform sampling ends, in Markdown."""
    measure, times = EXPERIMENTS[name].measure, seconds(groups)
    rows = [
        "| method | seconds of training | against uniform | as good as uniform in the end | then, in seconds |",
        "|---|---|---|---|---|",
    ]
    uniform = groups.get("uniform")
    for label, runs in groups.items():
        took = times[label].mean(axis=0)
        ratio = f"{took[-1] / times['uniform'][:, -1].mean():.2f}" if uniform else ""
        epoch = first_below(runs, measure, mean_curve(uniform, measure)[-1]) if uniform else None
        reached = f"epoch {epoch} | {took[epoch - 1]:.0f}" if epoch else "not | "
        rows.append(f"| {label} | {took[-1]:.0f} | {ratio} | {reached} |")
    return rows


def verdicts(found):
    """Claims with their verdicts, in Markdown."""
    rows = [f"| {claim.section} | {claim.text} | **{claim.verdict}** | {claim.reason} |" for claim in found]
    return ["| section | claim | verdict | measured |", "|---|---|---|---|", *rows]


def page(folder, figures, epochs):
    """The page of results, in Markdown."""
    found = claims(folder, epochs)
    counted = ", ".join(f"{sum(claim.verdict == verdict for claim in found)} {verdict}" for verdict in (YES, NO, OPEN, PENDING))
    text = [
        "# The paper's experiments, run here",
        "",
        "Table 1, the figures and the claims of arXiv:1706.00043 beside what this library measures. `make paper` writes this page",
        "from the results files in `examples/paper/results/`. To run what is missing here and to go on with what was stopped:",
        "",
        "    make paper-runs",
        "",
        "One run, or another method: `python -m examples.paper --help`. The epochs, seeds and methods of the paper, into a folder",
        "of their own: `python -m examples.paper all --scale full`, then `python -m examples.paper.report --scale full`.",
        "",
        "## Verdicts",
        "",
        f"Of {len(found)} claims: {counted}.",
        "",
        RULES,
        "",
        *verdicts(found),
        "",
        OSCILLATION,
        "",
        "## Where this is not the paper",
        "",
        DEVIATIONS,
        "",
    ]
    for name, experiment in EXPERIMENTS.items():
        groups = load(folder, name, epochs[name])
        text += [f"## {experiment.title}", "", *table(name, groups, epochs[name]), "", TESTED, ""]
        if groups:
            text += [conditions(groups), "", *clock(name, groups), "", CLOCK, ""]
        text += [*unfinished(folder, name, epochs[name]), *rates(folder, name)]
        for path, caption in figures.items():
            if path.name.startswith(f"{name}-"):
                text += [f"![{path.stem}](figures/{path.name})", "", caption, ""]
        text += cost_of_norms(folder, name)
    return "\n".join(text).rstrip() + "\n"


def conditions(groups):
    """In a few sentences, what the runs of an experiment have in common and what they cost."""
    runs = [run for group in groups.values() for run in group]
    distinct = lambda values: ", ".join(sorted({str(value) for value in values}))  # noqa: E731
    hours = sum(measured_seconds(runs)) / 3600
    cores, threads = distinct(run.cores for run in runs), distinct(line["threads"] or "all" for run in runs for line in run.lines)
    used = {name: distinct(run.settings[name] for run in runs) for name in runs[0].settings}
    versions = ", ".join(f"{name} {distinct(run.versions[name] for run in runs)}" for name in runs[0].versions)
    return (
        f"{len(runs)} runs, {hours:.1f} hours of training in all, on {cores} CPU cores without a GPU; threads a run: {threads}. "
        f"An epoch is {used['steps']} batches of {used['batch_size']} samples, the presample {used['presample']}, the learning "
        f"rate of Adam {used['learning_rate']}. Versions: {versions}."
    )


def unfinished(folder, name, epochs):
    """A sentence about the runs that are left out because they have not come far enough."""
    rate = EXPERIMENTS[name].learning_rate
    others = [
        f"{run.label}, seed {run.settings['seed']} ({run.lines[-1]['epoch']} of {epochs} epochs)"
        for run in read(folder, name)
        if run.settings["learning_rate"] == rate and run.lines[-1]["epoch"] < epochs
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
    parser = argparse.ArgumentParser(prog="python -m examples.paper.report", description="Writes results.md and its figures.")
    parser.add_argument("--scale", choices=RESULTS, default="cpu", help="of the runs that are shown")
    parser.add_argument("--epochs", type=int, help="after which runs are compared, in place of those of the scale")
    parser.add_argument("--results", type=Path, help="folder of the results files, in place of that of the scale")
    parser.add_argument("--docs", type=Path, help="folder that results.md and its figures go to; docs or build/full by default")
    chosen = parser.parse_args(argv)
    folder, docs = chosen.results or RESULTS[chosen.scale], chosen.docs or PAGES[chosen.scale]
    epochs = epochs_of(chosen.scale, chosen.epochs)
    try:
        figures = draw(folder, docs / "figures", epochs)
        docs.mkdir(parents=True, exist_ok=True)
        (docs / "results.md").write_text(page(folder, figures, epochs))
    except OtherSettings as error:
        print(error)
        return 1
    print(f"{docs / 'results.md'} and {len(figures)} figures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
