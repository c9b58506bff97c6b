"""A source of the user's own, looked at before anything is read from it."""

import inspect

_NOTHING = object()


def checked_source(source):
    """Refuses what is no `Source`.

    Raises:
        ValueError: it has no length or no `targets`. Whether it gives samples is seen when they are read.
    """
    for name in ("__len__", "targets"):
        if not _has(source, name):
            rule = "`source` must be an ArraySource(x, y), or an object with __len__, __getitem__ and targets"
            raise ValueError(f"{rule}. Received: source={type(source).__name__}, without {name}")
    return source


def _has(source, name):
    """Whether an object has an attribute, which is not read: all targets of a file are many."""
    return inspect.getattr_static(source, name, _NOTHING) is not _NOTHING or hasattr(type(source), "__getattr__")
