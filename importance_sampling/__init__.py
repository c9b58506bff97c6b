"""Importance sampling for training Keras models (arXiv:1706.00043).

ImportanceTraining(model).fit(x, y)     instead of    model.fit(x, y)
"""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "importance_sampling runs on Keras's TensorFlow backend: set KERAS_BACKEND=tensorflow. "
        f"Received: keras.backend.backend()={keras.backend.backend()!r}"
    )

from importance_sampling.data.dataset import weighted_dataset
from importance_sampling.data.indices import with_indices
from importance_sampling.data.sources import ArraySource, ItemSource
from importance_sampling.data.state_file import StateFileError
from importance_sampling.fit.backup import Backup
from importance_sampling.fit.callbacks import ImportanceSampling
from importance_sampling.fit.recipes import (
    ApproximateImportanceTraining,
    BiasedImportanceTraining,
    ConstantTimeImportanceTraining,
    ConstantVarianceImportanceTraining,
)
from importance_sampling.fit.training import ImportanceTraining
from importance_sampling.importance.base import Importance
from importance_sampling.importance.gaussian import PerClassGaussian
from importance_sampling.importance.history import LossHistory
from importance_sampling.importance.lstm import LSTMImportance
from importance_sampling.importance.moving_mean import HistoryImportance
from importance_sampling.importance.oracle import Oracle
from importance_sampling.importance.uniform import Uniform
from importance_sampling.registry import register, registered
from importance_sampling.sampling.auto import Auto
from importance_sampling.sampling.batch_size import BatchSizeRule, EqualVariance, Fixed, StepInfo, Warmup
from importance_sampling.sampling.drawing import Drawing
from importance_sampling.sampling.measured import measured
from importance_sampling.sampling.measures import counterfactual_ratio, effective_sample_size, variance_ratio
from importance_sampling.sampling.pools import Pools
from importance_sampling.sampling.reweighting import Reweighting
from importance_sampling.sampling.sampler import ImportanceSampler
from importance_sampling.sampling.smoothing import Smoothing, adaptive, additive, power
from importance_sampling.types import Draw, Pool
from importance_sampling.version import __version__

__all__ = [
    "ApproximateImportanceTraining",
    "ArraySource",
    "Auto",
    "Backup",
    "BatchSizeRule",
    "BiasedImportanceTraining",
    "ConstantTimeImportanceTraining",
    "ConstantVarianceImportanceTraining",
    "Draw",
    "Drawing",
    "EqualVariance",
    "Fixed",
    "HistoryImportance",
    "Importance",
    "ImportanceSampler",
    "ImportanceSampling",
    "ImportanceTraining",
    "ItemSource",
    "LSTMImportance",
    "LossHistory",
    "Oracle",
    "PerClassGaussian",
    "Pool",
    "Pools",
    "Reweighting",
    "Smoothing",
    "StateFileError",
    "StepInfo",
    "Uniform",
    "Warmup",
    "adaptive",
    "additive",
    "counterfactual_ratio",
    "effective_sample_size",
    "measured",
    "power",
    "register",
    "registered",
    "variance_ratio",
    "__version__",
    "weighted_dataset",
    "with_indices",
]
