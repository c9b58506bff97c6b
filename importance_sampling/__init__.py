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
from importance_sampling.data.sources import ArraySource, ItemSource
from importance_sampling.data.streams import Indexed
from importance_sampling.fit.callbacks import ImportanceSampling, with_indices
from importance_sampling.fit.recipes import ApproximateImportanceTraining, BiasedImportanceTraining
from importance_sampling.fit.training import ImportanceTraining
from importance_sampling.importance import LSTM, Oracle, PerClassGaussian, Uniform
from importance_sampling.importance.history import LossHistory
from importance_sampling.sampling.sampler import ImportanceSampler
from importance_sampling.sampling.smoothing import adaptive, additive, power
from importance_sampling.types import Draw, Pool
from importance_sampling.version import __version__

__all__ = [
    "ApproximateImportanceTraining",
    "ArraySource",
    "BiasedImportanceTraining",
    "Draw",
    "ImportanceSampler",
    "ImportanceSampling",
    "ImportanceTraining",
    "Indexed",
    "ItemSource",
    "LSTM",
    "LossHistory",
    "Oracle",
    "PerClassGaussian",
    "Pool",
    "Uniform",
    "adaptive",
    "additive",
    "power",
    "__version__",
    "weighted_dataset",
    "with_indices",
]
