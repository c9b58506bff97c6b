"""A word to who waits."""

import contextlib
import threading


@contextlib.contextmanager
def said_if_slow(text, params, seconds=2.0):
    """Prints a text if what is done within takes longer than that, while it does; nothing unless the `params` of the
    callbacks of a `fit` are verbose."""
    timer = threading.Timer(seconds, print, (text,), {"flush": True})
    timer.daemon = True
    if (params or {}).get("verbose"):
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
