"""The figures of the paper from the results files.

Beside the measure on the test set against epochs stands the same against seconds of training, which the paper left as future work.
"""

from functools import partial

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from examples.paper.experiments import EXPERIMENTS, METHODS
from examples.paper.norms import WINDOW as NORMS_WINDOW
from examples.paper.reading import WINDOW, load, mean_curve, moving, norms, seconds
from examples.paper.runs import EACH

# of the paper's figures: training loss, test set, gradient norms
NUMBERS = {"mnist": ("1a", "1c", "4a"), "cifar10": ("2a", "2b and 2c", "4b"), "ptb": ("3a and 3b", "3c", "4c")}
COLOURS = dict(zip(METHODS, matplotlib.colormaps["tab10"].colors))


def style(runs):
    """The same colour for a method, the same line for a k."""
    settings = runs[0].settings
    line = "-" if settings["method"] == "uniform" else {0.5: "-", 0.75: "-.", 1.0: "--"}.get(settings["k"], ":")
    return dict(color=COLOURS[settings["method"]], linestyle=line, label=runs[0].label)


def training_loss(groups, axis):
    """Moving average and deviation of the training loss, averaged over the seeds."""
    bottom = np.inf
    for runs in groups.values():
        steps, means, deviations = np.mean([moving(run) for run in runs], axis=0)
        epochs = steps / runs[0].settings["steps"]
        drawn = style(runs)
        axis.plot(epochs, means, **drawn)
        axis.fill_between(epochs, means - deviations, means + deviations, color=drawn["color"], alpha=0.15, linewidth=0)
        bottom = min(bottom, max(np.min(means - deviations), np.min(means) / 10))  # below 0 there is no logarithm
    axis.set(xlabel="epochs", ylabel="training loss", yscale="log")
    axis.set_ylim(bottom=bottom)


def sorted_losses(groups, axis):
    """Losses of the training samples at the last epoch, in rising order, averaged over the seeds."""
    for runs in groups.values():
        losses = np.mean([run.lines[-1]["sorted_losses"] for run in runs], axis=0)
        axis.plot(np.linspace(0, 1, len(losses)), np.maximum(losses, 1e-9), **style(runs))
    axis.set(xlabel="share of the training samples", ylabel="loss of the sample", yscale="log")


def generalisation(groups, measure, against, axis):
    """The measure on the test set against `"epochs"` or `"seconds"`, averaged over the seeds."""
    times = seconds(groups)
    for label, runs in groups.items():
        where = mean_curve(runs, "epoch") if against == "epochs" else times[label].mean(axis=0)
        axis.plot(where, mean_curve(runs, measure), **style(runs))
    label = {"error": "test error (%)", "perplexity": "perplexity of the validation text"}[measure]
    axis.set(xlabel={"epochs": "epochs", "seconds": "seconds of training, as on one machine"}[against], ylabel=label, yscale="log")
    axis.grid(alpha=0.3, which="both")


def variance(groups, axis):
    """Variance of the weighted gradient, as a share of that of uniform sampling, averaged over the seeds."""
    for runs in groups.values():
        axis.plot(mean_curve(runs, "epoch"), mean_curve(runs, "variance"), **style(runs))
    axis.set(xlabel="epochs", ylabel="variance of the gradient, uniform = 1", yscale="log")


def gradient_norms(found, axis):
    """Losses in the order of the gradient norms: moving average and deviation."""
    places, means, deviations = (np.array(found[name]) for name in ("places", "means", "deviations"))
    axis.plot(places, means, color="black", label=f"rank correlation {found['rank_correlation']:.2f}")
    axis.fill_between(places, means - deviations, means + deviations, color="black", alpha=0.15, linewidth=0)
    axis.set(xlabel="samples, by the norm of their gradient", ylabel="loss of the sample")


def draw(folder, out, epochs):
    """Draws every figure that there are results for. Returns `{file: caption}`."""
    made = {}
    for name, experiment in EXPERIMENTS.items():
        for panel, (paint, caption) in panels(folder, name, epochs[name]).items():
            path = out / f"{name}-{panel}.png"
            made[path] = caption
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(paint, experiment.title).savefig(path, dpi=100, metadata={"Software": None})
    return made


def panels(folder, name, epochs):
    """What there is to draw of an experiment: name of the panel to its function of an axis and its caption."""
    groups, found = load(folder, name, epochs), norms(folder, name)
    curves, test, gradients = NUMBERS[name]
    made = {}
    if groups:
        caption = f"Figure {curves}: moving mean and deviation of the training loss over {EACH * WINDOW} steps, mean of the seeds."
        made["training-loss"] = partial(training_loss, groups), caption
        tested = partial(generalisation, groups, EXPERIMENTS[name].measure)
        which = "validation text" if name == "ptb" else "test set"
        made["epochs"] = partial(tested, "epochs"), f"Figure {test}: the {which} after each epoch, mean of the seeds."
        caption = "The same against seconds of training, as on one machine: what choosing adds to the steps of uniform sampling."
        made["seconds"] = partial(tested, "seconds"), caption
    if sorted_too := _with(groups, "sorted_losses"):
        caption = "Figure 1b: losses of the training samples after training, in rising order, mean of the seeds."
        made["sorted-losses"] = partial(sorted_losses, sorted_too), caption
    if variance_too := _with(groups, "variance"):
        caption = "The variance of the gradient with weights of k = 1, as a share of that of uniform sampling (eq. 28 by eq. 27), "
        caption += "mean of the seeds. The paper has no such figure."
        made["variance"] = partial(variance, variance_too), caption
    if found:
        caption = (
            f"Figure {gradients}: loss of {found['samples']} samples during the first steps of training, in the order of their "
            f"exact gradient norms (each divided by the mean of its batch); mean and deviation over {NORMS_WINDOW} samples. "
            f"Rank correlation {found['rank_correlation']:.2f}, within a batch {found['rank_correlation_within_batches'][0]:.2f}."
        )
        made["norms"] = partial(gradient_norms, found), caption
    return made


def _with(groups, name):
    """The groups in which every run has measured a value."""
    return {label: runs for label, runs in groups.items() if all(run.last(name) is not None for run in runs)}


def picture(paint, title):
    """A panel as a figure of its own."""
    figure = Figure(figsize=(6, 4), layout="tight")
    axis = figure.subplots()
    paint(axis)
    axis.set_title(title)
    axis.legend()
    return figure
