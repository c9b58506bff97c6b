"""The table and the picture of `benchmarks.time_to_result`, from its results files."""

import numpy as np

from benchmarks.methods import METHODS
from benchmarks.problems import PROBLEMS
from benchmarks.time_to_result import result


def runs_of(chosen, problem):
    """The records of a problem: for each chosen method a list in the order of the seeds, of those seeds that have them all."""
    methods = [m for m in METHODS if m in chosen.methods]
    found = {m: {seed: result(chosen.results, problem, m, seed) for seed in chosen.seeds} for m in methods}
    found = {m: {seed: run for seed, run in runs.items() if run} for m, runs in found.items()}
    found = {m: runs for m, runs in found.items() if runs}
    seeds = [seed for seed in chosen.seeds if all(seed in runs for runs in found.values())]
    return {m: [runs[seed] for seed in seeds] for m, runs in found.items()} if seeds and "uniform" in found else {}


def spread(values):
    """Mean, and standard error where there are several."""
    values = np.asarray(values)
    return values.mean(), values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan


def reaches(runs, uniform):
    """Whether error and loss end no higher than uniform sampling's, on average over the seeds."""
    return all(np.mean([run[what] for run in runs]) <= np.mean([run[what] for run in uniform]) for what in ("error", "loss"))


def found(chosen):
    """Pairs of each `Problem` that has results, and its runs."""
    pairs = [(PROBLEMS[problem], runs_of(chosen, problem)) for problem in chosen.problems]
    return [(problem, runs) for problem, runs in pairs if runs]


def headings(problem):
    """Of the columns of `cells`."""
    return ["training", "samples", "seconds", "CPU seconds", problem.error_name, "test loss", "as good"]


def table(chosen):
    """Markdown: of each problem a table with a row for each method."""
    parts = []
    for problem, runs in found(chosen):
        uniform = runs["uniform"]
        parts += [f"**{problem.title}** ({uniform[0]['steps']} updates of {uniform[0]['batch_size']}, {len(uniform)} seeds)", ""]
        parts += [_row(headings(problem)), "|---" * len(headings(problem)) + "|"]
        parts += [_row(cells(method, of_method, uniform)) for method, of_method in runs.items()]
        parts += [""]
    return "\n".join(parts)


def _row(texts):
    return "| " + " | ".join(texts) + " |"


def cells(method, runs, uniform):
    """A row of the table: samples and seconds as a part of those of uniform sampling, with the quartiles over the seeds."""
    ratio = lambda what: np.array([run[what] / other[what] for run, other in zip(runs, uniform)])  # noqa: E731
    seconds = ratio("seconds")
    low, middle, high = np.percentile(seconds, [25, 50, 75])
    quartiles = f" ({low:.2f} to {high:.2f})" if len(seconds) > 1 and method != "uniform" else ""
    plain = f" = {np.median([run['seconds'] for run in uniform]):.0f} s" if method == "uniform" else ""
    return [
        METHODS[method].title,
        f"{np.median(ratio('samples')):.2f}",
        f"{middle:.2f}{plain}{quartiles}",
        f"{np.median(ratio('cpu_seconds')):.2f}",
        _plus_minus([run["error"] for run in runs], 2),
        _plus_minus([run["loss"] for run in runs], 4),
        "" if method == "uniform" else "yes" if reaches(runs, uniform) else "no",
    ]


def _plus_minus(values, digits):
    mean, error = spread(values)
    return f"{mean:.{digits}f}" + ("" if np.isnan(error) else f" ± {error:.{digits}f}")


def picture(found, path):
    """Test error against samples and against seconds, a row of axes for each problem: means over the seeds, and their range.

    Args:
        found: pairs of a `Problem` and its runs, `{method: [record of each seed]}`.
        path: PNG file.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(found), 2, figsize=(11, 3.8 * len(found)), sharey="row", squeeze=False)
    for (by_sample, by_second), (problem, runs) in zip(axes, found):
        for method, of_method in runs.items():
            colour = plt.cm.tab10.colors[list(METHODS).index(method)]
            curves = np.array([run["curve"] for run in of_method])  # (seeds, evaluations, 4)
            mean, low, high = curves.mean(axis=0), curves[..., 2].min(axis=0), curves[..., 2].max(axis=0)
            for axis, x in ((by_sample, mean[:, 0] / 1000), (by_second, mean[:, 1])):
                axis.plot(x, mean[:, 2], label=METHODS[method].title.replace("`", ""), color=colour, linewidth=2)
                axis.plot(x[-1], mean[-1, 2], "o", color=colour)
                axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        by_sample.set(xlabel="thousand samples trained on", ylabel=problem.error_name)
        _errors_axis(by_sample, [run for of_method in runs.values() for run in of_method])
        by_second.set(xlabel="seconds of training")
        by_sample.set_title(problem.title.partition(";")[0], loc="left", fontsize=10)
        for axis in (by_sample, by_second):
            axis.axhline(np.mean([run["error"] for run in runs["uniform"]]), color="gray", linewidth=0.8, linestyle=":")
            axis.set_xlim(left=0)
            axis.grid(alpha=0.3)
        by_sample.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _errors_axis(axis, runs):
    """Where errors differ much, equal ratios are equal heights, so that the ends show beside the beginning; numbers are plain."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    errors = np.concatenate([[row[2] for row in run["curve"]] for run in runs])
    bottom, top = errors[errors > 0].min(initial=100), min(errors.max(), 2.5 * max(run["error"] for run in runs))
    if top < 1.5 * bottom:
        return
    decades = 10.0 ** np.arange(-2, 3)
    marks = [1, 2, 5] if top > 5 * bottom else [1, 1.2, 1.5, 2, 3, 4, 5, 7]
    axis.set_yscale("log", nonpositive="clip")
    axis.set_ylim(0.9 * bottom, 1.1 * top)
    axis.yaxis.set_major_locator(FixedLocator(np.outer(decades, marks).ravel()))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
