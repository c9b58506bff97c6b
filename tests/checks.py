"""What several tests assert."""

import keras
import numpy as np
import pytest

ENDINGS = [None, RuntimeError("on purpose"), KeyboardInterrupt()]  # of a fit


def assert_equal_weights(model, weights):
    """The weights of the model are those, bit for bit."""
    for ours, theirs in zip(model.get_weights(), weights):
        np.testing.assert_array_equal(ours, theirs)


def assert_refused(model, fit, sentence, kind=ValueError):
    """`fit()` ends with an error of that text before the model has changed."""
    before = model.get_weights()
    with pytest.raises(kind, match=sentence):
        fit()
    assert_equal_weights(model, before)


def ended_by(error, fit):
    """Runs `fit(callbacks)`, to its end or until the error is raised after the third step."""
    if error is None:
        fit([])
    else:
        with pytest.raises(type(error)):
            fit([_Failing(error)])


def assert_plain_fit_goes_on(model, x, y):
    """Nothing of the library is left in the model: plain `fit` makes as many updates as it has batches."""
    assert "importance_sampling" not in getattr(model.train_function, "__module__", "")
    assert "compute_loss" not in vars(model)
    before = int(model.optimizer.iterations)
    model.fit(x, y, batch_size=-(-len(x) // 3), verbose=0)
    assert int(model.optimizer.iterations) == before + 3


class _Failing(keras.callbacks.Callback):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            raise self.error
