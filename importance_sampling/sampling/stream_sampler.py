"""The sampler for batches without random access: the candidates are the samples that come next."""

import dataclasses

import numpy as np

from importance_sampling.data.labels import class_ids
from importance_sampling.data.streams import num_batches
from importance_sampling.data.structures import size_of, take
from importance_sampling.data.windows import Part, Window, pool_of_parts
from importance_sampling.sampling.pool_sampler import Chooser
from importance_sampling.sampling.sampler import check_pooling, check_presample, pool_size
from importance_sampling.types import Pool


class StreamSampler(Chooser):
    """Draws from a stream of batches: chooses among those that make up the presample, which move on by one batch at each draw.

    So an epoch has as many draws as the data have batches, and reads each batch once. See `Window`.

    Args:
        stream: a `BatchStream`.
        importance: one that needs no history of single samples.
        presample: B, the candidates of each draw; more where the batches do not add up to it, fewer where the data have fewer.
        replicas: how many devices share a batch evenly.
        apart: None, or an `Apart` for the classes that the loss ignores.
        k, smoothing, draws, reweighting, seed: see `ImportanceSampler`.

    `get_state` has what was learnt and the random generator, not the place in the stream.

    Raises:
        ValueError: the importance needs to know a sample when it comes again.
    """

    def __init__(self, stream, importance, presample=None, replicas=1, apart=None, **settings):
        super().__init__(importance, **settings)
        check_pooling(presample, None)
        check_indexed(self.importance, stream.indexed)
        self.presample = presample
        self._replicas = replicas
        self.stream = stream
        self._seen = 0
        self._apart = apart
        self._to_the_end = False
        self.build(stream.size, apart.more(stream.classes) if apart else stream.classes)
        chooses = self.importance.of is not None
        self._window = Window(stream, pool_size(presample, stream.batch_size) if chooses else 0, self._part_of)

    def check_batch_size(self, batch_size):
        """Refuses a batch size above the presample.

        Raises:
            ValueError: it is.
        """
        check_presample(self.importance, self.presample, batch_size)

    def batch_size_of(self, given):
        """That of the batches."""
        return self.stream.batch_size

    def steps(self, batch_size):
        """Updates in an epoch: as many as there are batches, None where their number is not known."""
        return num_batches(self.stream.batches)

    def close(self):
        """Ends the reading of the stream, which begins again where it can."""
        self._window.close()

    def example(self, batch_size):
        """The batch that comes next, `(x, y, sample_weight)`; it is not used up."""
        return self._window.example()

    def begin_epoch(self, to_the_end):
        """Says whether draws run out at the end of this pass over the data, or go on with the next one."""
        self._to_the_end = to_the_end
        if to_the_end:
            self._window.begin_pass()

    def draw(self, batch_size):
        """Chooses the samples of one step; see `ImportanceSampler.draw`. Without indices the samples are counted as they come.

        Uniform importance takes the next batch as it comes. At the end of a generator the pool becomes smaller. Where all of the
        pool is taken and its samples cannot be shared evenly by the replicas, some are in it twice.

        Raises:
            StopIteration: this pass has come to its end, where the epoch ends with it, or there is no next pass.
        """
        pool = pool_of_parts(self._window.next(over_the_end=not self._to_the_end))
        if self.importance.of is None or len(pool) < batch_size:
            pool = shared(pool, self._replicas)
            batch_size = len(pool)
        return self.choose(pool, batch_size)

    def _part_of(self, indices, batch):
        size = size_of(batch)
        indices = np.arange(self._seen, self._seen + size) if indices is None else indices
        self._seen += size
        return Part(batch, indices, labels_of(batch, self.labelled, self._apart))


def shared(pool, replicas):
    """The pool, with some samples twice where so many replicas cannot share it evenly."""
    missing = -len(pool) % replicas
    if not missing:
        return pool
    repeated = np.resize(np.arange(len(pool)), len(pool) + missing)
    labels = None if pool.labels is None else pool.labels[repeated]
    return dataclasses.replace(
        pool, indices=pool.indices[repeated], labels=labels, read=lambda positions: pool.read(repeated[positions])
    )


def check_indexed(importance, indexed):
    """Refuses an importance that needs to know a sample when it comes again, where nothing tells it.

    Raises:
        ValueError: it is one.
    """
    if importance.uses_indices and not indexed:
        raise ValueError(
            "`importance` must be 'oracle', 'gnorm', 'pcg' or 'uniform' on batches without indices: a history of losses needs "
            "to know a sample when it comes again. Pass arrays, an object with `__len__` and `__getitem__`, or "
            f"Indexed(dataset.enumerate()...). Received: importance={type(importance).__name__}"
        )


def pool_of(batch, labelled, indices, apart=None):
    """A pool of samples that are in memory already, `(x, y, sample_weight)`, whose targets are class ids if `labelled`."""
    return Pool(indices, labels_of(batch, labelled, apart), read=lambda positions: take(batch, positions))


def labels_of(batch, labelled, apart=None):
    """The class ids of a batch `(x, y, sample_weight)`, `(b,)`, or None."""
    return class_ids(apart(batch[1]) if apart else batch[1])[0] if labelled else None
