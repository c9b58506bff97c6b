"""The sampler for a model and the data that `fit` is given."""

import numpy as np

from importance_sampling.data.labels import Apart, class_ids_if_any, classes_for, classes_of_outputs
from importance_sampling.data.streams import BatchStream
from importance_sampling.sampling.sampler import ImportanceSampler
from importance_sampling.sampling.stream_sampler import StreamSampler


def sampler_of(model, source, shuffle, seed, settings):
    """An `ImportanceSampler` of data with random access.

    Raises:
        ValueError: the data, the settings and the importance do not fit each other.
    """
    classes = classes_of(model, settings.importance, source)
    replicas = model.distribute_strategy.num_replicas_in_sync
    return ImportanceSampler.of(labelled(model, source), settings.in_order(shuffle), seed, classes, replicas)


def labelled(model, source):
    """The source for a sampler, which takes the class ids from its targets: a class that the loss ignores is one more."""
    apart = Apart(model)
    return _Labelled(source, apart) if apart.ignored else source


def classes_of(model, importance, source):
    """The number of classes as far as the model tells it, else None."""
    if not importance.uses_labels or source.targets is None:
        return None
    return classes_for(Apart(model).without(source.targets), _outputs(model))


def sampler_of_batches(model, batches, change, shuffle, seed, settings):
    """A `StreamSampler` of batches, each of which is changed as it is read.

    Raises:
        ValueError: the batches, the settings and the importance do not fit each other.
    """
    if settings.pools is not None:
        kind = type(settings.pools).__name__
        raise ValueError(f"`pools` must be None: batches come in their own order. Received: pools={kind}")
    order, choice = seed.spawn(2)
    stream = BatchStream(batches, shuffle, np.random.default_rng(order), change)
    check_indexed(settings.importance, stream.indexed)
    apart = Apart(model)
    classes = classes_of_batch(model, settings.importance, stream.peek()[1][1], apart)
    return StreamSampler(stream, settings, choice, classes, model.distribute_strategy.num_replicas_in_sync, apart)


def classes_of_batch(model, importance, targets, apart):
    """The number of classes, judged by the targets of the first batch and the model's outputs; None where nothing tells it, 0
    where there are none."""
    if not importance.uses_labels or importance.needs_labels:
        return None
    targets, outputs = apart.without(targets), _outputs(model)
    if classes_for(targets, outputs) == 0:
        return 0
    _, classes = class_ids_if_any(targets)
    return apart.more(classes or classes_of_outputs(outputs))


def check_indexed(importance, indexed, otherwise="arrays, or an object that gives single samples by `__len__` and `__getitem__`"):
    """Refuses an importance that needs a stable index of each sample, where there is none.

    Raises:
        ValueError: it is one.
    """
    if importance.uses_indices and not indexed:
        raise ValueError(
            "`importance` must be 'oracle', 'gnorm', 'pcg' or 'uniform' on batches without indices: a history of losses needs a "
            f"stable index of each sample. Give with_indices(dataset), batches (x, y, {{'index': indices}}), {otherwise}. "
            f"Received: importance={type(importance).__name__}"
        )


def read_again(model, sampler, source):
    """Lets a sampler draw from the same samples, whose values may have changed. Returns whether their number of classes has not."""
    classes = sampler.read_from(labelled(model, source), classes_of(model, sampler.importance, source))
    return classes == sampler.classes


def _outputs(model):
    return getattr(model, "outputs", None) or []


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
