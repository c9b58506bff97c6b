"""Reading the samples of the next step while a step runs."""

from concurrent.futures import ThreadPoolExecutor, wait


class ReadAhead:
    """Reads the draw that comes next in a thread, where it is known already: batches that were drawn from one pool at once wait.

    What is read is what would have been read: the next draw is not made any earlier, and the seeds of a `map` go by the number of
    the step.

    Args:
        coming: a function that returns the draw that comes next, the same object as later, or None where it is not known.
        read: a function of a draw and the number of its step, that returns its batch.
    """

    def __init__(self, coming, read):
        self._coming, self._read = coming, read
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="importance_sampling read_ahead")
        self._ahead = None  # a draw and what will be its batch

    def __call__(self, draw, step):
        """The batch of a draw; what comes next is read from now on."""
        known, self._ahead = self._ahead, None
        if known is not None:
            wait([known[1]])  # also where it is not wanted: the data are read by one thread at a time
        batch = known[1].result() if known is not None and known[0] is draw else self._read(draw, step)
        coming = self._coming()
        if coming is not None:
            self._ahead = coming, self._thread.submit(self._read, coming, step + 1)
        return batch

    def close(self):
        """Ends the thread."""
        self._thread.shutdown(cancel_futures=True)
        self._ahead = None
