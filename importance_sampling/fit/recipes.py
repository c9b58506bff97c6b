"""Settings that have a name."""

from importance_sampling.fit.training import ImportanceTraining


class ApproximateImportanceTraining(ImportanceTraining):
    """The paper's method: importance is the loss that an LSTM predicts. See `ImportanceTraining` for the arguments."""

    def __init__(self, model, k=0.5, **settings):
        super().__init__(model, importance="approx", k=k, **settings)


class BiasedImportanceTraining(ImportanceTraining):
    """Importance is the loss by a forward pass of the model itself. See `ImportanceTraining` for the arguments."""

    def __init__(self, model, k=0.5, **settings):
        super().__init__(model, importance="oracle", k=k, **settings)


class ConstantVarianceImportanceTraining(ImportanceTraining):
    """Batches only as large as the gradient needs to be as exact as with uniform ones: less work for the same result.

    Importance is the history of gradient-norm bounds, smoothed as measurement says; weights are unbiased. See
    `ImportanceTraining` for the arguments.
    """

    def __init__(self, model, k=1.0, **settings):
        parts = {"importance": "history", "smoothing": "measured", "batch_size_rule": "equal-variance"}
        super().__init__(model, k=1.0 if k is None else k, **{**parts, **settings})


class ConstantTimeImportanceTraining(ImportanceTraining):
    """Batches of the size that uniform ones have, so that a step takes as long: a more exact gradient in the same time.

    Importance is the history of gradient-norm bounds, smoothed as measurement says; weights are unbiased. See
    `ImportanceTraining` for the arguments.
    """

    def __init__(self, model, k=1.0, **settings):
        super().__init__(model, k=1.0 if k is None else k, **{"importance": "history", "smoothing": "measured", **settings})
