"""A verdict for each claim of sections 4.1 to 4.3 and A.2, computed from the results files.

A difference counts when a one-sided Welch test over the seeds gives p < 0.05; it takes three seeds each. What one or two
seeds show is told, but proves nothing. The rules were fixed before the long runs.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import ttest_ind

from examples.paper.experiments import EXPERIMENTS
from examples.paper.reading import at, load, mean_curve, moving, norms

SEEDS = 3  # the fewest that a test is made with
LEVEL = 0.05
MONOTONE = 0.8  # rank correlation within a batch from which loss and gradient norm count as ordered alike

YES, NO, OPEN, PENDING = "reproduced", "not reproduced", "not testable at this scale", "not run yet"


class Claim(NamedTuple):
    """One sentence of the paper in our words, and what was found."""

    section: str
    text: str
    verdict: str
    reason: str


def claims(folder, names=tuple(EXPERIMENTS)):
    """Those of some experiments, or all, in the order of the paper."""
    of_section_4 = {"mnist": _mnist, "cifar10": _cifar10, "ptb": _penn_treebank}
    trained = [claim for name in names for claim in of_section_4[name](load(folder, name))]
    return [*trained, *(_ordered(name, norms(folder, name)) for name in names)]


def _mnist(groups):
    last = EXPERIMENTS["mnist"].cpu_epochs
    largest = lambda run: run.lines[-1]["sorted_losses"][-1]  # noqa: E731
    for label in ("oracle, k = 1", "approx, k = 1", "oracle, k = 0.5", "approx, k = 0.5"):
        text = f"{label}: the training loss oscillates less than with uniform sampling (figure 1a)"
        yield Claim("4.1", text, *smaller(groups, label, "uniform", oscillation, "moving deviation by mean"))
    for method in ("oracle", "approx"):
        text = f"{method}: k = 0.5 lowers the largest losses in the training set further than k = 1 (figure 1b)"
        yield Claim("4.1", text, *smaller(groups, f"{method}, k = 0.5", f"{method}, k = 1", largest, "largest loss"))
    yield Claim("4.1", "k = 0.5: less than 1 % error after a single epoch", *_below(groups, "oracle, k = 0.5", 1, 1.0))
    text = "oracle, k = 0.5: comes to 0.6 % error 15 epochs before uniform sampling"
    yield Claim("4.1", text, *_earlier(groups, "oracle, k = 0.5", 0.6, 15))
    text = "approx, k = 0.5: comes to 0.65 % error 5 epochs before uniform sampling"
    yield Claim("4.1", text, *_earlier(groups, "approx, k = 0.5", 0.65, 5))
    for label in ("oracle, k = 1", "oracle, k = 0.5", "approx, k = 1", "approx, k = 0.5"):
        yield Claim(
            "4.1", f"{label}: lower error than uniform sampling after {last} epochs (Table 1)", *_better("mnist", groups, label)
        )


def _cifar10(groups):
    for label in ("oracle, k = 0.5", "approx, k = 0.5"):
        text = f"{label}: the training loss oscillates less than with uniform sampling (figure 2a)"
        yield Claim("4.2", text, *smaller(groups, label, "uniform", oscillation, "moving deviation by mean"))
        text = f"{label}: converges faster in the training set (figure 2a)"
        yield Claim("4.2", text, *smaller(groups, label, "uniform", _training_loss, "training loss of the last epoch"))
        yield Claim(
            "4.2", f"{label}: lower test error than uniform sampling (figure 2b, Table 1)", *_better("cifar10", groups, label)
        )
    for label, epoch in (("oracle, k = 0.5", 48), ("approx, k = 0.5", 78)):
        text = f"{label}: below 10 % error at epoch {epoch}, where uniform sampling takes 116 epochs"
        yield Claim("4.2", text, *_too_long(groups, epoch))
    text = "Importance sampling matters mostly before the learning rate is lowered, at epoch 117 (figure 2c)"
    yield Claim("4.2", text, *_too_long(groups, 117))


def _penn_treebank(groups):
    ratio = lambda run: run.variance_ratio  # noqa: E731
    for label in ("oracle, k = 1", "oracle, k = 0.5", "approx, k = 0.5"):
        text = f"{label}: the training loss oscillates less than with uniform sampling (figure 3a)"
        yield Claim("4.3", text, *smaller(groups, label, "uniform", oscillation, "moving deviation by mean"))
    text = "pcg reduces the variance of the gradient (figure 3b)"
    yield Claim("4.3", text, *_reduced(groups, "pcg, k = 0.5"))
    text = "approx reduces it more than pcg does (figure 3b)"
    yield Claim("4.3", text, *smaller(groups, "approx, k = 0.5", "pcg, k = 0.5", ratio, "variance against uniform draws"))
    for label in ("oracle, k = 1", "oracle, k = 0.5", "approx, k = 0.5"):
        yield Claim("4.3", f"{label}: lower perplexity than uniform sampling (figure 3c)", *_better("ptb", groups, label))
    perplexity = lambda run: run.lines[-1]["perplexity"]  # noqa: E731
    text = "approx comes to a lower perplexity than the oracle"
    yield Claim("4.3", text, *smaller(groups, "approx, k = 0.5", "oracle, k = 0.5", perplexity, "perplexity"))


def oscillation(run):
    """How much the training loss moves about: the moving deviation, as a share of its moving mean, averaged over the run."""
    _, means, deviations = moving(run)
    return float(np.mean(deviations / means))


def _training_loss(run):
    return float(np.mean(run.lines[-1]["losses"]))


def smaller(groups, label, other, value, name):
    """Whether a value of the runs of one group is smaller than that of another: verdict and reason."""
    missing = [each for each in (label, other) if each not in groups]
    if missing:
        return PENDING, " and ".join(missing)
    found, base = ([value(run) for run in groups[each]] for each in (label, other))
    told = f"{name} {_told(found)} against {_told(base)}"
    if min(len(found), len(base)) < SEEDS:
        return OPEN, f"{told}: too few seeds for a test"
    p = ttest_ind(found, base, equal_var=False, alternative="less").pvalue
    if p < LEVEL:
        return YES, f"{told}, p = {p:.2g}"
    if p > 1 - LEVEL:
        return NO, f"{told}: the opposite, p = {1 - p:.2g}"
    return NO, f"{told}: within what the seeds differ by, p = {p:.2g}"


def _better(name, groups, label):
    measure = EXPERIMENTS[name].measure
    return smaller(groups, label, "uniform", lambda run: run.lines[-1][measure], measure)


def _reduced(groups, label):
    if label not in groups:
        return PENDING, label
    ratios = [run.variance_ratio for run in groups[label]]
    told = f"{_told(ratios)} of that of uniform draws for the same weights, geometric mean of the epochs"
    return YES if max(ratios) < 1 else NO, told


def _below(groups, label, epoch, limit):
    found = at(groups.get(label, []), epoch, "error")
    if not found:
        return PENDING, label
    told = f"{label}: {_told(found)} %"
    if len(found) < SEEDS:
        return OPEN, f"{told}: too few seeds"
    return YES if np.mean(found) < limit else NO, told


def _earlier(groups, label, error, lead):
    if label not in groups or "uniform" not in groups:
        return PENDING, f"{label} or uniform"
    reached = [first_below(groups[each], "error", error) for each in (label, "uniform")]
    last = len(mean_curve(groups["uniform"], "error"))
    told = " against ".join(f"epoch {epoch}" if epoch else f"not in {last} epochs" for epoch in reached)
    if min(len(groups[label]), len(groups["uniform"])) < SEEDS:
        return OPEN, f"{told}: too few seeds"
    if reached[0] is None:
        return NO, told
    if reached[1] is None and reached[0] + lead > last + 1:
        return OPEN, f"{told}: uniform sampling was not trained for long enough to tell"
    return YES if (reached[1] or last + 1) - reached[0] >= lead else NO, told


def first_below(runs, name, limit):
    """The first epoch after which the mean of the seeds is at most `limit`, or None."""
    (where,) = np.nonzero(mean_curve(runs, name) <= limit)
    return int(where[0]) + 1 if len(where) else None


def _too_long(groups, epoch):
    run = max((run.lines[-1]["epoch"] for runs in groups.values() for run in runs), default=0)
    return OPEN, f"it takes {epoch} epochs, {run} were run; --scale full runs them all"


def _ordered(name, found):
    text = f"{EXPERIMENTS[name].title}: the loss of a sample rises with its exact gradient norm (figure 4)"
    if found is None:
        return Claim("A.2", text, PENDING, "")
    within, overall = found["rank_correlation_within_batches"], found["rank_correlation"]
    reason = f"rank correlation {within:.2f} within a batch, {overall:.2f} over {found['samples']} samples of the first steps"
    return Claim("A.2", text, YES if within >= MONOTONE else NO, reason)


def _told(values):
    spread = f" ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else ""
    return f"{np.mean(values):.3g}{spread}"
