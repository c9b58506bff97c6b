"""The sampler for a model and the data that `fit` is given."""

import numpy as np

from importance_sampling import importance as importances
from importance_sampling.labels import classes_for, classes_of_outputs
from importance_sampling.sampler import ImportanceSampler
from importance_sampling.stream_sampler import StreamSampler, check_indexed
from importance_sampling.streams import BatchStream, Indexed


def sampler_of(model, source, shuffle, seed, importance, pools, **settings):
    """An `ImportanceSampler` of data with random access.

    Raises:
        ValueError: the data, the settings and the importance do not fit each other.
    """
    if not shuffle and pools not in (None, "sequential"):
        raise ValueError(f"`shuffle` must be True where `pools` is given. Received: shuffle=False, pools={pools!r}")
    importance = importances.resolve(importance, model)
    classes = classes_of(model, importance, source)
    if classes is None and isinstance(importance, importances.LSTM):
        importance.room = classes_of_outputs(getattr(model, "outputs", None) or [])
    pools = pools if shuffle else "sequential"
    return ImportanceSampler(source, importance, pools=pools, classes=classes, seed=seed, **settings)


def classes_of(model, importance, source):
    """The number of classes as far as the model tells it, else None."""
    if not importance.uses_labels or source.targets is None:
        return None
    return classes_for(source.targets, getattr(model, "outputs", None) or [])


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
    whole = model.distribute_strategy.num_replicas_in_sync == 1  # replicas share a batch evenly
    return StreamSampler(stream, importance, seed=choice, whole_batches=whole, **settings)


def same_data(data, others):
    """Whether two `fit`s were given the very same arrays, and equal settings of what is drawn from them."""
    (arrays, cut), (other_arrays, other_cut) = data, others
    return cut == other_cut and len(arrays) == len(other_arrays) and all(a is b for a, b in zip(arrays, other_arrays))
