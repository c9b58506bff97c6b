"""The data that `fit` is given, read as far as is needed to choose from them."""

import keras
import numpy as np

from importance_sampling.data.inputs import by_class, refuse_with_batches, source_of, weighted_by_class
from importance_sampling.data.sources import split
from importance_sampling.data.streams import is_stream
from importance_sampling.data.structures import arrays_of
from importance_sampling.fit.sampler_of import read_again, sampler_of, sampler_of_batches
from importance_sampling.model.finite import not_finite


class Given:
    """The data of one `fit`, with the meaning of Keras.

    Args:
        x, y, sample_weight: see `ImportanceTraining.fit`.
        class_weight: checked, a dictionary or None.
        shuffle, validation_split: as given; 0 where there are validation data.

    Attributes:
        stream (bool): whether they come in batches.
        held_out: a source of the last samples, for validation; None without `validation_split`.
        doubtful: `(n,)` ints, some samples whose targets are not finite.

    Raises:
        ValueError: the data are not of a kind that is taken, or do not go with the other arguments.
    """

    def __init__(self, x, y, sample_weight, class_weight, shuffle, validation_split):
        self._arrays = keras.tree.flatten((x, y, sample_weight))
        self._settings = (class_weight, shuffle, validation_split)
        self._shuffle = shuffle
        self.stream = is_stream(x)
        self.held_out, self.doubtful = None, ()
        if self.stream:
            refuse_with_batches(x, y, sample_weight, validation_split)
            self._batches, self._change = x, by_class(class_weight)
            return
        source = source_of(x, y, sample_weight)
        _check_weights(sample_weight)
        if validation_split:
            source, self.held_out = split(source, validation_split)
        self._source = weighted_by_class(source, class_weight)
        self.doubtful = not_finite(y, len(source))

    def is_as(self, other):
        """Whether another `fit` was given the very same arrays, and equal settings of what is drawn from them."""
        same = len(self._arrays) == len(other._arrays) and all(a is b for a, b in zip(self._arrays, other._arrays))
        return same and self._settings == other._settings

    def sampler(self, model, settings, seed):
        """A new sampler of these data, by `Settings` that are bound to the model.

        Raises:
            ValueError: the data, the settings and the importance do not fit each other.
        """
        if self.stream:
            return sampler_of_batches(model, self._batches, self._change, self._shuffle, seed, settings)
        return sampler_of(model, self._source, self._shuffle, seed, settings)

    def serves(self, model, sampler):
        """Lets a sampler go on with these data, the same as before; their values may have changed.

        Returns:
            Whether it can: not where the number of classes has changed.
        """
        return self.stream or read_again(model, sampler, self._source)


def _check_weights(sample_weight):
    places = not_finite(sample_weight)
    if len(places):
        value = next(v for leaf in arrays_of(sample_weight) for v in np.ravel(np.asarray(leaf)) if not np.isfinite(v))
        raise ValueError(f"`sample_weight` must be finite; 0 leaves a sample out. Received: {value} for sample {places[0]}")
