"""The proof that a loss is one of single samples, against the losses of samples that are alone."""

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings

from importance_sampling.losses import LossRecorder, LossRefused, forward
from importance_sampling.probe import loss_form
from tests.random_losses import problems

MANY = settings(max_examples=500, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)


def contributions(model, form, x, y):
    recorder = LossRecorder(model, form.reduction, shaped=form.shaped)
    return recorder.record(x, y, forward(model, x), None).losses.numpy()


def alone(model, x, y):
    """The loss of every fifth sample in a batch of its own."""
    one = lambda i: keras.tree.map_structure(lambda a: a[i : i + 1], (x, y))  # noqa: E731
    return np.array([float(model.compute_loss(x_i, y_i, forward(model, x_i), None)) for x_i, y_i in map(one, range(0, len(x), 5))])


@MANY
@given(problems(leaning=False))
def test_losses_of_single_samples_are_taken_apart(problem):
    note(problem.name)
    model, x, y = problem()
    form = loss_form(model, x, y)
    assert form.separable
    found, expected = contributions(model, form, x, y)[::5], alone(model, x, y)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@MANY
@given(problems(leaning=True))
def test_losses_that_lean_on_the_batch_are_refused(problem):
    note(problem.name)
    with pytest.raises(LossRefused, match="must have a value for each sample|must be the mean or the sum"):
        loss_form(*problem())
