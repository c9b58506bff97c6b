"""The numbers and paths that users give, and the sentence that refuses another: argument, rule and value."""

import math
import numbers
import os

import numpy as np


def whole_number(name, value, least, or_none=False, other=""):
    """The value as an int; None, where that is allowed. `other` is in words what else may be given, which the caller knows.

    Raises:
        ValueError: it is no whole number, or below the least.

    Example:
        >>> whole_number("history", 10, least=1)
        10
        >>> whole_number("history", 2.5, least=1)
        Traceback (most recent call last):
        ValueError: `history` must be a whole number >= 1. Received: history=2.5
    """
    value = _of_array(value)
    if value is None and or_none:
        return None
    if not (_is(numbers.Integral, value) and value >= least):
        raise ValueError(_sentence(name, f"{other and f'{other} or '}a whole number >= {least}", or_none, value))
    return int(value)


def number(name, value, rule, holds, or_none=False):
    """The value as a float; None, where that is allowed.

    Args:
        rule: in words, after "a number".
        holds: the same as a function of a number that is finite.

    Raises:
        ValueError: it is no number, not finite, or the rule does not hold.

    Example:
        >>> number("decay", 1, "in [0, 1]", lambda decay: 0 <= decay <= 1)
        1.0
        >>> number("decay", "much", "in [0, 1]", lambda decay: 0 <= decay <= 1)
        Traceback (most recent call last):
        ValueError: `decay` must be a number in [0, 1]. Received: decay='much'
    """
    value = _of_array(value)
    if value is None and or_none:
        return None
    found = _as_float(value) if _is(numbers.Real, value) else math.nan
    if not (math.isfinite(found) and holds(found)):
        raise ValueError(_sentence(name, f"a number {rule}", or_none, value))
    return found


def numbers_of(name, values, rule, holds):
    """A sequence of such numbers as a tuple of floats.

    Raises:
        ValueError: it is no sequence, or empty, or one is no number, not finite, or breaks the rule.

    Example:
        >>> numbers_of("fractions", (0.25, 0.5), "in (0, 1)", lambda fraction: 0 < fraction < 1)
        (0.25, 0.5)
    """
    try:
        found = tuple(number(name, value, rule, holds) for value in values)
    except (TypeError, ValueError):
        found = ()
    if not found:
        raise ValueError(f"`{name}` must be numbers {rule}, at least one. Received: {name}={values!r}")
    return found


def truth(name, value):
    """The value as a bool.

    Raises:
        ValueError: it is neither True nor False.

    Example:
        >>> truth("logs", "no")
        Traceback (most recent call last):
        ValueError: `logs` must be True or False. Received: logs='no'
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(_sentence(name, "True or False", False, value))
    return bool(value)


def is_path(value):
    """Whether a value can be the path of a file or directory; a number cannot, though Python takes it for an open file."""
    return isinstance(value, (str, bytes, os.PathLike))


def _of_array(value):
    """An array of no dimension as the number in it."""
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _as_float(value):
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _is(kind, value):
    """Whether a value is of a kind of numbers, which `True` is not meant to be."""
    return isinstance(value, kind) and not isinstance(value, bool)


def _sentence(name, rule, or_none, value):
    shown = repr(value) if isinstance(value, str) else value
    return f"`{name}` must be {'None or ' if or_none else ''}{rule}. Received: {name}={shown}"
