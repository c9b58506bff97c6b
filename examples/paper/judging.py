"""The rules by which a claim of the paper gets its verdict from the runs.

That a value is smaller is reproduced when a one-sided test over the seeds gives p < 0.05, and not reproduced when it gives that
for the opposite; anything between is undecided. Fewer than three seeds are no test at all, whichever way they point.
"""

import numpy as np
from scipy.stats import ttest_1samp, ttest_ind_from_stats

from examples.paper.reading import at, mean_curve, moving

SEEDS = 3  # the fewest that a test is made with
LEVEL = 0.05
MONOTONE = 0.8  # rank correlation within a batch from which loss and gradient norm count as ordered alike

YES, NO, UNDECIDED = "reproduced", "not reproduced", "undecided"  # of what was tested
OPEN, PENDING = "not testable at this scale", "not run yet"


def moments(values):
    """Mean, deviation and number of the seeds, what a test is made from."""
    return np.mean(values), np.std(values, ddof=1), len(values)


def testable(*groups):
    """Whether there are seeds enough in each group, and any spread at all."""
    return min(len(group) for group in groups) >= SEEDS and any(np.ptp(group) > 0 for group in groups)


def welch(found, base, alternative="two-sided"):
    """The p of Welch's t-test between the `moments` of two groups of seeds."""
    return ttest_ind_from_stats(*found, *base, equal_var=False, alternative=alternative).pvalue


def yes(true):
    return YES if true else NO


def decided(p):
    """The verdict of a one-sided test."""
    return UNDECIDED if LEVEL <= p <= 1 - LEVEL else yes(p < LEVEL)


def told(values):
    """Mean and deviation of the seeds in three digits."""
    spread = f" ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else ""
    return f"{np.mean(values):.3g}{spread}"


def first_below(runs, name, limit, epochs=None):
    """The first of some epochs, or of all, after which the mean of the seeds is at most `limit`, or None."""
    for line, value in zip(runs[0].lines, mean_curve(runs, name)):
        if value <= limit and (epochs is None or line["epoch"] in epochs):
            return line["epoch"]
    return None


def _oscillation(run):
    """How much the training loss moves about: its moving deviation, as a share of its moving mean, averaged over the run."""
    _, means, deviations = moving(run)
    return float(np.mean(deviations / means))


def _largest_loss(run):
    losses = run.last("sorted_losses")
    return losses and losses[-1]


def _variance(run):
    """Against that of uniform sampling, geometric mean of the epochs."""
    ratios = [line.get("variance") for line in run.lines]
    return None if None in ratios else float(np.exp(np.mean(np.log(ratios))))


VALUES = {  # of a run, None where it was not measured
    "moving deviation by mean": _oscillation,
    "largest loss": _largest_loss,
    "variance": _variance,
    "loss on training samples": lambda run: run.last("train_loss"),
    "error": lambda run: run.last("error"),
    "perplexity": lambda run: run.last("perplexity"),
}


class Judge:
    """Gives verdicts with their reasons, `(verdict, reason)`, for the runs of one experiment.

    Args:
        groups: of runs, by label, as `reading.load` gives them.
        planned: labels of the runs of this scale: of others it does not say "not run yet".
        seeds: of each of them.
    """

    def __init__(self, groups, planned, seeds):
        self.groups = groups
        self._planned = planned
        self._few = PENDING if seeds >= SEEDS else OPEN  # while there are too few seeds for a test

    def smaller(self, label, other, name, epoch=None):
        """Whether a value, one of `VALUES`, of one group is smaller than that of another, at an epoch or the last."""
        verdict, reason, p = self._tested(label, other, name, "less", epoch)
        return (verdict, reason) if verdict else (decided(p), f"{reason}, p = {p:.2g}")

    def alike(self, label, other, name):
        """Whether a value of two groups is the same, which no test of a few seeds can show, only refute."""
        verdict, reason, p = self._tested(label, other, name, "two-sided")
        return (verdict, reason) if verdict else (NO if p < LEVEL else UNDECIDED, f"{reason}, p = {p:.2g}")

    def variance_reduced(self, label):
        """Whether the variance is below that of uniform sampling, by a t-test of the logarithm of their ratio."""
        if lacking := self._lacking(label):
            return lacking
        ratios = [_variance(run) for run in self.groups[label]]
        if None in ratios:
            return PENDING, "variance was not measured"
        reason = f"{told(ratios)} of that of uniform sampling, geometric mean of the epochs"
        return self._below(np.log(ratios), 0.0, reason)

    def error_below(self, label, epoch, limit):
        """Whether the error at an epoch is below a limit, by a one-sided t-test."""
        if lacking := self._lacking(label):
            return lacking
        found = at(self.groups[label], epoch, "error")
        return self._below(found, limit, f"{told(found)} %")

    def _below(self, values, limit, reason):
        if not testable(values):
            return self._few, f"{reason}: too few seeds for a test"
        p = ttest_1samp(values, limit, alternative="less").pvalue
        return decided(p), f"{reason}, p = {p:.2g}"

    def earlier(self, label, error, lead, epochs=None):
        """Whether the mean of the seeds comes to an error so many epochs before that of uniform sampling, of some epochs or all.

        A lead is undecided if leaving out one seed changes the verdict.
        """
        if lacking := self._lacking(label, "uniform"):
            return lacking
        runs, uniform = self.groups[label], self.groups["uniform"]
        verdict, reason = _lead(runs, uniform, error, lead, epochs)
        if min(len(runs), len(uniform)) < SEEDS:
            return self._few, reason if verdict == OPEN else f"{reason}: too few seeds"
        others = [_lead(runs[:i] + runs[i + 1 :], uniform, error, lead, epochs)[0] for i in range(len(runs))]
        others += [_lead(runs, uniform[:i] + uniform[i + 1 :], error, lead, epochs)[0] for i in range(len(uniform))]
        changed = sum(other != verdict for other in others)
        if changed:
            return UNDECIDED, f"{reason}; another verdict in {changed} of the {len(others)} cases with one seed left out"
        return verdict, reason

    def earlier_than_uniform_at(self, label, epoch, lead):
        """The same for the error that uniform sampling has after an epoch."""
        if lacking := self._lacking(label, "uniform"):
            return lacking
        uniform = at(self.groups["uniform"], epoch, "error")
        return self.earlier(label, np.mean(uniform), lead) if uniform else (OPEN, f"it takes {epoch} epochs")

    def leads_mostly_before(self, label, epoch):
        """Whether it leads over uniform sampling before an epoch, and by more than from it on."""
        if lacking := self._lacking(label, "uniform"):
            return lacking
        if not at(self.groups["uniform"], epoch, "error"):
            return OPEN, f"it takes more than {epoch} epochs"
        lead = mean_curve(self.groups["uniform"], "error") - mean_curve(self.groups[label], "error")
        before, after = lead[: epoch - 1].mean(), lead[epoch - 1 :].mean()
        reason = f"error lower by {before:.2g} before, by {after:.2g} after"
        if min(len(self.groups[label]), len(self.groups["uniform"])) < SEEDS:
            return self._few, f"{reason}: too few seeds"
        return yes(before > max(after, 0)), reason

    def _tested(self, label, other, name, alternative, epoch=None):
        """The verdict if there is no test, what was found, and the p of the test."""
        if lacking := self._lacking(label, other):
            return *lacking, None
        found, base = ([VALUES[name](run.until(epoch)) for run in self.groups[each]] for each in (label, other))
        if unmeasured := [each for each, values in ((label, found), (other, base)) if None in values]:
            runs = f"in some runs of {' and '.join(unmeasured)}"
            return PENDING, f"{name} was not measured {runs}: run them again without their files and checkpoints", None
        reason = f"{name} {told(found)} against {told(base)}"
        if not testable(found, base):
            return self._few, f"{reason}: too few seeds for a test", None
        return None, reason, welch(moments(found), moments(base), alternative)

    def _lacking(self, *labels):
        """The verdict where runs are missing, else None."""
        missing = [each for each in labels if each not in self.groups]
        if others := [each for each in missing if each not in self._planned]:
            return OPEN, f"{' and '.join(others)}: not among the runs of this scale"
        return (PENDING, " and ".join(missing)) if missing else None


def _lead(runs, uniform, error, lead, epochs):
    """The verdict on a lead in epochs of the mean of some runs over that of others, and the epochs that they take."""
    first, theirs = (first_below(each, "error", error, epochs) for each in (runs, uniform))
    last = uniform[0].lines[-1]["epoch"]
    reason = " against ".join(f"epoch {epoch}" if epoch else f"not in {last} epochs" for epoch in (first, theirs))
    if theirs is not None and theirs <= lead:
        return NO, f"{reason}: uniform sampling is too fast here for such a lead"
    if theirs is None and (first is None or first + lead > last + 1):
        return OPEN, f"{reason}: not trained for long enough to tell"
    return yes(first is not None and (theirs or last + 1) - first >= lead), reason
