"""What HDF5 writes to."""

import os


class CalmFile:
    """A file that HDF5 writes to, and that does not tell it of a full disk: it would try again as everything is closed, and end the
    process. What went wrong first is kept; from then on nothing is written."""

    def __init__(self, file):
        self._file, self._error, self._place = file, None, 0

    def check(self):
        """Raises what went wrong."""
        if self._error is not None:
            raise self._error

    def seek(self, place, whence=os.SEEK_SET):
        self._place = self._done(self._file.seek, place, whence, otherwise=self._place + place)
        return self._place

    def tell(self):
        return self._place

    def read(self, size):  # by this it is known as a file
        return self._done(self._file.read, size, otherwise=bytes(size))

    def readinto(self, buffer):
        return self._done(self._file.readinto, buffer, otherwise=len(buffer))

    def write(self, content):
        return self._done(self._file.write, content, otherwise=len(content))

    def truncate(self, size):
        return self._done(self._file.truncate, size, otherwise=size)

    def flush(self):
        self._done(self._file.flush, otherwise=None)

    def _done(self, function, *args, otherwise):
        if self._error is None:
            try:
                return function(*args)
            except OSError as error:
                self._error = error
        return otherwise
