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
