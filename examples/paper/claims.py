"""The claims of the abstract, of sections 3.1, 4.1 to 4.3 and of A.2, each with the verdict of the runs."""

from typing import NamedTuple

from examples.paper.experiments import EXPERIMENTS
from examples.paper.judging import MONOTONE, OPEN, PENDING, UNDECIDED, Judge, yes
from examples.paper.published import PAPER
from examples.paper.reading import load, norms, planned

METHODS = ("oracle, k = 1", "oracle, k = 0.5", "approx, k = 1", "approx, k = 0.5")  # of Table 1, beside uniform sampling
CALMER = "{}: the training loss oscillates less than with uniform sampling (figure {})"
FASTER = "{}: lower loss on the training set than uniform sampling, here after {} epochs (figure {})"
STEADIER = "{}: the variance of the gradient is lower than with uniform sampling"


class Claim(NamedTuple):
    """One sentence of the paper in our words, and what was found."""

    section: str
    text: str
    verdict: str
    reason: str

    @property
    def of_the_test_set(self):
        """Whether it is about what a model is trained for, not about how."""
        return any(measure in self.text for measure in ("error", "perplexity"))


def claims(folder, epochs, scale="cpu"):
    """Those of the experiments that `epochs` names, `{experiment: epochs to compare at}`: of section 4, then those of figure 4."""
    of_section_4 = {"mnist": _mnist, "cifar10": _cifar10, "ptb": _penn_treebank}
    found = []
    for name, last in epochs.items():
        judge = Judge(load(folder, name, last), planned(name, scale), len(getattr(EXPERIMENTS[name], scale).seeds))
        found += of_section_4[name](judge, last)
    return [*found, *(claim for name in epochs for claim in _norms(name, norms(folder, name)))]


def _mnist(judge, last):
    for method in METHODS:
        yield Claim("4.1", CALMER.format(method, "1a"), *judge.smaller(method, "uniform", "moving deviation by mean"))
        yield Claim("4.1", FASTER.format(method, last, "1a"), *judge.smaller(method, "uniform", "loss on training samples"))
    for method in ("oracle", "approx"):
        few, one = f"{method}, k = 0.5", f"{method}, k = 1"
        text = f"{method}: k = 0.5 lowers the largest loss in the training set further than k = 1 (figure 1b)"
        yield Claim("4.1", text, *judge.smaller(few, one, "largest loss"))
        text = f"{method}: k = 0.5 comes to a lower error than k = 1 after {last} epochs (figure 1c)"
        yield Claim("4.1", text, *judge.smaller(few, one, "error"))
        text = f"{few}: less than 1 % error after a single epoch"
        yield Claim("4.1", text, *judge.error_below(few, 1, 1.0))
    for method, error, lead in (("oracle, k = 0.5", 0.6, 15), ("approx, k = 0.5", 0.65, 5)):
        text = f"{method}: comes to {error:g} % error {lead} epochs before uniform sampling (the epochs of Table 1)"
        yield Claim("4.1", text, *judge.earlier(method, error, lead, EXPERIMENTS["mnist"].table))
    yield from _table("4.1", "mnist", judge, last)


def _cifar10(judge, last):
    for method in ("oracle, k = 0.5", "approx, k = 0.5"):
        yield Claim("4.2", CALMER.format(method, "2a"), *judge.smaller(method, "uniform", "moving deviation by mean"))
        yield Claim("4.2", STEADIER.format(method), *judge.variance_reduced(method))
        yield Claim("4.2", FASTER.format(method, last, "2a"), *judge.smaller(method, "uniform", "loss on training samples"))
    for method in ("oracle", "approx"):
        text = f"{method}: lower error with k = 0.5 than with k = 1 (figure 2b), here after {last} epochs"
        yield Claim("4.2", text, *judge.smaller(f"{method}, k = 0.5", f"{method}, k = 1", "error"))
    yield from _table("4.2", "cifar10", judge, last)
    for method, epoch in (("oracle, k = 0.5", 48), ("approx, k = 0.5", 78)):
        text = f"{method}: comes to 10 % error {116 - epoch} epochs before uniform sampling (epoch {epoch} against 116)"
        yield Claim("4.2", text, *judge.earlier(method, 10, 116 - epoch))
    text = "approx, k = 0.5: is almost 50 epochs earlier (here 40) at the error of uniform sampling after 100 (also abstract)"
    yield Claim("4.2", text, *judge.earlier_than_uniform_at("approx, k = 0.5", 100, 40))
    text = "Importance sampling matters to the error mostly before the learning rate is lowered, at epoch 117 (figure 2c)"
    yield Claim("4.2", text, *judge.leads_mostly_before("approx, k = 0.5", 117))


def _penn_treebank(judge, last):
    for method, figure in (("oracle, k = 0.5", "3a"), ("approx, k = 0.5", "3a"), ("pcg, k = 0.5", "3b")):
        yield Claim("4.3", CALMER.format(method, figure), *judge.smaller(method, "uniform", "moving deviation by mean"))
        yield Claim("4.3", f"{STEADIER.format(method)} (not in the paper's figures)", *judge.variance_reduced(method))
    text = "The gap between the oracle and approx is insignificant (figure 3a)"
    yield Claim("4.3", text, *judge.alike("oracle, k = 0.5", "approx, k = 0.5", "moving deviation by mean"))
    text = "approx calms the training loss more than pcg does (figure 3b)"
    yield Claim("4.3", text, *judge.smaller("approx, k = 0.5", "pcg, k = 0.5", "moving deviation by mean"))
    text = "Of the smoothing constants 0.5, 1 and 2.5, 0.5 reduces the variance most"
    yield Claim("4.3", text, OPEN, "1 and 2.5 are in no plan, at no scale")
    yield from _table("4.3", "ptb", judge, last)
    text = f"approx comes to a lower perplexity than the oracle, both with k = 0.5, here after {last} epochs"
    yield Claim("4.3", text, *judge.smaller("approx, k = 0.5", "oracle, k = 0.5", "perplexity"))


def _table(section, name, judge, last):
    """Where Table 1 has a method ahead of uniform sampling: at each epoch that the runs come to, or of its first at their last."""
    measure, published = EXPERIMENTS[name].measure, PAPER[name]
    here = {epoch: epoch for epoch in published if epoch <= last} or {min(published): last}
    for theirs, epoch in here.items():
        for method in METHODS:
            if published[theirs][method][0] < published[theirs]["uniform"][0]:
                when = f"after {epoch} epochs" if theirs == epoch else f"here after {epoch} epochs in place of {theirs}"
                text = f"{method}: lower {measure} than uniform sampling, {when} (Table 1)"
                yield Claim(section, text, *judge.smaller(method, "uniform", measure, epoch))


def _norms(name, found):
    """Of each batch by itself: losses and norms change as the network learns."""
    title = EXPERIMENTS[name].title
    claimed = [
        ("3.1", f"{title}: ordering by the gradient norm is reflected by ordering by the loss"),
        ("A.2", f"{title}: gradient norm and loss are correlated (figure 4)"),
        ("A.2", f"{title}: samples with a high gradient norm have a high loss"),
    ]
    claimed += [("A.2", "Penn Treebank: some samples of a high loss have a very low gradient norm")] if name == "ptb" else []
    if found is None:
        return [Claim(*each, PENDING, "") for each in claimed]
    parts = {"": found} | ({"without the first words of the sentences": found["with_context"]} if found.get("with_context") else {})
    judged = zip(*(_of_norms(part) for part in parts.values()))
    return [Claim(*each, *_in_all(parts, verdicts)) for each, verdicts in zip(claimed, judged)]


def _of_norms(found):
    names = ("rank_correlation_within_batches", "highest_norms_above_the_mean", "lowest_norms_above_the_mean")
    correlation, highest, lowest = (found[each] for each in names)
    correlated = f"rank correlation {_within(correlation)} within a batch"
    return [
        (_above(MONOTONE, correlation), f"{correlated}, against {MONOTONE}"),
        (_above(0, correlation), correlated),
        (_above(0, highest), f"tenth of the highest norms: loss {_within(highest)} above the mean of its batch"),
        (_above(0, lowest), f"tenth of the lowest norms: loss {_within(lowest)} above the mean of its batch"),
    ]


def _in_all(parts, verdicts):
    """The verdict that is the same of all samples and of a part of them, else undecided."""
    told = "; ".join(f"{part}: {reason}" if part else reason for part, (_, reason) in zip(parts, verdicts))
    return (verdicts[0][0] if len({verdict for verdict, _ in verdicts}) == 1 else UNDECIDED), told


def _above(limit, estimate):
    """The verdict on whether it is above a limit, by two standard errors; within two of it that can't be told."""
    mean, error = estimate
    return UNDECIDED if abs(mean - limit) <= 2 * error else yes(mean > limit)


def _within(estimate):
    mean, error = estimate
    return f"{mean:.2g} ± {error:.1g}"
