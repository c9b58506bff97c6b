"""Table 1 of the paper beside what was measured here, the figures and the verdicts: writes docs/results.md.

python -m examples.paper.report
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from examples.paper.claims import claims
from examples.paper.experiments import EXPERIMENTS, GRID, RESULTS, epochs_of
from examples.paper.figures import draw
from examples.paper.judging import NO, OPEN, PENDING, UNDECIDED, YES, first_below, moments, testable, welch
from examples.paper.published import PAPER
from examples.paper.reading import at, clock_of, grid, grid_length, load, mean_curve, norms, planned, rate_of, read, seconds
from examples.paper.results_file import Refused
from examples.paper.words import CLOCK, DEVIATIONS, HERE, KNOWN, OSCILLATION, RULES, TESTED

PAGES = {"cpu": Path(__file__).parents[2] / "docs", "full": Path("build/full")}


def difference(found, uniform):
    """What a test says of the difference from uniform sampling: Welch's t-test over the seeds, two-sided."""
    return f"p = {welch(moments(found), moments(uniform)):.2g}" if testable(found, uniform) else "too few seeds"


def table(name, groups, epochs, scale="cpu"):
    """The rows of Table 1 for one experiment, in Markdown, and those of the last epoch here."""
    experiment, awaited = EXPERIMENTS[name], planned(name, scale)
    unit = " %" if experiment.measure == "error" else ""
    rows = ["| epoch | method | paper | p, paper | here | seeds here | p, here |", "|---|---|---|---|---|---|---|"]
    for epoch in sorted({*experiment.table, *([epochs] if groups else [])}):
        uniform, published = at(groups.get("uniform", []), epoch, experiment.measure), PAPER[name].get(epoch, {})
        for label in dict.fromkeys((*published, *groups)):
            found = at(groups.get(label, []), epoch, experiment.measure)
            paper = f"{published[label][0]:g}{unit} ± {published[label][1]:g}" if label in published else ""
            theirs = published_difference(name, published[label], published["uniform"]) if label in published else ""
            absent = "not run" if epoch <= epochs and label in awaited else "not at this scale"
            here = f"{np.mean(found):.4g}{unit}" if found else absent
            deviation = f" ± {np.std(found, ddof=1):.2g}" if len(found) > 1 else ""
            ours = difference(found, uniform) if found else ""
            theirs, ours = ("", "") if label == "uniform" else (theirs, ours)
            rows.append(f"| {epoch} | {label} | {paper} | {theirs} | {here}{deviation} | {len(found)} | {ours} |")
    return rows


def published_difference(name, found, uniform):
    """The same test from the mean and deviation that the paper tells, of ten runs on MNIST and three on the others."""
    runs = len(EXPERIMENTS[name].full.seeds)
    return f"p = {welch((*found, runs), (*uniform, runs)):.2g}"


def clock(name, groups):
    """What the runs cost, and when each method is where uniform sampling ends, in Markdown."""
    measure, times = EXPERIMENTS[name].measure, seconds(groups)
    counted = clock_of([run for runs in groups.values() for run in runs])
    measured = {"cpu_seconds": "measured, CPU seconds", "seconds": "measured, seconds"}[counted]
    columns = [
        "method",
        measured,
        "as on one machine, seconds",
        "against uniform",
        "first as good as uniform at its end",
        "seconds by then",
    ]
    rows = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    uniform = groups.get("uniform")
    for label, runs in groups.items():
        took = times[label].mean(axis=0)
        ratio = f"{took[-1] / times['uniform'][:, -1].mean():.2f}" if uniform else ""
        epoch = first_below(runs, measure, mean_curve(uniform, measure)[-1]) if uniform else None
        reached = f"epoch {epoch} | {took[epoch - 1]:.0f} s" if epoch else "not | "
        took_here = np.mean([run.last(counted) for run in runs])
        rows.append(f"| {label} | {took_here:.0f} | {took[-1]:.0f} | {ratio} | {reached} |")
    return rows


def verdicts(found):
    """Claims with their verdicts, in Markdown."""
    rows = [f"| {claim.section} | {claim.text} | **{claim.verdict}** | {claim.reason} |" for claim in found]
    return ["| section | claim | verdict | measured |", "|---|---|---|---|", *rows]


def counts(found):
    """How many claims of each section, and of those about the test set, got each verdict, in Markdown."""
    kinds = (YES, NO, UNDECIDED, OPEN, PENDING)
    parts = {section: [claim for claim in found if claim.section == section] for section in dict.fromkeys(c.section for c in found)}
    parts |= {"all": found, "of these, about error or perplexity": [claim for claim in found if claim.of_the_test_set]}
    rows = [f"| section | claims | {' | '.join(kinds)} |", f"|{'---|' * (2 + len(kinds))}"]
    for name, part in parts.items():
        verdicts = [claim.verdict for claim in part]
        rows.append(f"| {name} | {len(verdicts)} | {' | '.join(str(verdicts.count(kind)) for kind in kinds)} |")
    return rows


def page(folder, figures, epochs, scale="cpu"):
    """The page of results, in Markdown."""
    found = claims(folder, epochs, scale)
    text = [
        "# The paper's experiments, run here",
        "",
        "Table 1, the figures and the claims of arXiv:1706.00043 beside what this library measures. `make paper` writes this page",
        f"from the results files in `examples/paper/{RESULTS[scale].name}/`. To run what is missing of this scale, and to go on",
        "with what was stopped:",
        "",
        "    make paper-runs" if scale == "cpu" else "    make paper-runs SCALE=full",
        "",
        "One run, or another method: `python -m examples.paper --help`. The epochs, seeds and methods of the paper, into a folder",
        "of their own: `make paper-runs SCALE=full`.",
        "",
        "## Verdicts",
        "",
        *counts(found),
        "",
        RULES,
        "",
        *([KNOWN, ""] if scale == "cpu" else []),
        *verdicts(found),
        "",
        OSCILLATION,
        "",
        "## Where this is not the paper",
        "",
        DEVIATIONS,
        *([HERE] if scale == "cpu" else []),
        "",
    ]
    for name, experiment in EXPERIMENTS.items():
        groups = load(folder, name, epochs[name])
        text += [f"## {experiment.title}", "", *table(name, groups, epochs[name], scale), "", TESTED, ""]
        if groups:
            text += [conditions(groups), "", *clock(name, groups), "", CLOCK, ""]
        text += [*left_out(folder, name, epochs[name]), *rates(folder, name)]
        for path, caption in figures.items():
            if path.name.startswith(f"{name}-"):
                text += [f"![{path.stem}](figures/{path.name})", "", caption, ""]
        text += cost_of_norms(folder, name)
    return "\n".join(text).rstrip() + "\n"


def conditions(groups):
    """In a few sentences, what the runs of an experiment have in common and what they cost."""
    runs = [run for group in groups.values() for run in group]
    distinct = lambda values: " or ".join(sorted({str(value) for value in values}))  # noqa: E731
    hours = sum(run.last(clock_of(runs)) for run in runs) / 3600
    lines = [line for run in runs for line in run.lines]
    cores, threads = distinct(run.cores for run in runs), distinct(line["threads"] or "all" for line in lines)
    used = {name: distinct(run.settings[name] for run in runs) for name in runs[0].settings}
    names = dict.fromkeys(name for run in runs for name in run.versions)
    versions = ", ".join(f"{name} {distinct(run.versions.get(name, 'not recorded') for run in runs)}" for name in names)
    return (
        f"{len(runs)} runs, {hours:.1f} hours of training in all, on {cores} CPU cores without a GPU; threads a run: {threads}. "
        f"An epoch is {used['steps']} batches of {used['batch_size']} samples, the presample {used['presample']}, the learning "
        f"rate of Adam {used['learning_rate']}. Versions: {versions}; commit {distinct(line['commit'] for line in lines)}."
    )


def left_out(folder, name, epochs):
    """A sentence about the runs that are left out, because they have not come far enough or are of another learning rate."""
    rate, others = rate_of(folder, name), []
    for run in read(folder, name):
        called = f"{run.label}, seed {run.settings['seed']}"
        if run.settings["learning_rate"] != rate:
            others.append(f"{called} (learning rate {run.settings['learning_rate']:g}, not {rate:g})")
        elif run.lines[-1]["epoch"] < epochs:
            others.append(f"{called} ({run.lines[-1]['epoch']} of {epochs} epochs)")
    return [f"Left out: {'; '.join(others)}.", ""] if others else []


def rates(folder, name):
    """The grid of learning rates, in Markdown, where it was tried."""
    experiment, found, used = EXPERIMENTS[name], grid(folder, name), rate_of(folder, name)
    if len(found) < 2:
        return []
    epochs = grid_length(folder, name)
    end = f"The best, {used:g}, is used." if len(found) == len(GRID) else f"Not all of it was tried yet: {used:g} is used."
    return [
        f"Learning rate: uniform sampling, seed 0, {experiment.measure} after {epochs} "
        f"{'epoch' if epochs == 1 else 'epochs'} (`python -m examples.paper {name} --grid`). {end}",
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
    told = f"{found['samples']} samples with the learning rate {found['learning_rate']:g}: {found['seconds'] / 60:.0f} minutes"
    how = f"`python -m examples.paper.norms {name}`, commit {found['commit'] or 'not recorded'}"
    how += ": with changes that were not committed" if str(found["commit"]).endswith("-dirty") else ""
    return [f"Figure 4, the exact gradients of {told} ({how}).", ""]


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m examples.paper.report", description="Writes results.md and its figures.")
    parser.add_argument("--scale", choices=RESULTS, default="cpu", help="of the runs that are shown")
    parser.add_argument("--epochs", type=int, help="after which runs are compared, in place of those of the scale")
    parser.add_argument("--results", type=Path, help="folder of the results files, in place of that of the scale")
    parser.add_argument("--docs", type=Path, help="folder that results.md and its figures go to; docs or build/full by default")
    chosen = parser.parse_args(argv)
    if chosen.epochs is not None and chosen.epochs < 1:
        parser.error(f"--epochs must be >= 1. Received: {chosen.epochs}")
    if (chosen.results or chosen.epochs) and not chosen.docs:
        parser.error("--results and --epochs must come with --docs: the usual page is that of the usual results")
    if chosen.results and not chosen.results.is_dir():
        parser.error(f"--results must be a folder of results files. Received: {chosen.results}")
    folder, docs = chosen.results or RESULTS[chosen.scale], chosen.docs or PAGES[chosen.scale]
    epochs = epochs_of(chosen.scale, chosen.epochs)
    try:
        figures = draw(folder, docs / "figures", epochs)
        docs.mkdir(parents=True, exist_ok=True)
        (docs / "results.md").write_text(page(folder, figures, epochs, chosen.scale))
    except Refused as error:
        print(error)
        return 1
    print(f"{docs / 'results.md'} and {len(figures)} figures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
