"""What the page of results says besides its figures."""

from examples.paper.judging import LEVEL, MONOTONE, SEEDS

RULES = f"""\
That a value is smaller counts as reproduced when a one-sided Welch test over at least {SEEDS} seeds each gives p < {LEVEL}, and
as not reproduced when it gives that for the opposite; that the error is below a number, by a one-sided t-test in the same way.
Anything between is more than so few seeds can tell; many gains in the paper's own Table 1 are of that kind too, see the column
beside it. A lead in epochs is counted on the means of the seeds, and the variance must be below that of uniform sampling in each
of at least {SEEDS} seeds, both without a test; one that a single seed has above it, by two standard errors over the epochs,
refutes the claim. Loss and gradient norm count as ordered alike when the rank correlation within a batch, averaged over the
batches, is above {MONOTONE} by two standard errors, and as correlated, or a loss as high, when such a mean is above 0 by as much;
within two standard errors of the limit it can't be told. Each claim is judged alone: at that level one in twenty passes by
chance. "Not testable at this scale" is what needs runs which this scale does not have, and what its runs can't tell from chance."""

KNOWN = """\
The rules (`examples/paper/judging.py`) were made when these results were known: on MNIST three seeds of uniform sampling and
of approx and seed 0 of the oracle with k = 0.5, the grid on MNIST, and figure 4. Two were made stricter when all results were:
one seed above uniform sampling refutes a reduced variance, which made "not reproduced" of three claims that had too few seeds,
and a correlation must pass its limit by two standard errors, which undid one "reproduced"."""

OSCILLATION = """\
What figures 1a, 2a and 3a show is the weighted loss of the batches. For k = 1 the weight takes out what the loss of a sample
differs by, so it moves less by construction; whether the *gradient* varies less is measured apart: the second moment of the
gradients of single samples under the scores that a run has after each epoch, with the weights of k = 1 whatever its k, so that
both stand for estimates of the same gradient (eq. 28 by eq. 27, figure 3b)."""

DEVIATIONS = """\
- The weights are those of eq. 12 times a constant of the presample, `reweighting="rescaled"`: k does not change the step size.
- The paper names no presample; it is 1,024. Uniform sampling goes through the data in random order, each sample once, as plain
  training does; the others draw with replacement from a random presample.
- The mean training loss of the adaptive smoothing is estimated from the weighted losses of the batches, so that drawing harder
  samples does not raise it by itself.
- The network that predicts the losses bounds the norm of its gradient.
- MNIST: the paper names no smoothing; it is that of CIFAR-10, half the mean training loss. Convolutions are padded.
- CIFAR-10: each block has two convolutions, as on MNIST; the dropout of 0.5 "between the fully connected layers" comes after both
  of them, the second time before the classification layer; convolutions are padded, and batch normalisation comes after the
  activation; shifts are up to 4 pixels, and what they uncover is black.
- Penn Treebank: dropout comes after each LSTM layer, not after the embedding. Where a sentence has not 20 words before, the
  context is masked; before the first word it is masked as a whole. What is masked is not computed (`examples/paper/packed.py`),
  which changes the time and not the numbers. The 10,001 classes are the 9,999 words that occur, "end of sentence", and "no
  word", which is never to be predicted.
- Figure 4, the variance and the scores of the oracle are taken without dropout and with the moving statistics of batch
  normalisation, else a sample has no loss of its own. On CIFAR-10 these lag behind the network for some hundreds of steps: in
  figure 4b, made in the first 157, the mean loss is above that of a guess, and the oracle begins with such scores.
- The learning rate was searched with one seed for a few epochs, where a grid is shown, and is 0.001 where none is. On CIFAR-10
  the grid takes two: after one the test errors of rates tell of the moving statistics more than of the rates."""

HERE = """\
- Fewer seeds, and on CIFAR-10 and Penn Treebank fewer epochs and methods, than the paper; k = 0.75 was not run.
- On Penn Treebank the grid takes one epoch a rate, which favours rates that begin fast over those that end low: with the rate that
  it found uniform sampling ends at a perplexity far above the paper's. Nor can it tell close rates apart: its run at 0.01 and the
  first epoch of the long one, the same settings on another processor and an older commit, came to 426.8 and 456.3.
- On MNIST the runs of approx are older than a repair of the network that predicts the losses: it began with predictions of 0, and
  until it knew how large losses are it called the frequent classes hard. The digits are about equally frequent. On Penn Treebank,
  where few words make up most of the text, the run before the repair ended at a perplexity of 489."""

CLOCK = """\
The seconds of a method are computed, since the runs come from machines of different speed and are slowed by other work: those
of the CPU that uniform sampling took for as many steps, divided by the share of the method's own time that choosing left for
the training step, which was measured within its run. Evaluations are left out. A single evaluation of a few seeds is noisy: so
is the epoch at which a curve first comes to a value."""

TESTED = "p: Welch's test of the difference from uniform sampling, two-sided, of the paper from its means and deviations."
