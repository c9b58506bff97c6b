"""The sampler for batches without random access: the candidates are the samples that come next."""

import numpy as np

from importance_sampling.chooser import Chooser
from importance_sampling.labels import class_ids
from importance_sampling.sampler import check_pooling, check_presample, pool_size
from importance_sampling.streams import num_batches
from importance_sampling.structures import size_of, take
from importance_sampling.types import Pool


class StreamSampler(Chooser):
    """Draws from a stream of batches: gathers as many samples as the presample asks for, and chooses among them.

    Args:
        stream: a `BatchStream`.
        importance: one that needs no history of single samples.
        presample: B, the candidates of each draw.
        whole_batches: whether uniform importance takes batches as they come, of any size, or always as many samples.
        apart: None, or an `Apart` for the classes that the loss ignores.
        k, smoothing, draws, reweighting, seed: see `ImportanceSampler`.

    `get_state` has what was learnt and the random generator, not the place in the stream.

    Raises:
        ValueError: the importance needs to know a sample when it comes again.
    """

    def __init__(self, stream, importance, presample=None, whole_batches=True, apart=None, **settings):
        super().__init__(importance, **settings)
        check_pooling(presample, None)
        check_indexed(self.importance, stream.indexed)
        self.presample = presample
        self._whole_batches = whole_batches
        self.stream = stream
        self._seen = 0
        self._apart = apart
        self.build(stream.size, apart.more(stream.classes) if apart else stream.classes)

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
        self.stream.close()

    def example(self, batch_size):
        """The batch that comes next, `(x, y, sample_weight)`; it is not used up."""
        return self.stream.example()

    def draw(self, batch_size):
        """Chooses the samples of one step; see `ImportanceSampler.draw`. Without indices the samples are counted as they come.

        Uniform importance takes the next batch as it comes. At the end of a generator the pool may be smaller.

        Raises:
            StopIteration: the stream has come to its end.
        """
        if self.importance.of is None and self._whole_batches:
            batch, indices = self.stream.next_batch()
            batch_size = size_of(batch)
        else:
            batch, indices = self.stream.take(pool_size(self.presample, batch_size) if self.importance.of else batch_size)
        size = size_of(batch)
        indices = np.arange(self._seen, self._seen + size) if indices is None else indices
        self._seen += size
        return self.choose(pool_of(batch, self.labelled, indices, self._apart), batch_size)


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
    labels = class_ids(apart(batch[1]) if apart else batch[1])[0] if labelled else None
    return Pool(indices, labels, read=lambda positions: take(batch, positions))
