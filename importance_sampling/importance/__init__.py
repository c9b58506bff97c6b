"""The sources of importance, and the names they go by."""

import copy

from importance_sampling.importance.gaussian import PerClassGaussian
from importance_sampling.importance.lstm import LSTM
from importance_sampling.importance.oracle import Oracle
from importance_sampling.importance.uniform import Uniform
from importance_sampling.model.steps import SCORES
from importance_sampling.types import Importance

_BY_NAME = {
    "uniform": lambda model: Uniform(),
    "oracle": lambda model: Oracle(model),
    "gnorm": lambda model: Oracle(model, score="gnorm"),
    "full_gnorm": lambda model: Oracle(model, score="full_gnorm"),
    "approx": lambda model: LSTM(),
    "pcg": lambda model: PerClassGaussian(),
}
NAMES = tuple(_BY_NAME)
_MEMBERS = {*Importance.__annotations__, *(name for name in vars(Importance) if not name.startswith("_"))}

__all__ = ["LSTM", "NAMES", "Oracle", "PerClassGaussian", "Uniform", "resolve"]


def resolve(importance, model=None) -> Importance:
    """What a user may write for `importance`: one of `NAMES`, or an importance object.

    Args:
        importance: name or object.
        model: the model that is trained; the names `"oracle"`, `"gnorm"` and `"full_gnorm"` need it.

    Raises:
        ValueError: an unknown name, something that is neither, or a name that needs a model where there is none.
    """
    if isinstance(importance, str) and importance in _BY_NAME:
        if model is None and importance in ("oracle", "gnorm", "full_gnorm"):
            raise ValueError(f"`importance` must be Oracle(model) here. Received: importance={importance!r}")
        return _BY_NAME[importance](model)
    if isinstance(importance, (str, type)) or not hasattr(importance, "score"):
        raise ValueError(
            f"`importance` must be one of {', '.join(NAMES)}, or an importance object. Received: importance={importance!r}"
        )
    missing = sorted(name for name in _MEMBERS if not hasattr(importance, name))
    if missing:
        raise ValueError(f"`importance` must have {', '.join(missing)}. Received: a {type(importance).__name__} without")
    if importance.of not in (None, *SCORES):
        raise ValueError(f"`importance.of` must be None or one of {', '.join(SCORES)}. Received: of={importance.of!r}")
    return copy.copy(importance)  # what it learns belongs to one data set: `build` makes new state
