"""The figures of the paper from the results files.

Every figure that has a horizontal axis of epochs has a twin in seconds of training, which the paper left as future work.
"""

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from examples.paper.experiments import EXPERIMENTS, METHODS
from examples.paper.norms import WINDOW as NORMS_WINDOW
from examples.paper.reading import WINDOW, load, mean_curve, moving, norms
from examples.paper.runs import EACH

COLOURS = dict(zip(METHODS, matplotlib.colormaps["tab10"].colors))


def style(runs):
    """The same colour for a method, dashed where k = 1."""
    settings = runs[0].settings
    dashed = settings["method"] != "uniform" and settings["k"] == 1
    return dict(color=COLOURS[settings["method"]], linestyle="--" if dashed else "-", label=runs[0].label)


def training_loss(groups, axis):
    """Moving average and deviation of the training loss, averaged over the seeds."""
    lowest = np.inf
    for runs in groups.values():
        steps, means, deviations = np.mean([moving(run) for run in runs], axis=0)
        epochs = steps / runs[0].settings["steps"]
        drawn = style(runs)
        axis.plot(epochs, means, **drawn)
        axis.fill_between(epochs, means - deviations, means + deviations, color=drawn["color"], alpha=0.15, linewidth=0)
        lowest = min(lowest, means.min())
    axis.set(xlabel="epochs", ylabel="training loss", yscale="log")
    axis.set_ylim(bottom=lowest / 10)  # mean - deviation can be below 0, which has no logarithm


def sorted_losses(groups, axis):
    """Losses of the training samples at the last epoch, in rising order, averaged over the seeds."""
    for runs in groups.values():
        losses = np.mean([run.lines[-1]["sorted_losses"] for run in runs], axis=0)
        axis.plot(np.linspace(0, 1, len(losses)), np.maximum(losses, 1e-9), **style(runs))
    axis.set(xlabel="share of the training samples", ylabel="loss of the sample", yscale="log")


def generalisation(groups, axis, measure, against):
    """The measure on the test set against `"epochs"` or `"seconds"`, averaged over the seeds."""
    for runs in groups.values():
        where = mean_curve(runs, "epoch") if against == "epochs" else np.mean([run.seconds for run in runs], axis=0)
        axis.plot(where, mean_curve(runs, measure), **style(runs))
    label = {"error": "test error (%)", "perplexity": "perplexity of the validation text"}[measure]
    axis.set(xlabel={"epochs": "epochs", "seconds": "seconds of training"}[against], ylabel=label, yscale="log")
    axis.grid(alpha=0.3, which="both")


def variance(groups, axis):
    """Variance of the weighted batch gradient, as a share of that of uniform draws, averaged over the seeds."""
    for runs in groups.values():
        if runs[0].settings["method"] != "uniform":
            ratios = [[np.log(line["variance"][0] / line["variance"][1]) for line in run.lines] for run in runs]
            axis.plot(mean_curve(runs, "epoch"), np.exp(np.mean(ratios, axis=0)), **style(runs))
    axis.axhline(1, color=COLOURS["uniform"], label="uniform")
    axis.set(xlabel="epochs", ylabel="variance of the batch gradient, uniform = 1", yscale="log")


def gradient_norms(found, axis):
    """Losses in the order of the gradient norms: moving average and deviation."""
    places, means, deviations = (np.array(found[name]) for name in ("places", "means", "deviations"))
    axis.plot(places, means, color="black", label=f"rank correlation {found['rank_correlation']:.2f}")
    axis.fill_between(places, means - deviations, means + deviations, color="black", alpha=0.15, linewidth=0)
    axis.set(xlabel="samples, by the norm of their gradient", ylabel="loss of the sample")


def draw(folder, out):
    """Draws every figure that there are results for. Returns `{file: caption}`."""
    made = {}
    for name, experiment in EXPERIMENTS.items():
        for panel, (paint, caption) in panels(folder, name).items():
            path = out / f"{name}-{panel}.png"
            made[path] = caption
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(paint, experiment.title).savefig(path, dpi=100, metadata={"Software": None})
    return made


def panels(folder, name):
    """What there is to draw of an experiment: name of the panel to its function of an axis and its caption."""
    experiment, groups, found = EXPERIMENTS[name], load(folder, name), norms(folder, name)
    letters = {"mnist": ("1a", "1c", "4a"), "cifar10": ("2a", "2b and 2c", "4b"), "ptb": ("3a", "3c", "4c")}[name]
    last = [run.lines[-1] for runs in groups.values() for run in runs]
    tested = lambda against: lambda axis: generalisation(groups, axis, experiment.measure, against)  # noqa: E731
    made = {}
    if groups:
        caption = (
            f"Figure {letters[0]}: moving mean and deviation of the training loss over {EACH * WINDOW} steps, mean of the seeds."
        )
        made["training-loss"] = lambda axis: training_loss(groups, axis), caption
        made["epochs"] = tested("epochs"), f"Figure {letters[1]}: the test set after each epoch, mean of the seeds."
        made["seconds"] = tested("seconds"), "The same against seconds of training, evaluation left out."
    if groups and all("sorted_losses" in line for line in last):
        caption = "Figure 1b: losses of the training samples after training, in rising order, mean of the seeds."
        made["sorted-losses"] = lambda axis: sorted_losses(groups, axis), caption
    if groups and all("variance" in line for line in last):
        caption = (
            "the variance of the weighted batch gradient, divided by that of uniform draws for the same weights, mean of the seeds."
        )
        made["variance"] = lambda axis: variance(groups, axis), f"Figure 3b: {caption}" if name == "ptb" else caption.capitalize()
    if found:
        caption = (
            f"Figure {letters[2]}: loss of {found['samples']} samples during the first steps of training, in the order of their "
            f"exact gradient norms (each divided by the mean of its batch); mean and deviation over {NORMS_WINDOW} samples. "
            f"Rank correlation {found['rank_correlation']:.2f}, within a batch {found['rank_correlation_within_batches']:.2f}."
        )
        made["norms"] = lambda axis: gradient_norms(found, axis), caption
    return made


def picture(paint, title):
    """A panel as a figure of its own."""
    figure = Figure(figsize=(6, 4), layout="tight")
    axis = figure.subplots()
    paint(axis)
    axis.set_title(title)
    axis.legend()
    return figure
