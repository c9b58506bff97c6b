"""The sampler for a model and the data that `fit` is given."""

import numpy as np

from importance_sampling import importance as importances
from importance_sampling.data.labels import Apart, classes_for, classes_of_outputs
from importance_sampling.data.streams import BatchStream, Indexed
from importance_sampling.importance.lstm import LSTM
from importance_sampling.sampling.sampler import ImportanceSampler
from importance_sampling.sampling.stream_sampler import StreamSampler, check_indexed


def sampler_of(model, source, shuffle, seed, importance, pools, **settings):
    """An `ImportanceSampler` of data with random access.

    Raises:
        ValueError: the data, the settings and the importance do not fit each other.
    """
    if not shuffle and pools not in (None, "sequential"):
        raise ValueError(f"`shuffle` must be True where `pools` is given. Received: shuffle=False, pools={pools!r}")
    importance = importances.resolve(importance, model)
    classes = classes_of(model, importance, source)
    if classes is None and isinstance(importance, LSTM):
        importance.room = classes_of_outputs(getattr(model, "outputs", None) or [])
    pools = pools if shuffle else "sequential"
    return ImportanceSampler(labelled(model, source), importance, pools=pools, classes=classes, seed=seed, **settings)


def labelled(model, source):
    """The source for a sampler, which takes the class ids from its targets: a class that the loss ignores is one more."""
    apart = Apart(model)
    return _Labelled(source, apart) if apart.ignored else source


def classes_of(model, importance, source):
    """The number of classes as far as the model tells it, else None."""
    if not importance.uses_labels or source.targets is None:
        return None
    return classes_for(Apart(model).without(source.targets), getattr(model, "outputs", None) or [])


def sampler_of_batches(model, batches, change, shuffle, seed, importance, pools, **settings):
    """A `StreamSampler` of batches, each of which is changed as it is read.

    Raises:
        ValueError: the batches, the settings and the importance do not fit each other.
    """
    if pools is not None:
        raise ValueError(f"`pools` must be None: batches come in their own order. Received: pools={pools!r}")
    importance = importances.resolve(importance, model)
    check_indexed(importance, isinstance(batches, Indexed))  # before a generator is asked for its first batch
    order, choice = seed.spawn(2)
    stream = BatchStream(batches, shuffle, np.random.default_rng(order), change)
    replicas = model.distribute_strategy.num_replicas_in_sync
    return StreamSampler(stream, importance, seed=choice, replicas=replicas, apart=Apart(model, stream.classes), **settings)


def read_again(model, sampler, source):
    """Lets a sampler draw from the same samples, whose values may have changed. Returns whether their number of classes has not."""
    classes = sampler.read_from(labelled(model, source), classes_of(model, sampler.importance, source))
    return classes == sampler.classes


def same_data(data, others):
    """Whether two `fit`s were given the very same arrays, and equal settings of what is drawn from them."""
    (arrays, cut), (other_arrays, other_cut) = data, others
    return cut == other_cut and len(arrays) == len(other_arrays) and all(a is b for a, b in zip(arrays, other_arrays))


class _Labelled:
    """A source whose targets are for telling classes apart; what is read is as it was."""

    def __init__(self, source, apart):
        self._source, self._apart = source, apart

    @property
    def targets(self):
        return self._apart(self._source.targets)

    def __len__(self):
        return len(self._source)

    def __getitem__(self, indices):
        return self._source[indices]
