"""What the page of results says besides its figures."""

from examples.paper.judging import LEVEL, MONOTONE, SEEDS

RULES = f"""\
That a value is smaller counts as reproduced when a one-sided Welch test over at least {SEEDS} seeds each gives p < {LEVEL}, and
as not reproduced when it gives that for the opposite; that the error is below a number, by a one-sided t-test in the same way.
Anything between is more than so few seeds can tell; many gains in the paper's own Table 1 are of that kind too, see the column
beside it. A lead in epochs is counted on the means of the seeds, and the variance must be below that of uniform sampling in each
seed, both without a test. Loss and gradient norm count as ordered alike from a mean rank correlation of {MONOTONE} within a batch,
and as correlated, or a loss as high, when the mean over the batches is above 0 by two standard errors. Each claim is judged
alone: at that level one in twenty passes by chance. A claim that needs runs which this scale does not have is not testable.

The rules (`examples/paper/judging.py`) were last changed when these results were known: on MNIST three seeds of uniform
sampling and of approx and seed 0 of the oracle with k = 0.5, the grid on MNIST, and figure 4."""

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
- CIFAR-10: each block has two convolutions, as on MNIST; "similar dropout" is taken to mean 0.5 after both fully connected layers;
  convolutions are padded, and batch normalisation comes after the activation; shifts are up to 4 pixels, and what they uncover
  is black.
- Penn Treebank: dropout comes after each LSTM layer, not after the embedding. Where a sentence has not 20 words before, the
  context is masked; before the first word it is masked as a whole. What is masked is not computed (`examples/paper/packed.py`),
  which changes the time and not the numbers. The 10,001 classes are the 9,999 words that occur, "end of sentence", and "no
  word", which is never to be predicted.
- The learning rate was searched with one seed for a few epochs, where a grid is shown, and is 0.001 where none is. On CIFAR-10
  one epoch a rate was tried first, for six rates: the test errors, 83 to 90 % with training losses far apart, told of the moving
  statistics of batch normalisation, which were still those of the start. So the grid takes two there.
- On Penn Treebank the grid takes one epoch a rate, which favours rates that begin fast over those that end low: with the rate that
  it found uniform sampling ends at a perplexity far above the paper's. Nor can it tell close rates apart: its run at 0.01 and the
  first epoch of the long one, the same settings on another processor and an older commit, came to 426.8 and 456.3.
- On Penn Treebank approx begins the wrong way round. Its network predicts 0 at first, and until it has learnt how large losses are
  here (about 9), words that it has met often, the easy ones, score highest: the dip of its weighted loss in figure 3a.
  That is most likely why it stays so far behind for all ten epochs, and is a fault of this library, not of the paper."""

FEWER = "\n- Fewer seeds, and on CIFAR-10 and Penn Treebank fewer epochs and methods, than the paper; k = 0.75 was not run."

CLOCK = """\
The seconds of a method are computed, since the runs come from machines of different speed and are slowed by other work: those
of the CPU that uniform sampling took for as many steps, divided by the share of the method's own time that choosing left for
the training step, which was measured within its run. Evaluations are left out. A single evaluation of a few seeds is noisy: so
is the epoch at which a curve first comes to a value."""

TESTED = "p: Welch's test of the difference from uniform sampling, two-sided, of the paper from its means and deviations."
