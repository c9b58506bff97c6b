"""What the page of results says besides its figures."""

from examples.paper.claims import LEVEL, MONOTONE, SEEDS

RULES = f"""\
That a value is smaller counts as reproduced when a one-sided Welch test over at least {SEEDS} seeds each gives p < {LEVEL}, and
as not reproduced when it gives that for the opposite. Anything between is more than so few seeds can tell; many gains in the
paper's own Table 1 are of that kind too, see the column beside it. Each claim is tested alone: at that level one in twenty passes
by chance. Loss and gradient norm count as ordered alike from a mean rank correlation of {MONOTONE} within a batch. The rules
(`examples/paper/claims.py`) were last changed when seed 0 of uniform sampling and of approx on MNIST was known, and not since."""

OSCILLATION = """\
What figures 1a, 2a and 3a show is the weighted loss of the batches. For k = 1 the weight takes out what the loss of a sample
differs by, so it moves less by construction; whether the *gradient* varies less is measured apart, in figure 3b."""

DEVIATIONS = """\
- The weights are those of eq. 12 times a constant of the presample, `reweighting="rescaled"`: k does not change the step size.
- MNIST: the paper names no smoothing; it is that of CIFAR-10, half the mean training loss.
- CIFAR-10: "similar dropout" is taken to mean 0.5 after both fully connected layers; convolutions are padded, and batch
  normalisation comes after the activation; shifts are up to 4 pixels, and what they uncover is black.
- Penn Treebank: where a sentence has not 20 words before, the context is masked; before the first word it is masked as a whole.
- The learning rate was searched with one seed for a few epochs, where a grid is shown, and is 0.001 where none is.
- Fewer seeds, and on CIFAR-10 and Penn Treebank fewer epochs, than the paper; k = 0.75 was not run."""

CLOCK = """\
Seconds of training are those of the machine that ran uniform sampling, evaluations left out: the runs come from machines of
different speed, so what a method costs is the share of its own time that choosing took, measured within the same run. A single
evaluation of a few seeds is noisy: so is the epoch at which a curve first comes to a value."""

TESTED = "p: Welch's test of the difference from uniform sampling, two-sided, of the paper from its means and deviations."
