"""Parts by name: one way for all kinds of parts to be named, checked and made.

A part may be given as a registered name, a class, an object or a function. Each kind (importance, smoothing, drawing rule, pools,
reweighting, batch-size rule) has a `Registry`, named after the argument that its parts are given by.
"""

import copy
import inspect
import numbers

from importance_sampling.types import State

KINDS = {}  # argument to Registry


class Part:
    """What all kinds of parts have in common.

    A part that is given as an object is copied, by `copy.copy`, for every sampler: state that changes in place should not be made
    in `__init__`.
    """

    def get_state(self) -> State:
        """What the part has learnt: a nested dictionary of numpy arrays, numbers and strings. By default there is nothing."""
        return {}

    def set_state(self, state):
        """Restores what `get_state` returned."""


class OfFunction:
    """A part made of a function; goes before the base class of its kind."""

    def __init__(self, function):
        self._function = function


def described(part):
    """The name of a part's class or function, for errors."""
    if isinstance(part, OfFunction):
        return getattr(part._function, "__name__", repr(part._function))
    return type(part).__name__


class Registry:
    """The parts of one kind.

    Args:
        argument: the name of the argument that such a part is given by.
        base: the class with the defaults, a `Part`; its abstract methods are what a part must have.
        of_function: makes a part of a function.
        form: of that function, for errors.
        of_number: makes a part of a number; None where a number is no part.
    """

    def __init__(self, argument, base, of_function, form, of_number=None):
        self.argument, self.base = argument, base
        self._of_function, self._form, self._of_number = of_function, form, of_number
        self._parts = {}
        KINDS[argument] = self

    @property
    def names(self):
        """The registered names, the built-in ones first."""
        return tuple(self._parts)

    def register(self, name, part):
        """Adds a part under a name that is free.

        Raises:
            ValueError: the name is taken or no name, or the part is none.
        """
        if not (isinstance(name, str) and name):
            raise ValueError(f"`name` must be a string that is not empty. Received: name={name!r}")
        if name in self._parts:
            raise ValueError(f"`name` must not be registered yet as {self.argument}. Received: name={name!r}, which is taken")
        self._check(part)
        self._parts[name] = part

    def make(self, given):
        """A new part of what a user may give.

        Raises:
            ValueError: it is an unknown name, or something that is no part of this kind; says what it lacks.
        """
        part = self._parts.get(given, given) if isinstance(given, str) else given
        self._check(part)
        if self._is_number(part):
            return self._of_number(part)
        if inspect.isclass(part):
            try:
                return part()
            except TypeError as error:
                raise ValueError(f"{self._rule(given)}: give an object where a class needs arguments, since {error}") from error
        return copy.copy(part) if not self._lacks(part) else self._of_function(part)

    def _check(self, part):
        if self._is_number(part):
            return
        if isinstance(part, str) or not (callable(part) or self._has_some(part)):
            raise ValueError(self._rule(part))
        lacks = self._lacks(part)
        if inspect.isclass(part) and lacks or lacks and not callable(part):
            name = part.__name__ if inspect.isclass(part) else type(part).__name__
            raise ValueError(
                f"`{self.argument}` must have {', '.join(lacks)}; the class {self.base.__name__} has defaults of all but "
                f"{', '.join(sorted(self.base.__abstractmethods__))}. Received: {name} without"
            )

    def _lacks(self, part):
        """The members that an object or a class lacks. A subclass of the base has the defaults."""
        cls = part if inspect.isclass(part) else type(part)
        if issubclass(cls, self.base):
            return sorted(cls.__abstractmethods__)
        return [name for name in self._members() if not hasattr(part, name)]

    def _members(self):
        return [name for name in dir(self.base) if not name.startswith("_") or name in self.base.__abstractmethods__]

    def _has_some(self, part):
        return any(hasattr(part, name) for name in self.base.__abstractmethods__)

    def _is_number(self, part):
        return self._of_number is not None and isinstance(part, numbers.Real)

    def _rule(self, given):
        number = "a number, " if self._of_number else ""
        return (
            f"`{self.argument}` must be one of {', '.join(self.names)}, {number}an object or class such as {self.base.__name__}, "
            f"or a function {self._form}. Received: {self.argument}={given!r:.80}"
        )


def register(kind, name, part=None):
    """Gives a part of one's own a name, by which it is found everywhere: in arguments, command lines, errors and `registered`.

    Args:
        kind (str): what it is: `"importance"`, `"smoothing"`, `"draws"`, `"pools"`, `"reweighting"` or `"batch_size_rule"`, the
            argument that it is given by.
        name (str): one that is free.
        part (class, object or function): what the name stands for; None decorates a class or function with it.

    Returns:
        The part.

    Raises:
        ValueError: there is no such kind, the name is taken, or the part lacks something, which the error names.

    Example:
        >>> import numpy as np
        >>> from importance_sampling import ImportanceSampler, ArraySource, register, registered
        >>> part = register("smoothing", "square_root", np.sqrt)
        >>> "square_root" in registered("smoothing")
        True
        >>> sampler = ImportanceSampler(ArraySource(np.ones((8, 2)), np.arange(8) % 2), "pcg", smoothing="square_root")
    """
    if part is None:
        return lambda part: register(kind, name, part)
    _kind(kind).register(name, part)
    return part


def registered(kind):
    """The names that a kind of part goes by, a tuple of strings; see `register`.

    Raises:
        ValueError: there is no such kind.

    Example:
        >>> from importance_sampling import registered
        >>> registered("draws")[:2]
        ('multinomial', 'systematic')
    """
    return _kind(kind).names


def _kind(kind):
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {', '.join(KINDS)}. Received: kind={kind!r}")
    return KINDS[kind]
