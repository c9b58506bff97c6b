"""The sampler for batches without random access: the candidates are the samples that come next."""

import dataclasses

import numpy as np

from importance_sampling.data.labels import MOST_CLASSES, class_ids, class_ids_if_any
from importance_sampling.data.streams import num_batches
from importance_sampling.data.structures import size_of
from importance_sampling.data.windows import Part, Window, pool_of_parts
from importance_sampling.sampling.pool_sampler import PoolSampler


class StreamSampler(PoolSampler):
    """Draws from a stream of batches: chooses among those that make up the presample, which move on by one batch at each draw.

    So an epoch has as many draws as the data have batches, and reads each batch once. See `Window`.

    Args:
        stream: a `BatchStream`.
        settings: `Settings` that are bound to a model. The presample is more where the batches do not add up to it, fewer where the
            data have fewer.
        seed: int, `numpy.random.SeedSequence` or None.
        classes: their number, None where it is not known, 0 where there are none.
        replicas: how many devices share a batch evenly.
        apart: an `Apart` for the classes that the loss ignores.

    `get_state` has what was learnt and the random generator, not the place in the stream.
    """

    def __init__(self, stream, settings, seed, classes, replicas, apart):
        super().__init__(settings, seed, replicas)
        self.stream = stream
        self._seen = 0
        self._apart = apart
        self._to_the_end = False
        self._chooses = settings.importance.quantity is not None
        self.build(None, classes)
        self._window = Window(stream, self._presample, self._part_of)

    def check_batch_size(self, batch_size):
        """Refuses a batch size above the presample.

        Raises:
            ValueError: it is.
        """
        self.settings.check_presample(batch_size)

    def batch_size_of(self, given):
        """That of the batches."""
        return self.stream.batch_size

    def pool_size(self, batch_size):
        """B, or more."""
        return self.settings.pool_size(batch_size, held=True) if self._chooses else batch_size

    def steps(self, batch_size):
        """Updates in an epoch: as many as there are batches, None where their number is not known."""
        return num_batches(self.stream.batches)

    def close(self):
        """Ends the reading of the stream, which begins again where it can."""
        super().close()
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

        Where the batch whose turn it is is larger than the first that was read, so is the draw. Uniform importance takes the next
        batch as it comes, and so does one that has nothing to choose by. At the end of a generator the pool becomes smaller. Where
        all of the pool is taken and its samples cannot be shared evenly by the replicas, some are in it twice.

        Raises:
            StopIteration: this pass has come to its end, where the epoch ends with it, or there is no next pass.
        """
        parts = self._window.next(over_the_end=not self._to_the_end)
        self._learning.learn()
        pool = pool_of_parts(parts if self._has_a_say else parts[:1])
        batch_size = max(batch_size, len(parts[0]))
        if not self._has_a_say or len(pool) < batch_size:
            pool = shared(pool, self.replicas)
            batch_size = len(pool)
        return self.choose(pool, batch_size)

    def pass_over(self):
        """Moves on in the stream as `draw` does."""
        self._window.next(over_the_end=not self._to_the_end)

    def _presample(self, size):
        """How many candidates there are to be where the next batch has that size."""
        return self.settings.pool_size(max(self.stream.batch_size, size), held=True) if self._chooses else 0

    def _part_of(self, indices, batch):
        size = size_of(batch)
        indices = np.arange(self._seen, self._seen + size) if indices is None else indices
        self._seen += size
        return Part(batch, indices, labels_of(batch, self, self._apart))


def shared(pool, replicas):
    """The pool, with some samples twice where so many replicas cannot share it evenly."""
    missing = -len(pool) % replicas
    if not missing:
        return pool
    twice = np.resize(np.arange(len(pool)), len(pool) + missing)
    labels = None if pool.labels is None else pool.labels[twice]
    return dataclasses.replace(pool, indices=pool.indices[twice], labels=labels, read=lambda positions: pool.read(twice[positions]))


def labels_of(batch, sampler, apart):
    """The class ids of a batch `(x, y, sample_weight)`, `(b,)`, or None.

    Only the first batch has told whether targets are classes. What turns out to be none, as in a regression that begins with whole
    numbers or has nothing but large ones, is of one class where the importance can do without.
    """
    if not sampler.labelled:
        return None
    targets = apart(batch[1]) if apart else batch[1]
    if sampler.importance.needs_labels:
        return class_ids(targets)[0]
    found = class_ids_if_any(targets)
    return np.zeros(size_of(batch), np.int64) if found is None or found[0].max() >= MOST_CLASSES else found[0]
